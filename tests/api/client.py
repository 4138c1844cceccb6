"""A small GraphQL client for tests, and the gateway on a real socket."""

import asyncio
import datetime as dt
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import uvicorn
from starlette.types import ASGIApp

from gateway.auth.tokens import ExternalIssuer, Tokens
from gateway.server.app import create_app
from gateway.settings import Settings
from repositories.core.clock import now
from repositories.engines.database import Database, DatabaseOptions
from repositories.engines.factory import open_database
from repositories.permissions import RoleName
from repositories.tables.identity import User, UserRole
from resolvers.caching.cache import Cache
from resolvers.validation.global_ids import global_id

SECRET = "the tests sign their tokens with this"  # noqa: S105 (signs nothing but tests' tokens)
AUDIENCE = "siso-gateway"
HOUR = 3600


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    body: dict[str, Any]

    @property
    def data(self) -> Any:
        """The data, None when the whole operation failed."""
        return self.body.get("data")

    @property
    def errors(self) -> list[dict[str, Any]]:
        """The errors, an empty list without any."""
        found: list[dict[str, Any]] = self.body.get("errors", [])
        return found

    @property
    def codes(self) -> list[str]:
        """The codes of the errors."""
        return [error["extensions"]["code"] for error in self.errors]


class Client:
    """Sends operations as one user, or as nobody."""

    def __init__(self, http: httpx.AsyncClient, token: str | None) -> None:
        self.http = http
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}

    async def ask(self, document: str, **variables: Any) -> Answer:
        """The answer, whatever it is."""
        body = json.dumps({"query": document, "variables": variables})
        headers = {"Content-Type": "application/json", **self.headers}
        response = await self.http.post("/graphql", content=body, headers=headers)
        return Answer(response.status_code, response.json())

    async def data(self, document: str, **variables: Any) -> Any:
        """The data of an operation that has no error."""
        answer = await self.ask(document, **variables)
        assert (answer.status, answer.errors) == (200, []), answer.body
        return answer.data

    async def do(self, mutation: str, selection: str, **given: Any) -> Any:
        """The payload of one mutation field: ``do("createTask", "task {id}", title="x")``."""
        name = mutation[0].upper() + mutation[1:]
        document = f"mutation($input: {name}Input!) {{ {mutation}(input: $input) {{ {selection} {USER_ERRORS} }} }}"
        return (await self.data(document, input=given))[mutation]


USER_ERRORS = "userErrors { code message field current { id ... on Task { title version } } }"


def stale(key: UUID | str, title: str, version: int, path: list[str]) -> dict[str, Any]:
    """The refusal of a change that saw an older version than ``version``."""
    return {
        "code": "STALE_VERSION",
        "message": f"This was changed after you read it; it is now at version {version}. "
        "Read it again and repeat your change.",
        "field": path,
        "current": {"id": str(key), "title": title, "version": version},
    }


def user_error(code: str, message: str, *path: str) -> dict[str, Any]:
    """A refusal without a current row."""
    return {"code": code, "message": message, "field": list(path), "current": None}


TAKEN_ID = user_error("CONFLICT", "This databaseId is taken; make another, or leave it out.", "databaseId")
"""The refusal of a row whose id there is already."""


class Gateway:
    """The application over a database, and clients of it.

    Nothing is cached unless the settings say so: tests count statements, and change rows without events.
    """

    def __init__(
        self,
        database: Database,
        *,
        clock: Callable[[], dt.datetime] = now,
        settings: Settings | None = None,
        external: ExternalIssuer | None = None,
    ) -> None:
        self.database = database
        self.tokens = Tokens(SECRET, AUDIENCE, external)
        settings = settings or Settings()
        if "cache" not in settings.model_fields_set:
            settings = settings.model_copy(update={"cache": "off"})
        told_before = len(database.commit_listeners)
        self.app = create_app(settings, database, self.tokens, clock=clock)
        self._told: list[Any] = [listener.__self__ for listener in database.commit_listeners[told_before:]]  # type: ignore[attr-defined]
        self.http = self.http_from("127.0.0.1")

    @property
    def cache(self) -> Cache:
        """What the application keeps of what it computed; only if its settings say so."""
        return next(owner for owner in self._told if isinstance(owner, Cache))

    def http_from(self, address: str) -> httpx.AsyncClient:
        """Requests from an address."""
        transport = httpx.ASGITransport(self.app, client=(address, 50000))
        return httpx.AsyncClient(transport=transport, base_url="http://gateway", timeout=60)

    def client(self, user: User | None = None, *granted: RoleName) -> Client:
        """A client signed in as ``user``, to whom roles were ``granted``, without a session; or anonymous."""
        return Client(self.http, self.token(user, *granted) if user else None)

    def token(self, user: User, *granted: RoleName) -> str:
        """A token as `siso token` issues it."""
        own = {RoleName.USER, RoleName.ADMIN} if user.role is UserRole.ADMIN else {RoleName.USER}
        return self.tokens.issue(user, frozenset({*own, *granted}), HOUR)

    def bearing(self, token: str) -> Client:
        """A client with a token of its own."""
        return Client(self.http, token)

    def at(self, moment: dt.datetime) -> "Gateway":
        """The same gateway at a moment of the test's choice."""
        return Gateway(self.database, clock=lambda: moment)


@asynccontextmanager
async def connected(options: DatabaseOptions, **changes: Any) -> AsyncIterator[Database]:
    """A database with other options than the fixture's; at the end every connection is given back."""
    database = open_database(replace(options, **changes))
    await database.connect()
    try:
        yield database
        assert database.pool_state().used == 0
    finally:
        await database.close()


@asynccontextmanager
async def served(app: ASGIApp, *, port: int = 0, **options: Any) -> AsyncIterator[str]:
    """The application on a port, any free one if none is named; it listens before it runs, so nobody has to wait.

    It has no lifespan and no WebSockets, unless uvicorn's ``options`` say so.
    """
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(256)
        fixed = {"log_config": None, "timeout_graceful_shutdown": 10, "timeout_keep_alive": 75}
        config = uvicorn.Config(app, **{"lifespan": "off", "ws": "none", **fixed, **options})
        server = uvicorn.Server(config)
        running = asyncio.ensure_future(server.serve(sockets=[listener]))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await running


def gid(type_name: str, row: Any) -> str:
    """The global id of a row, or of a key."""
    return global_id(type_name, row if isinstance(row, UUID) else row.id)


ROOT = Path(__file__).parents[2]
