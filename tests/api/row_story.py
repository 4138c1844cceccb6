"""Stories: mutations that run one after another on the rows of one administrator, with derived inputs.

Tests run them in random orders, or all of them (``EVERY``). A new mutation is part of the stories without a change
here, unless its input cannot be derived (tests/derived.py): then ``INPUTS`` or ``EXCLUDED`` must name it.
"""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from repositories.aggregates.event_store import EventStore
from repositories.core.viewer import SERVICE
from repositories.sql.aggregate import Aggregate, Commands, aggregates
from repositories.sql.statements import Statement
from repositories.sql.table import Table
from repositories.tables.client_management import Contact
from repositories.tables.identity import User
from resolvers.aggregates.derived_inputs import plural_type
from resolvers.request.payment_starter import PaymentStarter
from tests.api.client import USER_ERRORS, Answer, Client, Gateway, gid
from tests.api.test_row_events import PASSWORD
from tests.derived import COMMANDS, UnderivableInputError, derive_input, payload_field, stories

VERBS = {
    each.verb(command): command
    for each in aggregates.values()
    for command in (Commands.CREATE, Commands.UPDATE, Commands.DELETE, Commands.RESTORE, Commands.PURGE)
}
_EXPECTED_ERRORS = {"CONFLICT", "NOT_FOUND", "SESSION_ENDED", "UNAUTHENTICATED"}
"""Of commands that the state of the rows does not allow. Other errors are errors of the test."""

EXCLUDED = {
    **dict.fromkeys(("verifyEmail", "resetPassword", "confirmEmailChange"), "needs a token from a message"),
    **dict.fromkeys(
        ("requestEmailVerification", "requestPasswordReset", "requestEmailChange", "inviteUser"),
        "sends a message and changes no row of an aggregate",
    ),
    "refreshUserDashboardStats": "takes no input and changes no row of an aggregate",
}
"""Mutations that do not run, each with its reason. tests/api/test_row_events.py runs them."""


PAYMENTS = PaymentStarter(lambda _, order, __, ___: _start_payment(order))
"""Starts payments whose id is that of the order."""


async def _start_payment(order: UUID) -> tuple[UUID, str]:
    return order, f"secret of {order}"


Rows = dict[str, dict[Any, Any]]
"""Rows by the name of their type and by their id."""
_ALL_ROWS: dict[str, Statement[Table]] = {
    each.type_name: Statement(sa.select(*each.table.c).order_by(each.table.c.id.desc()), each.row)
    for each in aggregates.values()
}


class Story:
    """Runs commands as an administrator, and checks what each of them has done."""

    def __init__(self, gateway: Gateway, admin: User) -> None:
        self.gateway, self.admin = gateway, admin
        self.administrator = gateway.client(admin)
        self.account: Client | None = None
        """A client of the account that has signed up or signed in last."""
        self.credentials: dict[str, str] = {}
        self.refresh_token = ""
        self.number = 0
        self.others: set[Any] = set()
        """The ids of the rows of other stories."""
        self.succeeded: set[str] = set()
        self.before: Rows = {}
        """The rows after the command before."""

    async def rows(self) -> Rows:
        """All rows of this story by the name of their type and their id, the newest first, and all roles."""
        found: Rows = {}
        async with self.gateway.database.transaction(SERVICE) as write:
            for name, statement in _ALL_ROWS.items():
                rows: list[Any] = await write.rows(statement)
                found[name] = {row.id: row for row in rows if row.id not in self.others}
        return found

    async def count_events(self) -> int:
        async with self.gateway.database.transaction(SERVICE) as write:
            return await EventStore(write).count()

    async def run(self, mutation: str, pick: int) -> None:
        """Runs the mutation on some of the rows, or does nothing without rows of which it needs one."""
        self.number += 1
        before, count = self.before or await self.rows(), await self.count_events()
        try:
            values = self._input(mutation, before, pick)
        except UnderivableInputError:
            return
        field, aggregate = payload_field(mutation)
        selection = f"{field} {{ id }}" if aggregate is not None else SELECTIONS.get(mutation, field)
        name = mutation[0].upper() + mutation[1:]
        document = f"mutation($i: {name}Input!) {{ {mutation}(input: $i) {{ {selection} {USER_ERRORS} }} }}"
        answer = await self.send(mutation, document, values)
        payload = (answer.data or {}).get(mutation) or {"userErrors": []}
        codes = {*answer.codes, *(error["code"] for error in payload["userErrors"])}
        after = self.before = await self.rows()
        if codes:
            assert codes <= _EXPECTED_ERRORS, (mutation, values, answer.body)
            assert (after, await self.count_events()) == (before, count), mutation
            return
        self.succeeded.add(mutation)
        if aggregate is not None:
            returned = payload[field] if isinstance(payload[field], list) else [payload[field]]
            _check_returned(aggregate, mutation, [row["id"] for row in returned], after[aggregate.type_name])
        elif "accessToken" in payload:
            self._sign_in(mutation, values, payload)

    async def send(self, mutation: str, document: str, values: dict[str, Any]) -> Answer:
        """Sends a mutation as the administrator, or as the account to which it belongs."""
        return await self.client(mutation).ask(document, i=values)

    def _input(self, mutation: str, rows: Rows, pick: int) -> dict[str, Any]:
        verb = next((found for word, found in VERBS.items() if mutation.startswith(word)), None)
        wants_deleted = verb in {Commands.RESTORE, Commands.PURGE}
        ids, several = {}, {}
        for name, candidates in rows.items():
            keys = [
                gid(name, row)
                for row in candidates.values()
                if row.id != self.admin.id and (getattr(row, "deleted_at", None) is not None) is wants_deleted
            ]
            if keys:
                ids[name], several[name] = keys[pick % len(keys)], keys[: pick + 1]
        values = INPUTS[mutation](self, ids, rows) if mutation in INPUTS else derive_input(mutation, ids, self.number)
        aggregate = payload_field(mutation)[1]
        if aggregate is not None:
            if "ids" in values:
                values["ids"] = several[aggregate.type_name]
            self._set_versions(aggregate, values, rows)
        return values

    def _set_versions(self, aggregate: Aggregate, values: Any, rows: Rows) -> None:
        """Sets the current versions in an input, and in the inputs in it. Without an id the row is the viewer's."""
        if isinstance(values, list):
            for each in values:
                self._set_versions(aggregate, each, rows)
        elif isinstance(values, dict):
            if "version" in values:
                of_type = rows[aggregate.type_name]
                by_id = {gid(aggregate.type_name, key): row for key, row in of_type.items()}
                of_viewer = {getattr(row, "user_id", row.id): row for row in of_type.values()}
                row = by_id[values["id"]] if "id" in values else of_viewer.get(self.admin.id)
                values["version"] = 1 if row is None else row.version
            self._set_versions(aggregate, list(values.values()), rows)

    def client(self, mutation: str) -> Client:
        if mutation in {"signUp", "signIn", "refreshSession"}:
            return self.gateway.client()
        if mutation in {"signOut", "changePassword", "deactivateAccount"}:
            return self.account or self.gateway.client()
        return self.administrator

    def _sign_in(self, mutation: str, values: dict[str, Any], payload: Any) -> None:
        self.account = self.gateway.client_with_token(payload["accessToken"])
        self.refresh_token = payload["refreshToken"]
        if mutation == "signUp":
            self.credentials = {"email": values["email"], "password": values["password"]}


def _check_returned(aggregate: Aggregate, mutation: str, keys: list[str], rows: dict[Any, Any]) -> None:
    """The rows that a command returns are stored, deleted or gone, as its verb says."""
    names = (aggregate.type_name, plural_type(aggregate))
    verb = next((VERBS[word] for word in VERBS for name in names if mutation == word + name), Commands.UPDATE)
    stored = {gid(aggregate.type_name, key): row for key, row in rows.items()}
    is_gone = verb is Commands.PURGE or (verb is Commands.DELETE and not aggregate.is_soft_deleted)
    for key in keys:
        if is_gone or mutation == "revokeRole":
            assert key not in stored, mutation
        elif aggregate.is_soft_deleted:
            assert (stored[key].deleted_at is not None) is (verb is Commands.DELETE), mutation
        else:
            assert key in stored, mutation


Input = Callable[[Story, dict[str, str], Rows], dict[str, Any]]


def _new_client(story: Story, ids: dict[str, str], _: Rows) -> dict[str, Any]:
    """With first contacts, which are optional."""
    person = {"firstName": "Joan", "lastName": "Clarke"}
    contacts = [person | {"email": f"{story.number}-{index}@example.org", "isPrimary": index == 0} for index in (0, 1)]
    return derive_input("createClient", ids, story.number) | {"contacts": contacts}


def _primary(story: Story, ids: dict[str, str], rows: Rows) -> dict[str, Any]:
    """A contact that is not deleted, and its client."""
    if "Contact" not in ids:
        raise UnderivableInputError(Contact.__name__)
    contact = next(row for row in rows["Contact"].values() if gid("Contact", row) == ids["Contact"])
    return {"id": gid("Client", contact.client_id), "contactId": ids["Contact"], "version": 1}


def _new_partner(story: Story, ids: dict[str, str], _: Rows) -> dict[str, Any]:
    """The administrator manages it, because other users can lack the role for this."""
    return derive_input("createPartner", ids, story.number) | {"managerId": gid("User", story.admin)}


def _partner_status(story: Story, ids: dict[str, str], _: Rows) -> dict[str, Any]:
    """Not ENDED, because the samples of partners start in the future."""
    if "Partner" not in ids:
        raise UnderivableInputError("ChangePartnerStatus", "id")
    return {"id": ids["Partner"], "version": 1, "status": "ACTIVE" if story.number % 2 else "PAUSED"}


def _assigned(story: Story, ids: dict[str, str], rows: Rows) -> dict[str, Any]:
    """To the oldest of the other users, whom no command deactivates."""
    others = [row for row in rows["User"].values() if row.id != story.admin.id]
    if "Task" not in ids or not others:
        raise UnderivableInputError("AssignTask", "email")
    return {"id": ids["Task"], "version": 1, "email": others[-1].email}


def _closed(story: Story, ids: dict[str, str], _: Rows) -> dict[str, Any]:
    outcome = {"outcome": "WON", "value": "10"} if story.number % 2 else {"outcome": "LOST"}
    if "Referral" not in ids:
        raise UnderivableInputError("CloseReferral", "id")
    return {"id": ids["Referral"], "version": 1, **outcome}


def _moved(story: Story, ids: dict[str, str], _: Rows) -> dict[str, Any]:
    """To the first level."""
    if "ProductCategory" not in ids:
        raise UnderivableInputError("MoveProductCategory", "id")
    return {"id": ids["ProductCategory"], "parentId": None, "position": story.number}


def _new_product(story: Story, ids: dict[str, str], _: Rows) -> dict[str, Any]:
    """It is free, so that an order of it is paid as soon as it is placed."""
    return derive_input("createProduct", ids, story.number) | {"priceAmount": 0, "isActive": True}


def _of_product(quantity: int) -> Input:
    def build(_: Story, ids: dict[str, str], __: Rows) -> dict[str, Any]:
        if "Product" not in ids:
            raise UnderivableInputError("Product")
        return {"productId": ids["Product"], "quantity": quantity}

    return build


def _item(_: Story, ids: dict[str, str], __: Rows) -> dict[str, Any]:
    if "OrderItem" not in ids:
        raise UnderivableInputError("OrderItem")
    return {"id": ids["OrderItem"], "quantity": 2}


def _placed(_: Story, ids: dict[str, str], __: Rows) -> dict[str, Any]:
    if "Order" not in ids:
        raise UnderivableInputError("Order")
    address = {"name": "Ada", "line1": "Main Street 1", "postalCode": "10115", "city": "Berlin", "country": "DE"}
    return {"id": ids["Order"], "version": 1, "shippingAddress": address}


def _to_pay(_: Story, ids: dict[str, str], __: Rows) -> dict[str, Any]:
    if "Order" not in ids:
        raise UnderivableInputError("Order")
    return {"id": ids["Order"]}


def _sign_up(story: Story, _: dict[str, str], __: Rows) -> dict[str, Any]:
    return {
        "email": f"{story.admin.id.hex}-{story.number}@example.com",
        "password": PASSWORD,
        "firstName": "New",
        "lastName": "Person",
    }


def _with_credentials(story: Story, build: Callable[[dict[str, str]], dict[str, Any]]) -> dict[str, Any]:
    if not story.credentials:
        raise UnderivableInputError(User.__name__)
    return build(story.credentials)


INPUTS: dict[str, Input] = {
    "createPartner": _new_partner,
    "assignTask": _assigned,
    "changePartnerStatus": _partner_status,
    "createClient": _new_client,
    "createProduct": _new_product,
    "updateProduct": lambda story, ids, _: derive_input("updateProduct", ids, story.number) | {"isActive": True},
    "moveProductCategory": _moved,
    "receiveStock": _of_product(9),
    "correctStock": _of_product(-1),
    "addToOrder": _of_product(1),
    "changeOrderItem": _item,
    "placeOrder": _placed,
    "payOrder": _to_pay,
    "setPrimaryContact": _primary,
    "closeReferral": _closed,
    "signUp": _sign_up,
    "signIn": lambda story, _, __: _with_credentials(story, lambda credentials: {**credentials}),
    "refreshSession": lambda story, _, __: _with_credentials(story, lambda _: {"refreshToken": story.refresh_token}),
    "changePassword": lambda story, _, __: _with_credentials(
        story, lambda credentials: {"currentPassword": credentials["password"], "newPassword": credentials["password"]}
    ),
    "deactivateAccount": lambda story, _, __: _with_credentials(
        story, lambda credentials: {"password": credentials["password"]}
    ),
    "updateProfile": lambda story, _, __: {"version": 1, "firstName": f"Name {story.number}", "locale": "de-DE"},
}
"""The inputs that cannot be derived."""
SELECTIONS = {
    **dict.fromkeys(("signUp", "signIn", "refreshSession"), "accessToken refreshToken"),
    "payOrder": "orderPayment { order { id } clientSecret }",
}

MUTATIONS = sorted(set(COMMANDS) - set(EXCLUDED))
_ACCOUNT = ("signUp", "signIn", "refreshSession", "changePassword", "signOut", "signIn", "deactivateAccount")
_FIRST, _LAST = ([mutation for _, mutation, _ in steps] for steps in stories())
_REWARDS = [("createReward", 0), ("createReward", 0), ("redeemReward", 0), ("redeemReward", 1)]
_REFERRALS = [
    *[(each, 0) for each in ("submitReferral", "closeReferral", "submitReferral", "qualifyReferral", "closeReferral")],
    *[(each, pick) for each in ("payCommission", "reopenReferral") for pick in (0, 1)],
    *[("changePartnerStatus", 0)] * 2,
]
_CART = ("addToOrder", "changeOrderItem", "removeFromOrder", "addToOrder", "placeOrder")
_ORDERS = [
    (each, 0)
    for each in (
        *("createProduct", "receiveStock", "correctStock", *_CART, "shipOrder", "completeOrder", "returnOrder"),
        *("updateProduct", "addToOrder", "placeOrder", "payOrder", "cancelOrder"),
    )
]
_SPECIAL = {*_FIRST, *_LAST, *_ACCOUNT, *(mutation for mutation, _ in (*_REWARDS, *_REFERRALS, *_ORDERS))}
EVERY = [
    *[(mutation, 0) for mutation in (*_FIRST, "transferClient", *_ACCOUNT)],
    *_REWARDS,
    *_REFERRALS,
    *_ORDERS,
    *[(mutation, 0) for mutation in (*sorted(set(MUTATIONS) - _SPECIAL), *_LAST)],
]
"""All mutations in an order in which each succeeds once.

Every second new reward is inactive, every second referral is closed as LOST, and every second status of a partner is
not possible after the first one.
"""
