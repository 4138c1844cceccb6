"""Connections that try to make the gateway hold bytes, time or files, and requests with two possible meanings.

Each gets an error in the shape of all errors, and its connection is closed.
"""

import asyncio
import json
import resource
from contextlib import AsyncExitStack
from typing import Any

import pytest
from websockets.asyncio.client import connect as connect_socket

from gateway.server import connection_limits, http_protocol
from gateway.server.app import add_middleware
from gateway.server.connection_limits import ConnectionLimits, default_max_connections
from gateway.settings import Settings
from repositories.tables.identity import User
from tests.api.client import Gateway
from tests.api.raw_http import HANDSHAKE, HOST, RawConnection, connect, echo, request, serve_as_process
from tests.databases import ON_SQLITE

KB = 1024
TOO_LARGE, TOO_LONG = (431, "HEADERS_TOO_LARGE"), (414, "URI_TOO_LONG")
BAD, NOT_IMPLEMENTED = (400, "BAD_REQUEST"), (501, "NOT_IMPLEMENTED")
UNAVAILABLE, TIMEOUT = (503, "SERVICE_UNAVAILABLE"), (408, "REQUEST_TIMEOUT")
GET = b"GET / HTTP/1.1\r\n" + HOST
POST = b"POST / HTTP/1.1\r\n" + HOST
CHUNKED = b"Transfer-Encoding: chunked\r\n"

ENDLESS: dict[str, tuple[bytes, bytes, tuple[int, str]]] = {
    "a URL": (b"GET /", b"a" * 50_000, TOO_LONG),
    "a query string": (b"GET /graphql?query=", b"a" * 50_000, TOO_LONG),
    "a header": (GET + b"X: ", b"a" * 50_000, TOO_LARGE),
    "a header in 256 KB at once": (GET + b"X: ", b"a" * 256 * KB, TOO_LARGE),
    "a header name": (GET, b"a" * 50_000, TOO_LARGE),
    "headers": (GET, b"X: a\r\n" * 10_000, TOO_LARGE),
    "large headers": (GET, b"X: " + b"a" * 10_000 + b"\r\n", TOO_LARGE),
    "a token": (GET + b"Authorization: Bearer ", b"a" * 50_000, TOO_LARGE),
    "a header of a WebSocket": (GET + HANDSHAKE + b"X: ", b"a" * 50_000, TOO_LARGE),
    "a header of an event stream": (GET + b"Accept: text/event-stream\r\nX: ", b"a" * 50_000, TOO_LARGE),
    "trailers": (POST + CHUNKED + b"\r\n1\r\na\r\n0\r\n", b"X: a\r\n" * 10_000, BAD),
    "an extension of a chunk": (POST + CHUNKED + b"\r\n1;", b"a" * 50_000, BAD),
    "chunks of one byte": (POST + CHUNKED + b"\r\n", b"1\r\na\r\n" * 10_000, BAD),
}

MALFORMED: dict[str, tuple[bytes, tuple[int, str]]] = {
    "no host": (b"GET / HTTP/1.1\r\n\r\n", BAD),
    "two hosts": (GET + HOST + b"\r\n", BAD),
    "an invalid host": (b"GET / HTTP/1.1\r\nHost: [x\r\n\r\n", BAD),
    "a host with a path": (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", BAD),
    "two lengths": (POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", BAD),
    "a list of lengths": (POST + b"Content-Length: 5, 5\r\n\r\nhello", BAD),
    "a length with a sign": (POST + b"Content-Length: +5\r\n\r\nhello", BAD),
    "a length and chunks": (POST + b"Content-Length: 5\r\n" + CHUNKED + b"\r\n0\r\n\r\n", BAD),
    "chunks and a length": (POST + CHUNKED + b"Content-Length: 5\r\n\r\n0\r\n\r\n", BAD),
    "chunked twice": (POST + CHUNKED + CHUNKED + b"\r\n0\r\n\r\n", BAD),
    "compressed chunks": (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", NOT_IMPLEMENTED),
    "two headers with codings": (POST + b"Transfer-Encoding: gzip\r\n" + CHUNKED + b"\r\n0\r\n\r\n", NOT_IMPLEMENTED),
    "an unknown coding": (POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", NOT_IMPLEMENTED),
    "an invalid chunk": (POST + CHUNKED + b"\r\nx\r\n", BAD),
    "chunks in HTTP/1.0": (b"POST / HTTP/1.0\r\n" + HOST + CHUNKED + b"\r\n0\r\n\r\n", BAD),
    "HTTP/0.9": (b"GET /\r\n\r\n", (505, "HTTP_VERSION_NOT_SUPPORTED")),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", BAD),
    "a folded header": (GET + b"A: b\r\n c\r\n\r\n", BAD),
    "a blank before the colon": (GET + b"A : b\r\n\r\n", BAD),
    "NUL in a header": (GET + b"A: b\0c\r\n\r\n", BAD),
    "CR in a header": (GET + b"A: b\rc\r\n\r\n", BAD),
    "lines that end with LF": (b"GET / HTTP/1.1\nHost: a\n\n", BAD),
    "bytes outside ASCII in the URL": (b"GET /\xe9 HTTP/1.1\r\n" + HOST + b"\r\n", BAD),
    "the URL of another host": (b"GET http://evil/graphql HTTP/1.1\r\n" + HOST + b"\r\n", BAD),
    "a URL with a password": (b"GET http://a@gateway/graphql HTTP/1.1\r\n" + HOST + b"\r\n", BAD),
    "CONNECT": (b"CONNECT gateway:80 HTTP/1.1\r\n" + HOST + b"\r\n", BAD),
    "CONNECT to everything": (b"CONNECT * HTTP/1.1\r\n" + HOST + b"\r\n", BAD),
    "CONNECT to a path": (b"CONNECT /graphql HTTP/1.1\r\n" + HOST + 90 * b"X: y\r\n" + b"\r\n", BAD),
    "CONNECT with an upgrade": (b"CONNECT * HTTP/1.1\r\n" + HOST + b"Connection: upgrade\r\nUpgrade: h2c\r\n\r\n", BAD),
    "a WebSocket over HTTP/1.0": (b"GET / HTTP/1.0\r\n" + HOST + HANDSHAKE + b"\r\n", BAD),
    "a WebSocket with a body": (GET + HANDSHAKE + b"Content-Length: 5\r\n\r\nhello", BAD),
    "a WebSocket with chunks": (GET + HANDSHAKE + CHUNKED + b"\r\n0\r\n\r\n", BAD),
    "a WebSocket with a long line": (GET + HANDSHAKE + b"X: " + b"a" * 9000 + b"\r\n\r\n", TOO_LARGE),
    "a WebSocket of another version": (GET + HANDSHAKE.replace(b"13", b"12") + b"\r\n", BAD),
    "a WebSocket of two versions": (GET + HANDSHAKE + b"Sec-WebSocket-Version: 13\r\n\r\n", BAD),
    "a WebSocket with half a key": (GET + HANDSHAKE.replace(b"dGhlIHNhbXBsZSB", b"") + b"\r\n", BAD),
    "a WebSocket with a malformed subprotocol": (GET + HANDSHAKE.replace(b"graphql-", b"a b") + b"\r\n", BAD),
    "a WebSocket of two origins": (GET + HANDSHAKE + b"Origin: http://a\r\nOrigin: http://b\r\n\r\n", BAD),
    "a WebSocket by POST": (POST + HANDSHAKE + b"\r\n", (405, "METHOD_NOT_ALLOWED")),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", BAD),
}


@pytest.mark.parametrize("name", ENDLESS)
async def test_what_has_no_end_is_rejected_while_it_arrives(name: str) -> None:
    start, rest, expected = ENDLESS[name]
    async with serve_as_process(echo) as address, connect(address) as connection:
        await connection.send(start)
        await connection.send_until_answered(rest, most=4_000_000)
        assert await connection.rejection() == expected


async def test_url_in_packets_of_one_byte_is_rejected() -> None:
    async with serve_as_process(echo) as address, connect(address) as connection:
        await connection.send(b"GET /")
        assert await connection.send_until_answered(b"a", most=100_000) <= 20_000
        assert await connection.rejection() == TOO_LONG


async def test_heads_within_the_limits_are_served() -> None:
    """Each limit is exact."""

    async def answer(connection: RawConnection, data: bytes) -> Any:
        await connection.send(data)
        response = await connection.response()
        return 200 if response.status == 200 else response.error

    def headers(count: int, size: int) -> bytes:
        return b"".join(b"X-%03d: %b\r\n" % (number, b"a" * (size - 9)) for number in range(count))

    async with serve_as_process(echo) as address:
        for path, expected in ((b"/" * (16 * KB), 200), (b"/" * (16 * KB + 1), TOO_LONG)):
            async with connect(address) as connection:
                assert await answer(connection, request(path)) == expected
        for data, expected in (
            (headers(99, 20), 200),
            (headers(100, 20), TOO_LARGE),
            (b"X: " + b"a" * (16 * KB - 1) + b"\r\n", 200),
            (b"X: " + b"a" * (16 * KB) + b"\r\n", TOO_LARGE),
            (b"Authorization: " + b"a" * (8 * KB) + b"\r\n", 200),
            (b"Authorization: " + b"a" * (8 * KB + 1) + b"\r\n", TOO_LARGE),
            (headers(8, 8 * KB - 10) + b"X: " + b"a" * (80 - len(b"/" + HOST) - 5) + b"\r\n", 200),
            (headers(8, 8 * KB - 10) + b"X: " + b"a" * (80 - len(b"/" + HOST) - 4) + b"\r\n", TOO_LARGE),
        ):
            async with connect(address) as connection:
                assert await answer(connection, request(headers=data)) == expected, data[:20]


@pytest.mark.parametrize("name", MALFORMED)
async def test_malformed_requests_are_rejected(name: str) -> None:
    data, expected = MALFORMED[name]
    async with serve_as_process(echo) as address, connect(address) as connection:
        await connection.send(data)
        assert await connection.rejection() == expected


@pytest.mark.parametrize("name", ["two hosts", "two lengths", "an invalid chunk", "NUL in a header", "TLS"])
async def test_requests_before_a_malformed_one_are_answered_first(name: str) -> None:
    """The error is the last response, so that no client takes it for that of another request."""
    data, expected = MALFORMED[name]
    async with serve_as_process(echo) as address, connect(address) as connection:
        await connection.send(request(b"/slow") + request(b"/second") + data + request(b"/never"))
        assert [json.loads((await connection.response()).body)["path"] for _ in range(2)] == ["/slow", "/second"]
        assert await connection.rejection() == expected


async def test_websocket_cannot_be_opened_behind_an_open_request() -> None:
    async with serve_as_process(echo) as address, connect(address) as connection:
        await connection.send(request(b"/slow") + GET + HANDSHAKE + b"\r\n")
        assert json.loads((await connection.response()).body)["path"] == "/slow"
        assert await connection.rejection() == BAD
    async with serve_as_process(echo) as address, connect(address) as connection:
        await connection.send(request())
        assert (await connection.response()).status == 200
        await connection.send(GET + HANDSHAKE + b"\r\n")
        assert (await connection.response()).status == 101


async def test_requests_behind_a_handshake_are_not_answered() -> None:
    """Their responses would be taken for messages of the socket."""
    async with serve_as_process(echo) as address, connect(address) as connection:
        await connection.send(GET + HANDSHAKE + b"\r\n" + request(b"/never") * 2000)
        assert (await connection.response()).status == 101
        await connection.send(b"\x88\x80\0\0\0\0")
        async with asyncio.timeout(10):
            assert b"HTTP" not in await connection.reader.read()


async def test_requests_that_wait_on_one_connection_are_limited() -> None:
    async with serve_as_process(echo) as address, connect(address) as connection:
        await connection.send(request(b"/slow") + request() * 10_000)
        assert [(await connection.response()).status for _ in range(101)] == [200] * 101
        assert await connection.rejection() == (429, "RATE_LIMITED")


async def test_trailers_are_ignored() -> None:
    trailers = b"Authorization: Bearer x\r\nX-Forwarded-For: 10.0.0.9\r\nHost: evil\r\nZ: z\r\n"
    app = add_middleware(Settings(trusted_proxies="127.0.0.1"), echo)
    async with serve_as_process(app) as address, connect(address) as connection:
        await connection.send(POST + CHUNKED + b"\r\n3\r\nabc\r\n0\r\n" + trailers + b"\r\n")
        seen = json.loads((await connection.response()).body)
        assert (seen["body"], seen["client"]) == ("abc", "127.0.0.1")
        assert seen["headers"] == [["host", "gateway"], ["transfer-encoding", "chunked"]]
        await connection.send(request(b"/next"))
        assert json.loads((await connection.response()).body)["path"] == "/next"


@ON_SQLITE
async def test_token_in_a_trailer_signs_nobody_in(gateway: Gateway, ada: User) -> None:
    operation = b'{"query": "{ viewer { email } }"}'
    head = b"POST /graphql HTTP/1.1\r\nContent-Type: application/json\r\n" + HOST + CHUNKED
    token = f"Authorization: Bearer {gateway.token(ada)}\r\n".encode()
    async with serve_as_process(gateway.app) as address, connect(address) as connection:
        chunk = b"\r\n%x\r\n%b\r\n0\r\n" % (len(operation), operation)
        await connection.send(head + chunk + token + b"\r\n")
        assert json.loads((await connection.response()).body) == {"data": {"viewer": None}}
        await connection.send(head + token + chunk + b"\r\n")
        assert json.loads((await connection.response()).body) == {"data": {"viewer": {"email": ada.email}}}


@pytest.mark.parametrize("packets", [1, 2])
async def test_other_upgrades_are_ignored(packets: int) -> None:
    """Some clients ask for HTTP/2 in their first request. Its body belongs to it, and is no request of its own."""
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n"
    body = request(b"/smuggled")
    async with serve_as_process(echo) as address, connect(address) as connection:
        data = request(headers=upgrade, body=body)
        if packets == 1:
            await connection.send(data + request(b"/next"))
        else:
            await connection.send(data[: -len(body)])
            await asyncio.sleep(0.05)
            await connection.send(body + request(b"/next"))
        assert json.loads((await connection.response()).body)["body"] == body.decode()
        assert json.loads((await connection.response()).body)["path"] == "/next"


async def test_absolute_url_of_the_same_host_is_served() -> None:
    async with serve_as_process(echo) as address, connect(address) as connection:
        await connection.send(b"GET http://Gateway/a?b HTTP/1.1\r\n" + HOST + b"\r\n")
        assert json.loads((await connection.response()).body)["path"] == "/a"


# time


async def test_head_that_does_not_arrive_in_time_is_rejected() -> None:
    async with serve_as_process(echo, head_timeout=0.2) as address:
        async with connect(address) as connection:
            await connection.send(GET)
            assert await connection.rejection() == TIMEOUT
        async with connect(address) as connection:
            await connection.send(request())
            assert (await connection.response()).status == 200
            await connection.send(b"GET")
            assert await connection.rejection() == TIMEOUT


@pytest.mark.parametrize("data", [b"", b"\r\n"])
async def test_connection_without_a_request_is_closed(data: bytes) -> None:
    """Blank lines before a request are valid, and do not prolong its time."""
    async with serve_as_process(echo, head_timeout=0.2) as address, connect(address) as connection:

        async def send_again_and_again() -> None:
            while data:
                await connection.send(data)
                await asyncio.sleep(0.01)

        sending = asyncio.ensure_future(send_again_and_again())
        assert await connection.is_closed()
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def test_blank_lines_do_not_keep_an_idle_connection_open() -> None:
    async with serve_as_process(echo, keep_alive=1) as address, connect(address) as connection:
        await connection.send(request())
        assert (await connection.response()).status == 200
        async with asyncio.timeout(30):
            while not connection.reader.at_eof():
                connection.writer.write(b"\r\n")
                await asyncio.sleep(0.02)


@pytest.fixture
def fast_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measures the rate of bodies every 0.2 seconds."""
    monkeypatch.setattr(http_protocol, "_RATE_INTERVAL", 0.2)


@pytest.mark.usefixtures("fast_measurement")
@pytest.mark.parametrize("head", [b"Content-Length: 1000\r\n\r\n", CHUNKED + b"\r\n3E8\r\n"])
async def test_body_that_is_too_slow_is_rejected(head: bytes) -> None:
    async with serve_as_process(echo) as address, connect(address) as connection:
        await connection.send(POST + head)
        while not connection.reader._buffer:  # type: ignore[attr-defined]
            await connection.send(b"a")
            await asyncio.sleep(0.02)
        assert await connection.rejection() == TIMEOUT


@pytest.mark.usefixtures("fast_measurement")
async def test_body_that_stops_after_most_of_it_is_rejected() -> None:
    """A fast start does not buy time."""
    async with serve_as_process(echo) as address, connect(address) as connection:
        await connection.send(request(body=b"a" * 500_000)[:-1])
        assert await connection.rejection() == TIMEOUT


@pytest.mark.usefixtures("fast_measurement")
async def test_slow_body_is_received_if_it_is_fast_enough_or_no_rate_is_set() -> None:
    for values in ({"min_upload_rate": 100}, {"min_upload_rate": 0}):
        async with serve_as_process(echo, **values) as address, connect(address) as connection:
            await connection.send(request(body=b"a" * 200)[:-200])
            for _ in range(20):
                await connection.send(b"a" * 10)
                await asyncio.sleep(0.05)
            assert json.loads((await connection.response()).body)["body"] == "a" * 200


@pytest.mark.usefixtures("fast_measurement")
async def test_body_that_waits_for_an_earlier_request_is_not_too_slow() -> None:
    """The gateway has stopped reading it, so the client cannot send faster."""
    release = asyncio.Event()

    async def wait_first(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/first":
            await release.wait()
        await echo(scope, receive, send)

    async with serve_as_process(wait_first) as address, connect(address) as connection:
        body = b"a" * 400_000
        connection.writer.write(request(b"/first") + request(b"/second", body=body))
        await asyncio.sleep(1)
        release.set()
        assert json.loads((await connection.response()).body)["path"] == "/first"
        assert len(json.loads((await connection.response()).body)["body"]) == len(body)


# connections


async def test_connections_per_address_are_limited() -> None:
    """Sockets count too. Another address is served meanwhile, and a closed connection makes room."""
    async with serve_as_process(echo, max_connections_per_address=3) as address, AsyncExitStack() as stack:
        first, *_ = [await stack.enter_async_context(connect(address)) for _ in range(2)]
        await stack.enter_async_context(connect_socket(address.replace("http", "ws")))
        async with connect(address) as fourth:
            assert await fourth.rejection() == UNAVAILABLE
        async with connect(address, source="127.0.0.2") as other:
            await other.send(request())
            assert (await other.response()).status == 200
        first.writer.close()
        await first.writer.wait_closed()
        await _until_admitted(address)
    async with serve_as_process(echo, max_connections_per_address=3) as address:
        for _ in range(10):
            async with connect_socket(address.replace("http", "ws")):
                pass
        await _until_admitted(address)


async def _until_admitted(address: str) -> None:
    """Waits until the gateway has noticed that a connection is closed, and serves a new one."""

    async def is_admitted() -> bool:
        async with connect(address) as connection:
            await connection.send(request())
            return (await connection.response()).status == 200

    async with asyncio.timeout(20):
        while not await is_admitted():
            pass


async def test_connections_of_a_trusted_proxy_are_limited_in_total_only() -> None:
    values: dict[str, Any] = {"max_connections_per_address": 1, "max_connections": 3, "trusted_proxies": "127.0.0.0/8"}
    async with serve_as_process(echo, **values) as address, AsyncExitStack() as stack:
        for _ in range(3):
            connection = await stack.enter_async_context(connect(address))
            await connection.send(request())
            assert (await connection.response()).status == 200
        async with connect(address) as fourth:
            assert await fourth.rejection() == UNAVAILABLE


async def test_total_of_connections_is_limited_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async with serve_as_process(echo, max_connections=2) as address, AsyncExitStack() as stack:
        open_connections = [await stack.enter_async_context(connect(address, source=f"127.0.0.{n}")) for n in (2, 3)]
        for number in range(4, 8):
            async with connect(address, source=f"127.0.0.{number}") as connection:
                assert await connection.rejection() == UNAVAILABLE
        for connection in open_connections:
            await connection.send(request())
            assert (await connection.response()).status == 200
    assert [record.getMessage() for record in caplog.records] == [
        "There are 2 connections, which is the limit. Further ones are rejected."
    ]


async def test_rejected_connections_are_limited_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond that, connections are closed without a response."""
    monkeypatch.setattr(http_protocol, "_MAX_LINGERING", 1)
    async with serve_as_process(echo, max_connections=1) as address, AsyncExitStack() as stack:
        _, second, third = [await stack.enter_async_context(connect(address)) for _ in range(3)]
        assert (await second.response()).error == UNAVAILABLE
        assert await third.is_closed()


async def test_incomplete_bodies_of_an_address_are_limited_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A complete body, a rejected one and a lost connection make room."""
    monkeypatch.setattr(connection_limits, "_MAX_BODY_BYTES_PER_ADDRESS", 100_000)
    data = request(body=b"a" * 60_000)
    async with serve_as_process(echo) as address:
        for _ in range(3):
            async with connect(address) as first, connect(address) as second:
                await first.send(data[:-1])
                await second.send(data[:-1])
                rejected = await asyncio.wait(
                    [asyncio.ensure_future(each.reader.readuntil(b"\r\n")) for each in (first, second)],
                    return_when=asyncio.FIRST_COMPLETED,
                )
                (done,), (pending,) = rejected
                assert done.result() == b"HTTP/1.1 503 Service Unavailable\r\n"
                async with connect(address, source="127.0.0.2") as other:
                    await other.send(data[:-1])
                    await asyncio.sleep(0.05)
                    await other.send(data[-1:])
                    assert (await other.response()).status == 200
                pending.cancel()
        async with connect(address) as connection:
            for _ in range(3):
                await connection.send(data[:-1])
                await asyncio.sleep(0.05)
                await connection.send(data[-1:])
                assert (await connection.response()).status == 200


def test_limit_of_connections_leaves_open_files_to_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for files, expected in ((1024, 904), (256, 136), (100, 1), (10**6, 10_000), (resource.RLIM_INFINITY, 10_000)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, files=files: (files, files))
        assert default_max_connections(pool_size=10) == expected
    assert ConnectionLimits.from_settings(Settings(max_connections=5)).total == 5


def test_peers_are_counted_by_their_network() -> None:
    limits = ConnectionLimits.from_settings(Settings(trusted_proxies="10.0.0.0/8, 2001:db8:1::/48"))
    for address, expected in (
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:0:0:1", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("10.1.2.3", None),
        ("::ffff:10.1.2.3", None),
        ("2001:db8:1::1", None),
        (None, None),
    ):
        assert limits.network_of(address) == expected
