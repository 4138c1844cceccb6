"""Every mutation is recorded in the audit log with its actor and time."""

import datetime as dt
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from graphql import get_named_type

from repositories.commerce.orders import OrderItems, Orders
from repositories.core.viewer import SERVICE
from repositories.engines.database import Database
from repositories.tables.commerce import OrderStatus
from repositories.tables.identity import User, UserRole
from repositories.tables.partnership import ReferralStatus
from schema import schema
from tests.api.client import USER_ERRORS, Client, Gateway, gid
from tests.api.mailbox import Mailbox, MailGateway
from tests.api.stored_rows import stored_events
from tests.derived import stories
from tests.factories import (
    make_order,
    make_paid,
    make_partner,
    make_points,
    make_product,
    make_referral,
    make_reserved,
    make_reward,
    make_user,
)

AT = dt.datetime(2026, 6, 15, 12, tzinfo=dt.UTC)
ADDRESS = {"name": "Ada", "line1": "Main Street 1", "postalCode": "10115", "city": "Berlin", "country": "DE"}
UNRECORDED = {"payOrder", "refreshUserDashboardStats", "requestPasswordReset"}
"""The first needs a service for payments (tests/api/test_order_payments.py). The second recomputes statistics and
changes no aggregate. The event of the third one is recorded when the message is
sent, so that a request takes the same time whether or not there is an account."""

Ids = dict[str, str]
INPUTS: dict[str, Callable[[Ids], dict[str, Any]]] = {
    "assignTask": lambda ids: {"id": ids["Task"], "email": "other@example.com"},
    "completeTask": lambda ids: {"id": ids["Task"]},
    "reopenTask": lambda ids: {"id": ids["Task"]},
    "setPrimaryContact": lambda ids: {"id": ids["Client"], "contactId": ids["Contact"]},
    "transferClient": lambda ids: {"id": ids["Client"], "userId": ids["user"]},
    "changePartnerStatus": lambda ids: {"id": ids["Partner"], "status": "ACTIVE"},
    "qualifyReferral": lambda ids: {"id": ids["Referral"]},
    "closeReferral": lambda ids: {"id": ids["Referral"], "outcome": "WON", "value": "10"},
    "payCommission": lambda ids: {"id": ids["Referral"]},
    "reopenReferral": lambda ids: {"id": ids["lost"]},
    "redeemReward": lambda ids: {"rewardId": ids["reward"]},
    "fulfillRedemption": lambda ids: {"id": ids["rewardRedemption"]},
    "refundRedemption": lambda ids: {"id": ids["rewardRedemption"]},
    "moveProductCategory": lambda ids: {"id": ids["ProductCategory"], "position": 7},
    "receiveStock": lambda ids: {"productId": ids["product"], "quantity": 3},
    "correctStock": lambda ids: {"productId": ids["product"], "quantity": -1},
    "addToOrder": lambda ids: {"productId": ids["product"]},
    "changeOrderItem": lambda ids: {"id": ids["item"], "quantity": 2},
    "removeFromOrder": lambda ids: {"id": ids["item"]},
    "placeOrder": lambda ids: {"id": ids["placed"], "shippingAddress": ADDRESS},
    "cancelOrder": lambda ids: {"id": ids["placed"]},
    "shipOrder": lambda ids: {"id": ids["paid"]},
    "completeOrder": lambda ids: {"id": ids["paid"]},
    "returnOrder": lambda ids: {"id": ids["paid"]},
    "grantRole": lambda ids: {"userId": ids["user"], "roleId": ids["role"]},
    "revokeRole": lambda ids: {"userId": ids["user"], "roleId": ids["role"]},
}
"""The input of every mutation that is not derived. They run in this order, after those that create and change rows,
each on the rows that the ones before have created."""

ACCOUNTS = {
    "signUp": ["UserSignedUp"],
    "signIn": ["SessionStarted", "UserSignedIn"],
    "refreshSession": ["SessionRefreshed"],
    "updateProfile": ["ProfileUpdated"],
    "updatePreferences": ["PreferencesUpdated"],
    "changePassword": ["PasswordChanged", "SessionRevoked"],
    "revokeSession": ["SessionRevoked"],
    "signOut": ["SessionRevoked"],
    "changeUserRole": ["UserRoleChanged"],
    "suspendUser": ["UserSuspended"],
    "reinstateUser": ["UserReinstated"],
    "requestEmailVerification": ["EmailVerificationRequested"],
    "verifyEmail": ["EmailVerified"],
    "resetPassword": ["PasswordReset", "SessionRevoked"],
    "requestEmailChange": ["EmailChangeRequested"],
    "confirmEmailChange": ["EmailChanged"],
    "inviteUser": ["UserInvited"],
    "deactivateAccount": ["UserDeactivated"],
}
"""The events that each mutation of an account records, besides those of other sessions that it revokes."""


def _result_field(mutation: str) -> str:
    assert schema._schema.mutation_type is not None
    payload: Any = get_named_type(schema._schema.mutation_type.fields[mutation].type)
    return str(next(iter(payload.fields)))


def _result_type(mutation: str) -> str:
    assert schema._schema.mutation_type is not None
    payload: Any = get_named_type(schema._schema.mutation_type.fields[mutation].type)
    return str(get_named_type(payload.fields[_result_field(mutation)].type))


def _steps() -> list[tuple[str, Any]]:
    """All mutations but those of accounts: derived ones that create and change rows, others, and those that delete."""
    first, last = ([(mutation, given) for _, mutation, given in steps] for steps in stories())
    return [*first, *INPUTS.items(), *last]


def test_every_mutation_is_tested() -> None:
    assert schema._schema.mutation_type is not None
    mutations = {mutation for mutation, _ in _steps()}
    assert mutations | set(ACCOUNTS) | UNRECORDED == set(schema._schema.mutation_type.fields)


async def _make_orders(database: Database, user: User) -> Ids:
    """A product, a draft to place, and an order that is paid, with the stock of both, and an item of another draft."""
    product = await make_product(database, stock=10)
    draft = await make_order(database, user, product)
    cart = await make_order(database, await make_user(database), product)
    paid = await make_order(database, await make_user(database), product)
    await make_reserved(database, paid)
    async with database.transaction(SERVICE) as write:
        values: Any = {"status": OrderStatus.PLACED, "placed_at": AT, "shipping_address": "{}"}
        await Orders(write).change(paid, **values)
        (item,) = await OrderItems(write).of_order(cart.id)
    await make_paid(database, paid.id)
    return {
        "product": gid("Product", product),
        "item": gid("OrderItem", item),
        "placed": gid("Order", draft),
        "paid": gid("Order", paid),
    }


async def test_every_mutation_is_in_the_audit_log(gateway: Gateway, admin: User) -> None:
    """Entries have the actor and the time. Each mutation runs at its own time, by which the log is filtered."""
    await make_points(gateway.database, admin, 100)
    other = await make_user(gateway.database, email="other@example.com")
    roles = (await gateway.client(admin).data("{ roles { id } }"))["roles"]
    partner = await make_partner(gateway.database, admin)
    lost = await make_referral(gateway.database, partner, status=ReferralStatus.LOST, closed_at=AT)
    ids: Ids = {
        "user": gid("User", other),
        "role": roles[0]["id"],
        "lost": gid("Referral", lost),
        "reward": gid("Reward", await make_reward(gateway.database)),
        **await _make_orders(gateway.database, other),
    }
    document = """query($filter: AuditLogFilter) { auditLog(filter: $filter) {
        nodes { eventType aggregateType aggregateId userId timestamp } } }"""
    for index, (mutation, given) in enumerate(_steps()):
        moment = AT + dt.timedelta(minutes=index)
        count = len(await stored_events(gateway.database))
        result = _result_field(mutation)
        client = gateway.at(moment).client(admin)
        name = mutation[0].upper() + mutation[1:]
        text = f"mutation($input: {name}Input!) {{ {mutation}(input: $input) {{ {result} {{ id }} {USER_ERRORS} }} }}"
        payload = (await client.data(text, input=given(ids)))[mutation]
        assert payload["userErrors"] == [], (mutation, payload)
        rows = payload[result]
        ids[result] = ids[_result_type(mutation)] = (rows[0] if isinstance(rows, list) else rows)["id"]
        recorded = (await stored_events(gateway.database))[count:]
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


async def _use_messages(
    gateway: MailGateway, run: Callable[..., Awaitable[Any]], own: Client, user_id: str, credentials: dict[str, str]
) -> None:
    """The mutations that send messages to a user, and those that use the tokens in them."""
    anonymous, email = gateway.client(), credentials["email"]

    async def token_of(subject: str) -> str:
        return [mail.token for mail in await gateway.deliver() if mail.subject == subject][-1]

    await run(own, "requestEmailVerification", "email", user_id, email=email)
    token = await token_of("Verify your e-mail address")
    await run(anonymous, "verifyEmail", "email", user_id, token=token)
    change = {"newEmail": "newer@example.com", "password": credentials["password"]}
    await run(own, "requestEmailChange", "email", user_id, **change)
    token = await token_of("Confirm your new e-mail address")
    await run(anonymous, "confirmEmailChange", "email", user_id, token=token)
    await anonymous.do("requestPasswordReset", "email", email=change["newEmail"])
    credentials |= {"email": change["newEmail"], "password": "yet another battery"}
    token = await token_of("Set a new password")
    await run(anonymous, "resetPassword", "email", user_id, token=token, newPassword=credentials["password"])


@pytest.mark.usefixtures("cheap_passwords")
async def test_every_change_of_an_account_is_recorded(database: Database, mailbox: Mailbox, admin: User) -> None:
    """The actor is the user or the admin."""
    gateway = MailGateway(database, mailbox)
    recorded_mutations: set[str] = set()
    session_fields = "accessToken refreshToken viewer { id databaseId version }"
    credentials = {"email": "new@example.com", "password": "correct horse battery"}

    async def run(client: Client, mutation: str, selection: str, actor: str, **given: Any) -> Any:
        count = len(await stored_events(gateway.database))
        payload = await client.do(mutation, selection, **given)
        assert payload["userErrors"] == [], (mutation, payload)
        recorded = (await stored_events(gateway.database))[count:]
        assert set(ACCOUNTS[mutation]) <= {event.event_type for event in recorded}, mutation
        assert {str(event.user_id) for event in recorded} <= {actor, user_id}, mutation
        recorded_mutations.add(mutation)
        return payload

    user_id = ""
    anonymous = gateway.client()
    payload = await anonymous.do("signUp", session_fields, **credentials, firstName="New", lastName="Person")
    user_id, user = payload["viewer"]["databaseId"], payload["viewer"]["id"]
    assert {(e.event_type, str(e.user_id)) for e in await stored_events(gateway.database)} >= {
        ("UserSignedUp", user_id)
    }
    recorded_mutations.add("signUp")
    signed_in = await run(anonymous, "signIn", session_fields, user_id, **credentials)
    refreshed = await run(anonymous, "refreshSession", session_fields, user_id, refreshToken=signed_in["refreshToken"])
    own, version = gateway.client_with_token(refreshed["accessToken"]), refreshed["viewer"]["version"]
    await run(own, "updateProfile", "user { id }", user_id, version=version, firstName="Newer")
    await run(own, "updatePreferences", "userPreferences { version }", user_id, version=1, theme="DARK")
    changed = {"currentPassword": credentials["password"], "newPassword": "another horse battery"}
    await run(own, "changePassword", "user { id }", user_id, **changed)
    credentials["password"] = changed["newPassword"]
    await anonymous.do("signIn", session_fields, **credentials)
    sessions = (await own.data("{ mySessions { nodes { id isCurrent } } }"))["mySessions"]["nodes"]
    away = next(session["id"] for session in sessions if not session["isCurrent"])
    await run(own, "revokeSession", "session { id }", user_id, id=away)
    await run(own, "signOut", "sessions { id }", user_id, everywhere=True)
    await make_user(gateway.database, role=UserRole.ADMIN)
    admin_client, actor = gateway.client(admin), str(admin.id)
    await run(admin_client, "changeUserRole", "user { id }", actor, id=user, role="ADMIN")
    await run(admin_client, "suspendUser", "user { id }", actor, id=user)
    await run(admin_client, "reinstateUser", "user { id }", actor, id=user)
    await run(admin_client, "inviteUser", "email", actor, email="invited@example.com")
    own = gateway.client_with_token((await anonymous.do("signIn", session_fields, **credentials))["accessToken"])
    await _use_messages(gateway, run, own, user_id, credentials)
    own = gateway.client_with_token((await anonymous.do("signIn", session_fields, **credentials))["accessToken"])
    await run(own, "deactivateAccount", "user { id }", user_id, password=credentials["password"])
    assert recorded_mutations == set(ACCOUNTS)
    await gateway.http.aclose()
