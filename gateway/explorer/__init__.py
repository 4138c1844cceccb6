"""GraphiQL: the page that browsers get at the endpoint, with the scripts and styles it needs, from this gateway alone.

``npm run build`` makes dist/ from src/; without it the page says how to get it. examples/ holds a file of operations
per domain, which the page offers as they are.
"""

import re
from collections.abc import Awaitable, Callable
from mimetypes import guess_type
from pathlib import Path
from typing import TypedDict

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
    "style-src": "'self' 'unsafe-inline'",  # the editor makes style elements of its own and knows no nonce
    "font-src": "data:",  # its fonts and icons stand in the stylesheet
    "img-src": "'self' data:",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}
SECURITY_HEADERS = {
    "Content-Security-Policy": "; ".join(f"{what} {whence}" for what, whence in _POLICY.items()),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Of everything that is served here: a worker goes by the policy that its own script came with."""

_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
_NAME = re.compile(r"[\w-][\w.-]*")
_ENCODINGS = {"br": ".br", "gzip": ".gz"}

_MISSING = b"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="color-scheme" content="light dark">
<title>siso-gateway</title>
<style>body { font: 16px/1.5 system-ui, sans-serif; max-width: 40em; margin: 4em auto; padding: 0 1em }</style>
<h1>siso-gateway</h1>
<p>The gateway is running. GraphiQL, which would be here, has not been built: it needs Node 18 or newer with npm.</p>
<pre>apt install nodejs npm   # or as your system has it
make explorer</pre>
<p>Then load this page again. GraphQL clients need none of this.</p>
"""


class Account(TypedDict):
    """Somebody whom a person may sign in as without a password."""

    email: str
    name: str
    token: str


async def page(scope: Scope, receive: Receive, send: Send) -> None:
    """The page, or how to get it."""
    headers = SECURITY_HEADERS | {"Cache-Control": "no-cache", "Vary": "Accept"}
    index = DIST / "index.html"
    response: Response
    if index.is_file():
        response = FileResponse(index, headers=headers, media_type="text/html; charset=utf-8")
    else:
        response = Response(_MISSING, headers=headers, media_type="text/html")
    await response(scope, receive, send)


async def _asset(request: Request) -> Response:
    """A file of the build. Its name changes with its content, so browsers never ask for it again."""
    name = request.path_params["name"]
    if not _NAME.fullmatch(name) or not (DIST / name).is_file():
        raise HTTPException(404)
    headers = SECURITY_HEADERS | {"Cache-Control": "public, max-age=31536000, immutable", "Vary": "Accept-Encoding"}
    accepted = {one.partition(";")[0].strip() for one in request.headers.get("accept-encoding", "").split(",")}
    path = DIST / name
    for encoding, suffix in _ENCODINGS.items():
        compressed = DIST / f"{name}{suffix}"
        if encoding in accepted and compressed.is_file():
            path = compressed
            headers["Content-Encoding"] = encoding
            break
    return FileResponse(path, headers=headers, media_type=guess_type(name)[0])


def explorer_routes(accounts: Callable[[], Awaitable[list[Account]]] | None = None) -> list[Route]:
    """What the page loads: its files, the examples, and the accounts that a demo lets people sign in as.

    Those are told only to a page of this machine: not through a proxy, and not to a site whose name leads here.
    """
    examples = [{"domain": path.stem, "source": path.read_text("utf-8")} for path in sorted(EXAMPLES.iterdir())]

    async def start(request: Request) -> Response:
        people = await accounts() if accounts and request.url.hostname in _LOCAL else []
        offered = {"accounts": people, "examples": examples}
        headers = SECURITY_HEADERS | {"Cache-Control": "no-store"}
        return Response(orjson.dumps(offered), headers=headers, media_type="application/json")

    return [Route("/explorer/start", start), Route("/explorer/{name}", _asset)]
