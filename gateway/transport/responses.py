"""Sends HTTP responses: JSON encoded by orjson, and errors in the same shape on every route."""

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Send

from gateway.transport.error_responses import RequestRejected
from gateway.transport.held_bytes import WRITE_BUFFER


class JSONResponse(Response):
    """The JSON response of a route outside GraphQL."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content)


async def send_response(send: Send, status: int, media_type: str, body: bytes, headers: Mapping[str, str]) -> None:
    encoded = encode_headers(media_type, headers)
    encoded.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    if len(body) > WRITE_BUFFER:
        await send({"type": "http.response.body", "body": body, "more_body": True})
        body = b""  # it is sent after the client has read the rest
    await send({"type": "http.response.body", "body": body})


def encode_headers(media_type: str, headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """The headers of a response in the form of ASGI."""
    return [
        (b"content-type", f"{media_type}; charset=utf-8".encode()),
        *((name.lower().encode(), value.encode()) for name, value in headers.items()),
    ]


async def error_response(request: Request, error: Exception) -> Response:
    """The exception handler of the routes outside GraphQL: Starlette's 404 and 405, and unexpected exceptions."""
    if isinstance(error, HTTPException):
        code = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}.get(error.status_code, "BAD_REQUEST")
        rejected = RequestRejected(error.status_code, code, f"{error.detail}.", error.headers)
    else:
        rejected = RequestRejected.from_exception(error)
    return JSONResponse({"errors": [rejected.error]}, status_code=rejected.status, headers=rejected.headers)
