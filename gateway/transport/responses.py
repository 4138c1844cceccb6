"""What goes out over HTTP: JSON by orjson, and errors in one shape everywhere."""

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Send

from gateway.transport.error_responses import RequestRejected


class JSONResponse(Response):
    """For routes that are not GraphQL."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The body."""
        return orjson.dumps(content)


async def answer(send: Send, status: int, media_type: str, body: bytes, headers: Mapping[str, str]) -> None:
    """Sends a whole response."""
    lines = header_lines(media_type, headers)
    lines.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": "http.response.body", "body": body})


def header_lines(media_type: str, headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """The headers of a response as ASGI has them."""
    return [
        (b"content-type", f"{media_type}; charset=utf-8".encode()),
        *((name.lower().encode(), value.encode()) for name, value in headers.items()),
    ]


def refusal(error: RequestRejected) -> JSONResponse:
    """A refusal by a route that is not GraphQL."""
    return JSONResponse({"errors": [error.error]}, status_code=error.status, headers=error.headers)


async def refused(request: Request, error: Exception) -> Response:
    """Starlette's own refusals: no such path, no such method."""
    if not isinstance(error, HTTPException):
        return refusal(RequestRejected.of(error))
    code = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}.get(error.status_code, "BAD_REQUEST")
    return refusal(RequestRejected(error.status_code, code, f"{error.detail}.", error.headers))
