"""Suspension across processes: separate `siso serve` processes on one database, with real sockets."""

import asyncio
from typing import Any

import httpx

from gateway.auth.tokens import Tokens
from gateway.settings import Settings
from repositories.engines.database import DatabaseOptions
from repositories.identity import Users
from repositories.permissions import RoleName
from repositories.tables.identity import User, UserStatus
from tests.api.client import connect_database, gid
from tests.cli.conftest import TOKEN_SECRET
from tests.cli.siso import RunningGateway, Siso
from tests.factories import make_user
from tests.repositories.support import open_snapshot

SUSPEND = "mutation($id: ID!) { suspendUser(input: {id: $id}) { user { status } userErrors { message } } }"
CREATE = 'mutation { createTask(input: {title: "x"}) { task { title } } }'
DEACTIVATE = "mutation { deactivateAccount(input: {}) { user { status } } }"


async def _create_users(options: DatabaseOptions) -> tuple[User, User]:
    async with connect_database(options) as database:
        return await make_user(database), await make_user(database, role="admin")


async def _status(options: DatabaseOptions, user: User) -> UserStatus:
    async with connect_database(options) as database, open_snapshot(database) as snapshot:
        return (await Users(snapshot).get(user.id)).status


def _ask(served: RunningGateway, token: str, document: str, **variables: Any) -> Any:
    body, headers = {"query": document, "variables": variables}, {"Authorization": f"Bearer {token}"}
    response = httpx.post(f"{served.url}/graphql", json=body, headers=headers, timeout=30).json()
    return response["errors"][0]["extensions"]["code"] if "errors" in response else response["data"]


def test_suspended_user_is_locked_out_of_all_processes(siso: Siso, options: DatabaseOptions) -> None:
    """Of running processes as soon as the event has reached them, and of those that start later at once."""
    user, admin = asyncio.run(_create_users(options))
    siso.settings["GATEWAY_JWT_SECRET"] = TOKEN_SECRET
    tokens = Tokens(TOKEN_SECRET, Settings().jwt_audience)
    token = tokens.issue(user, frozenset({RoleName.USER}), 3600)
    root = tokens.issue(admin, frozenset({RoleName.USER, RoleName.ADMIN}), 3600)
    with siso.serving() as one, siso.serving() as two:
        created = {"createTask": {"task": {"title": "x"}}}
        assert [_ask(served, token, CREATE) for served in (one, two)] == [created, created]
        suspended = {"suspendUser": {"user": {"status": "SUSPENDED"}, "userErrors": []}}
        assert _ask(one, root, SUSPEND, id=gid("User", user)) == suspended
        assert _ask(one, token, DEACTIVATE) == "UNAUTHENTICATED"
        while _ask(two, token, "{ viewer { id } }") != "UNAUTHENTICATED":
            pass
        with siso.serving() as three:
            for served in (three, two, one):
                assert _ask(served, token, DEACTIVATE) == "UNAUTHENTICATED"
                assert _ask(served, token, CREATE) == "UNAUTHENTICATED"
    assert asyncio.run(_status(options, user)) is UserStatus.SUSPENDED
