"""The gateway in tests: the application over a database, clients of it, and the application on a real socket."""

import asyncio
import datetime as dt
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

import httpx
import uvicorn
from starlette.types import ASGIApp

from gateway.auth.authentication import Authenticator, ExternalIssuer
from gateway.auth.tokens import Tokens
from gateway.server.app import create_app
from gateway.settings import Settings
from repositories.core.clock import now
from repositories.engines.database import Database, DatabaseOptions
from repositories.engines.factory import open_database
from repositories.permissions import RoleName
from repositories.tables.identity import User, UserRole
from resolvers.caching.cache import Cache
from resolvers.request.payment_starter import PaymentStarter
from resolvers.streaming.feed import Feed
from resolvers.validation.global_ids import global_id

SECRET = "the tests sign their tokens with this"  # noqa: S105 (used only in tests)
AUDIENCE = "siso-gateway"
HOUR = 3600


@dataclass(frozen=True, slots=True)
class Answer:
    """A response: its HTTP status and its decoded body."""

    status: int
    body: dict[str, Any]

    @property
    def data(self) -> Any:
        return self.body.get("data")

    @property
    def errors(self) -> list[dict[str, Any]]:
        errors: list[dict[str, Any]] = self.body.get("errors", [])
        return errors

    @property
    def codes(self) -> list[str]:
        return [error["extensions"]["code"] for error in self.errors]


class Client:
    """Sends operations as one user, or anonymously."""

    def __init__(self, http: httpx.AsyncClient, token: str | None) -> None:
        self.http = http
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}

    async def ask(self, document: str, **variables: Any) -> Answer:
        """Sends an operation and returns the response, whether it succeeds or not."""
        body = json.dumps({"query": document, "variables": variables})
        headers = {"Content-Type": "application/json", **self.headers}
        response = await self.http.post("/graphql", content=body, headers=headers)
        return Answer(response.status_code, response.json())

    async def data(self, document: str, **variables: Any) -> Any:
        """Sends an operation, asserts that it succeeds without errors, and returns its data."""
        answer = await self.ask(document, **variables)
        assert (answer.status, answer.errors) == (200, []), answer.body
        return answer.data

    async def do(self, mutation: str, selection: str, **values: Any) -> Any:
        """Runs one mutation field and returns its payload: ``do("createTask", "task {id}", title="x")``."""
        name = mutation[0].upper() + mutation[1:]
        document = f"mutation($input: {name}Input!) {{ {mutation}(input: $input) {{ {selection} {USER_ERRORS} }} }}"
        return (await self.data(document, input=values))[mutation]


class Ask(Protocol):
    """Executes an operation as a user, and returns the data; errors fail the test."""

    async def __call__(self, user: User, document: str, **variables: Any) -> Any: ...


USER_ERRORS = "userErrors { code message field current { id ... on Task { title version } } }"


def stale_version_error(key: UUID | str, title: str, version: int, path: list[str]) -> dict[str, Any]:
    """The user error of a change that is based on an older version than ``version``."""
    return {
        "code": "STALE_VERSION",
        "message": f"This is at version {version} now, which is not the one that you read. "
        "Read it again and repeat your change.",
        "field": path,
        "current": {"id": str(key), "title": title, "version": version},
    }


def user_error(code: str, message: str, *path: str) -> dict[str, Any]:
    """A user error without a current row."""
    return {"code": code, "message": message, "field": list(path), "current": None}


TAKEN_ID = user_error("CONFLICT", "This databaseId is taken; make another, or leave it out.", "databaseId")
"""The user error of a new row whose id exists already."""


class Gateway:
    """The application over a database, and clients of it.

    The cache is off unless the settings name one, because tests count statements and change rows without events.
    """

    def __init__(
        self,
        database: Database,
        *,
        clock: Callable[[], dt.datetime] = now,
        settings: Settings | None = None,
        external: ExternalIssuer | None = None,
        payments: PaymentStarter | None = None,
    ) -> None:
        self.database = database
        self.tokens = Tokens(SECRET, AUDIENCE)
        self._external = external
        settings = settings or Settings()
        if "cache" not in settings.model_fields_set:
            settings = settings.model_copy(update={"cache": "off"})
        count = len(database.commit_listeners)
        self.app = create_app(settings, database, self.tokens, external=external, clock=clock, payments=payments)
        self._listeners: list[Any] = [listener.__self__ for listener in database.commit_listeners[count:]]  # type: ignore[attr-defined]
        self.http = self.http_from("127.0.0.1")

    @cached_property
    def authenticator(self) -> Authenticator:
        """An authenticator like that of the application, with a cache of its own."""
        return Authenticator(self.tokens, self.database, Feed(self.database), self._external)

    @property
    def cache(self) -> Cache:
        """The cache of the application, if its settings name one."""
        return next(owner for owner in self._listeners if isinstance(owner, Cache))

    def http_from(self, address: str) -> httpx.AsyncClient:
        """An HTTP client whose requests come from an IP address."""
        transport = httpx.ASGITransport(self.app, client=(address, 50000))
        return httpx.AsyncClient(transport=transport, base_url="http://gateway", timeout=60)

    def client(self, user: User | None = None, *granted: RoleName) -> Client:
        """An anonymous client, or one with the token of a user to whom roles are ``granted``. It has no session."""
        return Client(self.http, self.token(user, *granted) if user else None)

    def token(self, user: User, *granted: RoleName) -> str:
        """A token like one from `siso token`."""
        own = {RoleName.USER, RoleName.ADMIN} if user.role is UserRole.ADMIN else {RoleName.USER}
        return self.tokens.issue(user, frozenset({*own, *granted}), HOUR)

    def client_with_token(self, token: str) -> Client:
        return Client(self.http, token)

    def at(self, moment: dt.datetime) -> "Gateway":
        """A gateway over the same database whose current time is ``moment``."""
        return Gateway(self.database, clock=lambda: moment)


@asynccontextmanager
async def connect_database(options: DatabaseOptions, **changes: Any) -> AsyncIterator[Database]:
    """A database with some options changed. Asserts at the end that all connections are returned to the pool."""
    database = open_database(replace(options, **changes))
    await database.connect()
    try:
        yield database
        assert database.pool_state().used == 0
    finally:
        await database.close()


@asynccontextmanager
async def serve(app: ASGIApp, *, port: int = 0, **options: Any) -> AsyncIterator[str]:
    """Serves the application on a port, 0 for a free one, and yields its address.

    The socket listens before the server runs, so clients can connect at once. Without ``options`` for uvicorn there are
    no lifespan and no WebSockets.
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
    """The global id of a row or of a UUID."""
    return global_id(type_name, row if isinstance(row, UUID) else row.id)


ROOT = Path(__file__).parents[2]
