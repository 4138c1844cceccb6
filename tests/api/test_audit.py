"""Who changed what and when stands in the audit log, for every command there is."""

import datetime as dt
from collections.abc import Callable
from typing import Any

from graphql import get_named_type

from repositories.tables.identity import User
from schema import schema
from tests.api.client import USER_ERRORS, Gateway, gid
from tests.api.reading import events
from tests.factories import make_points, make_user

AT = dt.datetime(2026, 6, 15, 12, tzinfo=dt.UTC)
UNRECORDED = {"refreshUserDashboardStats"}
"""Counts anew what is there; nothing of anybody's is changed."""

Ids = dict[str, str]
STORY: dict[str, Callable[[Ids], dict[str, Any]]] = {
    "createCategory": lambda _: {"name": "Home"},
    "updateCategory": lambda ids: {"id": ids["category"], "name": "Haus"},
    "createTask": lambda ids: {"title": "x", "categoryId": ids["category"]},
    "updateTask": lambda ids: {"id": ids["task"], "version": 1, "title": "y"},
    "completeTask": lambda ids: {"id": ids["task"]},
    "reopenTask": lambda ids: {"id": ids["task"]},
    "deleteTask": lambda ids: {"id": ids["task"]},
    "restoreTask": lambda ids: {"id": ids["task"]},
    "createTasks": lambda _: {"tasks": [{"title": "x"}]},
    "updateTasks": lambda ids: {"tasks": [{"id": ids["tasks"], "version": 1, "title": "y"}]},
    "deleteCategory": lambda ids: {"id": ids["category"]},
    "createClient": lambda _: {"companyName": "Acme"},
    "updateClient": lambda ids: {"id": ids["client"], "version": 1, "companyName": "Other"},
    "deleteClient": lambda ids: {"id": ids["client"]},
    "restoreClient": lambda ids: {"id": ids["client"]},
    "addContact": lambda ids: {
        "clientId": ids["client"],
        "firstName": "Joan",
        "lastName": "Clarke",
        "email": "joan@example.com",
    },
    "updateContact": lambda ids: {"id": ids["contact"], "firstName": "Jo"},
    "setPrimaryContact": lambda ids: {"id": ids["client"], "contactId": ids["contact"]},
    "removeContact": lambda ids: {"id": ids["contact"]},
    "createPartner": lambda _: {"name": "Acme", "kind": "REFERRAL", "commissionRate": "0.1"},
    "updatePartner": lambda ids: {"id": ids["partner"], "version": 1, "name": "Other"},
    "changePartnerStatus": lambda ids: {"id": ids["partner"], "status": "ACTIVE"},
    "submitReferral": lambda ids: {"partnerId": ids["partner"], "clientName": "Client"},
    "qualifyReferral": lambda ids: {"id": ids["referral"]},
    "closeReferral": lambda ids: {"id": ids["referral"], "outcome": "WON", "value": "10"},
    "createReward": lambda _: {"name": "Cup", "cost": 5},
    "updateReward": lambda ids: {"id": ids["reward"], "version": 1, "name": "Mug"},
    "redeemReward": lambda ids: {"rewardId": ids["reward"]},
    "refundRedemption": lambda ids: {"id": ids["rewardRedemption"]},
    "createAchievement": lambda _: {
        "code": "new",
        "name": "New",
        "description": "x",
        "points": 1,
        "criteria": {"count": 1000},
    },
    "updateAchievement": lambda ids: {"id": ids["achievement"], "version": 1, "name": "Newer"},
    "grantRole": lambda ids: {"userId": ids["user"], "roleId": ids["role"]},
    "revokeRole": lambda ids: {"userId": ids["user"], "roleId": ids["role"]},
    "setSystemSetting": lambda _: {"key": "a", "value": 1},
}
"""Every command once, each on what those before it made."""


def _result_of(mutation: str) -> str:
    assert schema._schema.mutation_type is not None
    payload: Any = get_named_type(schema._schema.mutation_type.fields[mutation].type)
    return str(next(iter(payload.fields)))


def test_the_story_tells_of_every_command() -> None:
    """A command that is not in it is one of which nobody has shown that it is recorded."""
    assert schema._schema.mutation_type is not None
    assert set(STORY) | UNRECORDED == set(schema._schema.mutation_type.fields)


async def test_every_command_is_in_the_audit_log(gateway: Gateway, admin: User) -> None:
    """With its actor and its moment; the log is asked for that minute alone."""
    await make_points(gateway.database, admin, 100)
    roles = (await gateway.client(admin).data("{ roles { id } }"))["roles"]
    ids: Ids = {"user": gid("User", await make_user(gateway.database)), "role": roles[0]["id"]}
    document = """query($filter: AuditLogFilter) { auditLog(filter: $filter) {
        nodes { eventType aggregateType aggregateId userId timestamp } } }"""
    for index, (mutation, given) in enumerate(STORY.items()):
        moment = AT + dt.timedelta(minutes=index)
        known = len(await events(gateway.database))
        result = _result_of(mutation)
        client = gateway.at(moment).client(admin)
        name = mutation[0].upper() + mutation[1:]
        text = f"mutation($input: {name}Input!) {{ {mutation}(input: $input) {{ {result} {{ id }} {USER_ERRORS} }} }}"
        payload = (await client.data(text, input=given(ids)))[mutation]
        assert payload["userErrors"] == [], (mutation, payload)
        made = payload[result]
        ids[result] = (made[0] if isinstance(made, list) else made)["id"]
        recorded = (await events(gateway.database))[known:]
        assert recorded, mutation
        given_filter = {"userId": {"eq": gid("User", admin)}, "timestamp": {"eq": moment.isoformat()}}
        logged = (await client.data(document, filter=given_filter))["auditLog"]["nodes"]
        assert logged == [
            {
                "eventType": event.event_type,
                "aggregateType": event.aggregate_type,
                "aggregateId": str(event.aggregate_id),
                "userId": str(admin.id),
                "timestamp": moment.isoformat(),
            }
            for event in reversed(recorded)
        ], mutation
