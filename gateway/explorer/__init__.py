"""Serves GraphiQL: the page that browsers get at the endpoint, and its scripts, styles and example operations.

The page loads nothing from other hosts. ``npm run build`` builds dist/ from src/; without dist/, the page says how to
build it. examples/ has one file of operations per domain.
"""

import re
from collections.abc import Awaitable, Callable, Sequence
from mimetypes import guess_type
from pathlib import Path
from typing import NamedTuple, TypedDict

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

_FOLDER = Path(__file__).parent
DIST = _FOLDER / "dist"
EXAMPLES = _FOLDER / "examples"

_POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "worker-src": "'self'",
    "connect-src": "'self'",
    "style-src": "'self' 'unsafe-inline'",  # the editor creates style elements and does not support a nonce
    "font-src": "data:",  # the stylesheet contains the fonts and icons
    "img-src": "'self' data:",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}
SECURITY_HEADERS = {
    "Content-Security-Policy": "; ".join(f"{directive} {sources}" for directive, sources in _POLICY.items()),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Sent with every file, because a worker is bound by the policy that was sent with its own script."""

_FILE_NAME = re.compile(r"[\w-][\w.-]*")
_ENCODINGS = {"br": ".br", "gzip": ".gz"}

_NOT_BUILT = b"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="color-scheme" content="light dark">
<title>siso-gateway</title>
<style>body { font: 16px/1.5 system-ui, sans-serif; max-width: 40em; margin: 4em auto; padding: 0 1em }</style>
<h1>siso-gateway</h1>
<p>The gateway is running, but GraphiQL has not been built. Building it needs Node 18 or newer with npm:</p>
<pre>apt install nodejs npm   # or your system's package manager
make explorer</pre>
<p>Then reload this page. GraphQL clients do not need GraphiQL.</p>
"""


class Account(TypedDict):
    """An account that a user of the page may sign in as without a password."""

    email: str
    name: str
    token: str


class Message(TypedDict):
    """An e-mail that the demo has not sent."""

    id: str
    recipient: str
    subject: str
    text: str
    date: str


class DemoData(NamedTuple):
    """What the page shows in a demo: accounts, and e-mails if the gateway sends none."""

    accounts: Callable[[], Awaitable[list[Account]]]
    messages: Callable[[], Sequence[Message]] | None


async def serve_page(scope: Scope, receive: Receive, send: Send) -> None:
    """Serves the page, or instructions to build it."""
    headers = SECURITY_HEADERS | {"Cache-Control": "no-cache", "Vary": "Accept"}
    index = DIST / "index.html"
    response: Response
    if index.is_file():
        response = FileResponse(index, headers=headers, media_type="text/html; charset=utf-8")
    else:
        response = Response(_NOT_BUILT, headers=headers, media_type="text/html")
    await response(scope, receive, send)


async def _serve_file(request: Request) -> Response:
    """Serves a file of the build. Its name contains a hash of its content, so browsers may cache it forever."""
    name = request.path_params["name"]
    if not _FILE_NAME.fullmatch(name) or not (DIST / name).is_file():
        raise HTTPException(404)
    headers = SECURITY_HEADERS | {"Cache-Control": "public, max-age=31536000, immutable", "Vary": "Accept-Encoding"}
    accepted = {item.partition(";")[0].strip() for item in request.headers.get("accept-encoding", "").split(",")}
    path = DIST / name
    for encoding, suffix in _ENCODINGS.items():
        compressed = DIST / f"{name}{suffix}"
        if encoding in accepted and compressed.is_file():
            path = compressed
            headers["Content-Encoding"] = encoding
            break
    return FileResponse(path, headers=headers, media_type=guess_type(name)[0])


def explorer_routes(demo: DemoData | None, is_local: Callable[[Scope], bool]) -> list[Route]:
    """The routes of the page: its files, the example operations, and the accounts and e-mails of the demo.

    The data of the demo are sent only to requests that are ``is_local``, because they include the administrator's
    token, and tokens in e-mails.
    """
    examples = [{"domain": path.stem, "source": path.read_text("utf-8")} for path in sorted(EXAMPLES.iterdir())]

    async def start_data(request: Request) -> Response:
        local_demo = demo if is_local(request.scope) else None
        accounts = await local_demo.accounts() if local_demo else []
        has_messages = local_demo is not None and local_demo.messages is not None
        return _uncached({"accounts": accounts, "examples": examples, "hasMessages": has_messages})

    async def messages(request: Request) -> Response:
        if demo is None or demo.messages is None or not is_local(request.scope):
            raise HTTPException(404)
        return _uncached({"messages": demo.messages()})

    return [
        Route("/explorer/start", start_data),
        Route("/explorer/messages", messages),
        Route("/explorer/{name}", _serve_file),
    ]


def _uncached(data: object) -> Response:
    headers = SECURITY_HEADERS | {"Cache-Control": "no-store"}
    return Response(orjson.dumps(data), headers=headers, media_type="application/json")
