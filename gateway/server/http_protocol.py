"""uvicorn's HTTP protocol with limits on what a client can make the process hold: bytes, headers, time, connections.

    connection ─ head ── incomplete: at most 64 KB (request_head.py) and GATEWAY_HEAD_TIMEOUT seconds
               ├ body ── incomplete: at least GATEWAY_MIN_UPLOAD_RATE; its size is limited where it is read
               └ idle ── 75 seconds

A request that breaks a rule is answered in the shape of all errors, after the responses to the requests before it, and
the connection is closed. See docs/decisions/0025-http-connections.md.
"""

import asyncio
import logging
from typing import Any

import orjson
from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from gateway.server.connection_limits import ConnectionLimits
from gateway.server.request_head import (
    MAX_HEAD_SIZE,
    bad_request,
    check_handshake,
    check_head,
    head_too_large,
    invalid_host,
    is_valid_host,
)
from gateway.server.send_timeout import SendTimeout
from gateway.transport.error_responses import RequestRejected
from gateway.transport.requests import MAX_URL_SIZE
from gateway.transport.responses import encode_headers

log = logging.getLogger(__name__)

STOP = "stop"
"""The key in the lifespan state for a function that the protocol calls when the server stops."""

_PIECE = 16 * 1024
"""Bytes that the parser gets at once. It reports a header when the header is complete, so more could be unnoticed."""
_MAX_PIPELINED = 100
_RATE_INTERVAL = 5.0
"""Seconds between two measurements of the transfer rate of a body."""
_MAX_SLOW_INTERVALS = 2
_MAX_LINGERING = 100
"""Rejected connections that exceed the limit on connections and may still read why."""
_LINGER = 1.0
"""Seconds that a rejected client has to read the response. Closing earlier would discard the response with the data
that the client is still sending."""


class HTTPProtocol(SendTimeout, HttpToolsProtocol):
    def __init__(
        self, *args: Any, limits: ConnectionLimits, head_timeout: float, min_upload_rate: int, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._limits = limits
        self._head_timeout = head_timeout
        self._min_upload_rate = min_upload_rate
        self._network: str | None = None
        self._complete_scope: Any = None
        """The scope of the last complete request. Each request has its own, from its first byte on."""
        self._tracked_scope: Any = None
        self._size = 0
        """Bytes of the head or of the body of the tracked request, without those of the first piece."""
        self._body_size = 0
        """Bytes of the body, without the framing of chunks."""
        self._reserved_size = 0
        self._measured_size = 0
        self._slow_intervals = 0
        self._read_timer: asyncio.TimerHandle | None = None
        self._ignores_upgrade = False
        self._valid_host: bytes | None = None
        self._rejection: RequestRejected | None = None

    # the connection

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._network = self._limits.network_of(self.client[0] if self.client else None)
        count = len(self.connections)
        reason = self._limits.enter(self._network, count)
        if reason is None:
            self._start_read_timer(self._head_timeout, self._on_head_timeout)
        elif count > self._limits.total + _MAX_LINGERING:
            self.transport.abort()
        else:
            self._reject(RequestRejected(503, "SERVICE_UNAVAILABLE", reason, {"Retry-After": "1"}))

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_read_timer()
        self._release_body()
        self._limits.leave(self._network)
        super().connection_lost(exc)

    def on_send_timeout(self, timeout: float) -> None:
        log.warning("An HTTP client read none of its response for %g seconds. Its connection was closed.", timeout)
        self.transport.abort()

    def shutdown(self) -> None:
        """Finishes the current response. An event stream would never finish, so the application must end it."""
        super().shutdown()
        self.app_state.get(STOP, _do_nothing)()

    # reading

    def data_received(self, data: bytes | memoryview) -> None:
        if len(data) > _PIECE:
            view = memoryview(data)
            for start in range(0, len(data), _PIECE):
                self.data_received(view[start : start + _PIECE])
            return
        if self._rejection is not None or self.parser is None:
            return
        try:
            self.parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            self._upgrade(bytes(data[upgrade.args[0] :]))
        except HttpParserError as error:
            cause = error.__context__
            self._reject(cause if isinstance(cause, RequestRejected) else bad_request("The request is not valid HTTP."))
        else:
            if self.scope is not self._complete_scope:
                self._track(len(data))

    @property
    def _is_receiving_body(self) -> bool:
        """Whether the head of the current request is complete, and its body is not."""
        return self.scope is not self._complete_scope and self.cycle is not None and self.cycle.scope is self.scope

    def _track(self, size: int) -> None:
        """Limits a request that is not complete after a piece of ``size`` bytes."""
        self._unset_keepalive_if_required()
        if self._tracked_scope is self.scope:
            self._size += size
        else:
            self._tracked_scope, self._size = self.scope, 0
        if self._is_receiving_body:
            self._track_body()
        elif self._size > MAX_HEAD_SIZE or len(self.url) > MAX_URL_SIZE:
            self._reject(head_too_large(self.url))
        elif self._read_timer is None:
            self._start_read_timer(self._head_timeout, self._on_head_timeout)

    def _track_body(self) -> None:
        if self._size > 2 * (MAX_HEAD_SIZE + self._body_size):
            self._reject(bad_request("The chunks of the body are too small, or have too many extensions."))
            return
        added = self._body_size - self._reserved_size
        if not self._limits.reserve_body(self._network, added):
            message = "Too many bodies are being received. Try again in a moment."
            self._reject(RequestRejected(503, "SERVICE_UNAVAILABLE", message, {"Retry-After": "1"}))
            return
        self._reserved_size += added
        if self._read_timer is None and self._min_upload_rate:
            self._measured_size, self._slow_intervals = self._size, 0
            self._start_read_timer(_RATE_INTERVAL, self._measure_rate)

    # the parser's callbacks

    def on_headers_complete(self) -> None:
        version = self.parser.get_http_version()
        if self.parser.get_method() == b"CONNECT":  # the parser takes it for an upgrade
            message = "The gateway is no proxy, so it does not accept CONNECT."
            raise bad_request(message)
        host = check_head(version, self.url, self.headers, is_large=self._tracked_scope is self.scope)
        if host != self._valid_host:
            if host is not None and not is_valid_host(host):
                raise invalid_host()
            self._valid_host = host
        if len(self.pipeline) >= _MAX_PIPELINED:
            message = f"More than {_MAX_PIPELINED} requests on this connection wait for their responses."
            raise RequestRejected(429, "RATE_LIMITED", message, {"Retry-After": "1"})
        if self.parser.should_upgrade():
            self._ignores_upgrade = not self._should_upgrade()
            if not self._ignores_upgrade:
                check_handshake(version, self.url, self.headers, is_waiting=self._is_waiting)
                super().on_headers_complete()
            return
        super().on_headers_complete()
        self.headers = []  # of trailers, which must not be taken for headers
        self._body_size = 0
        self._unset_keepalive_if_required()
        if self._read_timer is not None:
            self._stop_read_timer()

    def on_body(self, body: bytes) -> None:
        self._body_size += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._ignores_upgrade:
            return
        self._complete_scope = self.scope
        if self._read_timer is not None:
            self._stop_read_timer()
        if self._reserved_size:
            self._release_body()
        super().on_message_complete()

    def _upgrade(self, rest: bytes) -> None:
        """Hands the connection to the WebSocket protocol, or ignores the header ``Upgrade``, which asks for another.

        The parser takes what follows an upgrade for another protocol. So it gets the request again, without that
        header. ``rest`` is what followed the head.
        """
        if self._should_upgrade():
            self._stop_read_timer()
            self.handle_websocket_upgrade()
            self.parser = None  # type: ignore[assignment]
            self.transport.get_protocol().on_connection_lost = self._leave  # type: ignore[attr-defined]
            return
        line = b"%b %b HTTP/%b\r\n" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        headers = [b"%b: %b\r\n" % header for header in self.headers if header[0] != b"upgrade"]
        self.parser, self._ignores_upgrade = HttpRequestParser(self), False
        self.data_received(b"".join((line, *headers, b"\r\n", rest)))

    # timeouts

    def _start_read_timer(self, delay: float, callback: Any) -> None:
        self._read_timer = self.loop.call_later(delay, callback)

    def _stop_read_timer(self) -> None:
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None

    def _on_head_timeout(self) -> None:
        """Closes a connection on which no request has begun. Browsers open some that they never use."""
        if self.flow.read_paused:
            self._start_read_timer(self._head_timeout, self._on_head_timeout)
        elif self.scope is self._complete_scope:
            self.transport.close()
        else:
            self._reject(_timeout(f"The headers did not arrive within {self._head_timeout:g} seconds."))

    def _measure_rate(self) -> None:
        """Rejects a body that is too slow for two intervals, if the gateway itself is not behind with reading it."""
        is_behind = self.flow.read_paused or self.cycle.body
        is_slow = not is_behind and self._size - self._measured_size < self._min_upload_rate * _RATE_INTERVAL
        self._slow_intervals = self._slow_intervals + 1 if is_slow else 0
        self._measured_size = self._size
        if self._slow_intervals == _MAX_SLOW_INTERVALS:
            self._reject(_timeout(f"The body must arrive with at least {self._min_upload_rate} bytes per second."))
        else:
            self._start_read_timer(_RATE_INTERVAL, self._measure_rate)

    # rejecting

    @property
    def _is_waiting(self) -> bool:
        """Whether a request before the one whose head arrives has no complete response yet."""
        return self.cycle is not None and not self.cycle.response_complete

    def _reject(self, rejection: RequestRejected) -> None:
        """Reads nothing more, and answers the current request with an error when its turn comes."""
        self._rejection = rejection
        self._stop_read_timer()
        self._release_body()
        if not self._is_receiving_body:
            if not self._is_waiting:
                self._send_rejection()
        elif self.pipeline:
            self.pipeline.popleft()
        elif self.cycle.response_started:
            self.transport.close()
        else:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            self._send_rejection()

    def on_response_complete(self) -> None:
        is_last = self._rejection is not None and not self.pipeline
        super().on_response_complete()
        if is_last:
            self._unset_keepalive_if_required()
            self._send_rejection()

    def _send_rejection(self) -> None:
        """Sends the error and the end of the stream, and discards what the client still sends."""
        assert self._rejection is not None  # noqa: S101 (set before)
        if self.transport.is_closing():
            return
        body = orjson.dumps({"errors": [self._rejection.error]})
        headers = {**self._rejection.headers, "Content-Length": str(len(body)), "Connection": "close"}
        encoded = [*self.server_state.default_headers, *encode_headers("application/json", headers)]
        lines = b"".join(b"%b: %b\r\n" % header for header in encoded)
        self.transport.write(b"".join((STATUS_LINE[self._rejection.status], lines, b"\r\n", body)))
        self.transport.write_eof()
        self.flow.resume_reading()
        self._start_read_timer(_LINGER, self.transport.abort)

    def _release_body(self) -> None:
        if self._reserved_size:
            self._limits.release_body(self._network, self._reserved_size)
            self._reserved_size = 0

    def _leave(self) -> None:
        self._limits.leave(self._network)


def _timeout(message: str) -> RequestRejected:
    return RequestRejected(408, "REQUEST_TIMEOUT", message)


def _do_nothing() -> None:
    pass
