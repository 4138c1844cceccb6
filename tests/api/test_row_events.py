"""Every change of a row is in an event of that row, whichever mutation made it.

All mutations run, and after each one all rows are compared with the rows before it and with the events that it stored.
"""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from strawberry.utils.str_converters import to_camel_case

from repositories.commerce.orders import OrderItems
from repositories.core.viewer import SERVICE
from repositories.engines.database import Database
from repositories.sql.aggregate import Aggregate, aggregates
from repositories.sql.statements import Statement
from repositories.sql.table import Table, metadata
from repositories.tables.administration import JobRun, Role, RoleGrant
from repositories.tables.client_management import Client as ClientRow
from repositories.tables.client_management import Contact
from repositories.tables.commerce import Order, OrderItem, Product, ProductCategory, StockLevel, StockMovement
from repositories.tables.events import DomainEvent
from repositories.tables.gamification import Achievement, PointEntry, Reward, RewardRedemption, UserAchievement
from repositories.tables.idempotency import IdempotencyRecord
from repositories.tables.identity import (
    AccountToken,
    AccountUsage,
    OutboxMessage,
    Session,
    User,
    UserPreferences,
    UserRole,
)
from repositories.tables.life_lock import Category, Task, TaskAnalytics
from repositories.tables.partnership import Partner, Referral
from resolvers.aggregates.derived_inputs import plural_type
from resolvers.validation.global_ids import parse_global_id
from schema import schema
from tests.api.client import Client, Gateway, gid
from tests.api.mailbox import Mailbox, MailGateway
from tests.api.stored_rows import stored_events
from tests.api.subscribing import SubscribingProcess, take
from tests.derived import stories, story
from tests.factories import make_category, make_paid, make_points, make_task, make_user

AGGREGATES: dict[type[Table], str] = {
    Achievement: "achievement",
    Category: "category",
    ClientRow: "client",
    Contact: "contact",
    Order: "order",
    OrderItem: "order_item",
    Partner: "partner",
    Product: "product",
    ProductCategory: "product_category",
    Referral: "referral",
    Reward: "reward",
    RewardRedemption: "reward_redemption",
    RoleGrant: "user",
    Session: "session",
    StockMovement: "stock_movement",
    Task: "task",
    User: "user",
    UserAchievement: "user_achievement",
    UserPreferences: "user_preferences",
}
"""The type of the events of each table's rows. A grant of a role is part of its user."""
DERIVED: set[type[Table]] = {
    AccountToken,
    AccountUsage,
    DomainEvent,
    IdempotencyRecord,
    JobRun,
    OutboxMessage,
    PointEntry,
    Role,
    StockLevel,
    TaskAnalytics,
}
"""Tables without events of their own: records, messages, and values that are computed from events and rows."""
UNCHANGED = {"UserSignedIn", "RoleGranted", "RoleRevoked", "EmailVerificationRequested", "EmailChangeRequested"}
"""Events of users that change no value that clients edit, so the version of the user stays."""
REFRESH = "refreshUserDashboardStats"
PAY = "payOrder"
"""Needs a service for payments, which tests/api/test_order_payments.py has."""
PASSWORD = "correct horse battery"  # noqa: S105 (used only in tests)

Rows = dict[tuple[type[Table], UUID], Any]


def test_every_table_has_events_or_is_derived() -> None:
    tables = {table.info["row"] for table in metadata.tables.values() if not table.info["is_view"]}
    of_domains = {kind for kind in tables if kind.__module__.startswith("repositories.tables.")}
    assert of_domains == {*AGGREGATES, *DERIVED}


async def _all_rows(database: Database) -> Rows:
    """The rows of all tables with events, including soft-deleted ones."""
    async with database.transaction(SERVICE) as write:
        return {
            (kind, row.id): row
            for kind in AGGREGATES
            for row in await write.rows(Statement(sa.select(*kind.__table__.c), kind))
        }


async def _compare(database: Database, mutation: str, before: Rows, count: int) -> None:
    """Compares the rows that have changed with the events after the first ``count``."""
    after, events = await _all_rows(database), (await stored_events(database))[count:]
    of_aggregate: dict[tuple[str, UUID], set[str]] = {}
    for event in events:
        of_aggregate.setdefault((event.aggregate_type, event.aggregate_id), set()).add(event.event_type)
    for (kind, key), row in {**before, **after}.items():
        old, new = before.get((kind, key)), after.get((kind, key))
        owner = row.user_id if kind is RoleGrant or (kind is Session and old is None) else key
        aggregate = "user" if kind is Session and old is None else AGGREGATES[kind]
        names = of_aggregate.get((aggregate, owner), set())
        assert old == new or names, (mutation, kind.__name__, old, new)
        if old is not None and new is not None and hasattr(row, "version"):
            assert new.version - old.version == int(bool(names - UNCHANGED)), (mutation, old, new, names)


class Everything:
    """Runs mutations, compares rows with events after each, and remembers which mutations have run."""

    def __init__(self, gateway: MailGateway) -> None:
        self.gateway = gateway
        self.done: set[str] = set()

    async def run(self, client: Client, mutation: str, selection: str, **given: Any) -> Any:
        """The first field of the payload."""
        database = self.gateway.database
        before, count = await _all_rows(database), len(await stored_events(database))
        payload = await client.do(mutation, selection, **given)
        assert payload["userErrors"] == [], (mutation, payload)
        await _compare(database, mutation, before, count)
        self.done.add(mutation)
        return payload[next(iter(payload))]


Step = Callable[..., Awaitable[Any]]


async def _derived(run: Step) -> None:
    ids: dict[str, str] = {}
    first, last = stories()
    for aggregate, mutation, given in (*first, *last):
        await _create_required(run, aggregate, ids)
        is_bulk = mutation.endswith(plural_type(aggregate))
        field = to_camel_case(aggregate.plural if is_bulk else aggregate.name)
        rows = await run(mutation, f"{field} {{ id }}", **given(ids))
        ids[aggregate.type_name] = (rows[0] if is_bulk else rows)["id"]


async def _create_required(run: Step, aggregate: Aggregate, ids: dict[str, str]) -> None:
    """Creates the rows to which a row of the aggregate must refer."""
    for reference in aggregate.references.values():
        target = aggregates.get(reference.target)
        if target in {None, aggregate} or reference.column.nullable or target.type_name in ids:
            continue
        for mutation, given in story(target)[:1]:
            ids[target.type_name] = (await run(mutation, f"{to_camel_case(target.name)} {{ id }}", **given(ids)))["id"]


async def _tasks(run: Step) -> None:
    categories = [await run("createCategory", "category { id }", name=name) for name in ("Home", "Work")]
    home, work = (category["id"] for category in categories)
    await run("updateCategory", "category { id }", id=home, name="Haus")
    await run("updateCategory", "category { id }", id=home, name="Haus")
    items = [{"title": f"Task {index}", "categoryId": home} for index in range(120)]
    made = [row["id"] for row in await run("createTasks", "tasks { id }", tasks=items)]
    task = (await run("createTask", "task { id }", title="x", categoryId=work))["id"]
    for version, change in enumerate(
        ({"title": "y"}, {"status": "COMPLETED"}, {"status": "CANCELLED", "title": "z"}, {"categoryId": home}), start=1
    ):
        await run("updateTask", "task { id }", id=task, version=version, **change)
    await run("updateTask", "task { id }", id=task, version=5, title="z")
    for address in ("other@example.com", "other@example.com", None):
        await run("assignTask", "task { id }", id=task, email=address)
    for mutation in ("reopenTask", "reopenTask", "completeTask", "completeTask", "deleteTask", "restoreTask"):
        await run(mutation, "task { id }", id=task)
    changes = [{"id": key, "version": 1, "status": "COMPLETED"} for key in made[:60]]
    await run("updateTasks", "tasks { id }", tasks=[*changes, {"id": made[60], "version": 1}])
    for key in made[50:70]:
        await run("deleteTask", "task { id }", id=key)
    for key in (home, work):
        await run("deleteCategory", "category { id }", id=key)
    await run("restoreTask", "task { id }", id=made[55])


async def _clients(run: Step) -> None:
    def person(name: str, **values: Any) -> dict[str, Any]:
        return {"firstName": name, "lastName": "Clarke", "email": f"{name}@example.org", **values}

    people = [person("a", isPrimary=True), person("b")]
    client = (await run("createClient", "client { id }", companyName="Acme", contacts=people))["id"]
    other = (await run("createClient", "client { id }", companyName="Other"))["id"]
    await run("updateClient", "client { id }", id=other, version=1, companyName="Else")
    contacts = [
        (await run("addContact", "contact { id }", clientId=client, **person(name, isPrimary=is_primary)))["id"]
        for name, is_primary in (("c", True), ("d", False))
    ]
    await run("updateContact", "contact { id }", id=contacts[0], firstName="C")
    for contact in (contacts[1], contacts[1]):
        await run("setPrimaryContact", "client { id }", id=client, contactId=contact)
    for contact in contacts:
        await run("removeContact", "contact { id }", id=contact)
    for mutation in ("deleteClient", "restoreClient"):
        await run(mutation, "client { id }", id=client)


async def _partners(run: Step) -> None:
    given = {"name": "Acme", "kind": "REFERRAL", "commissionRate": "0.1"}
    partner = (await run("createPartner", "partner { id }", **given))["id"]
    await run("updatePartner", "partner { id }", id=partner, version=1, name="Other")
    for status in ("ACTIVE", "PAUSED", "PAUSED"):
        await run("changePartnerStatus", "partner { id }", id=partner, status=status)
    for outcome in ({"outcome": "WON", "value": "10"}, {"outcome": "LOST"}):
        referral = (await run("submitReferral", "referral { id }", partnerId=partner, clientName="x"))["id"]
        await run("qualifyReferral", "referral { id }", id=referral)
        for _ in range(2):
            await run("closeReferral", "referral { id }", id=referral, **outcome)
            await run("reopenReferral", "referral { id }", id=referral)
            await run("reopenReferral", "referral { id }", id=referral)
        await run("closeReferral", "referral { id }", id=referral, **outcome)
        if outcome["outcome"] == "WON":
            for _ in range(2):
                await run("payCommission", "referral { id }", id=referral)
    await run("changePartnerStatus", "partner { id }", id=partner, status="ENDED")


async def _rewards(run: Step) -> None:
    limited = (await run("createReward", "reward { id }", name="Cup", cost=5, stock=3))["id"]
    unlimited = (await run("createReward", "reward { id }", name="Tea", cost=1))["id"]
    await run("updateReward", "reward { id }", id=limited, version=1, name="Mug")
    for reward in (limited, unlimited):
        redeemed = (await run("redeemReward", "rewardRedemption { id }", rewardId=reward))["id"]
        for mutation in ("fulfillRedemption", "fulfillRedemption", "refundRedemption"):
            await run(mutation, "rewardRedemption { id }", id=redeemed)
    values = {"code": "new", "name": "New", "description": "x", "points": 1, "criteria": {"count": 1}}
    achievement = (await run("createAchievement", "achievement { id }", **values))["id"]
    await run("updateAchievement", "achievement { id }", id=achievement, version=1, name="Newer")
    task = (await run("createTask", "task { id }", title="x"))["id"]
    await run("completeTask", "task { id }", id=task)


async def _commerce(run: Step, database: Database) -> None:
    category = (await run("createProductCategory", "productCategory { id }", name="Books", slug="books"))["id"]
    await run("updateProductCategory", "productCategory { id }", id=category, name="Novels")
    for _ in range(2):
        await run("moveProductCategory", "productCategory { id }", id=category, position=2)
    given = {"sku": "A", "name": "A", "slug": "a", "priceAmount": 5, "priceCurrency": "EUR", "taxRate": "0.2"}
    product = (await run("createProduct", "product { id }", **given))["id"]
    for mutation in ("archiveProduct", "restoreProduct"):
        await run(mutation, "product { id }", id=product)
    await run("receiveStock", "stockMovement { id }", productId=product, quantity=9)
    await run("correctStock", "stockMovement { id }", productId=product, quantity=-1)
    address = {"name": "A", "line1": "B", "postalCode": "1", "city": "C", "country": "DE"}
    for ends in (("shipOrder", "completeOrder", "returnOrder"), ("cancelOrder",)):
        for _ in range(2):
            order = (await run("addToOrder", "order { id }", productId=product))["id"]
        key = parse_global_id(order)[1]
        async with database.snapshot(SERVICE) as snapshot:
            (item,) = await OrderItems(snapshot).of_order(key)
        for quantity in (3, 3):
            await run("changeOrderItem", "order { id }", id=gid("OrderItem", item), quantity=quantity)
        await run("removeFromOrder", "order { id }", id=gid("OrderItem", item))
        await run("addToOrder", "order { id }", productId=product)
        await run("placeOrder", "order { id }", id=order, shippingAddress=address)
        await make_paid(database, key)
        for mutation in ends:
            await run(mutation, "order { id }", id=order)


async def _administration(run: Step, user: str, role: str) -> None:
    for mutation in ("grantRole", "grantRole", "revokeRole"):
        await run(mutation, "roleGrant { id }", userId=user, roleId=role)
    contacts = [{"firstName": "Given", "lastName": "Away", "email": "given@example.org", "isPrimary": True}]
    client = (await run("createClient", "client { id }", companyName="Acme", contacts=contacts))["id"]
    for _ in range(2):
        await run("transferClient", "client { id }", id=client, userId=user)


async def _accounts(everything: Everything, admin: Client) -> None:
    tokens = "accessToken refreshToken viewer { id }"
    names = {"firstName": "New", "lastName": "Person"}
    credentials = {"email": "new@example.com", "password": PASSWORD}
    run, anonymous = everything.run, everything.gateway.client()

    async def payload(mutation: str, **given: Any) -> Any:
        """Of mutations that return tokens."""
        token = await run(anonymous, mutation, f"accessToken {tokens.removeprefix('accessToken')}", **given)
        return everything.gateway.client_with_token(token)

    user = await payload("signUp", **credentials, **names)
    await run(user, "requestEmailVerification", "email", email=credentials["email"])
    *_, verification = await everything.gateway.deliver()
    await run(anonymous, "verifyEmail", "email", token=verification.token)
    await run(user, "requestEmailChange", "email", newEmail="newer@example.com", password=PASSWORD)
    (change,) = await everything.gateway.deliver()
    await run(anonymous, "confirmEmailChange", "email", token=change.token)
    credentials["email"] = "newer@example.com"
    await payload("signIn", **credentials)
    refresh = (await anonymous.do("signIn", tokens, **credentials))["refreshToken"]
    await run(anonymous, "refreshSession", tokens, refreshToken=refresh)
    await run(user, "updateProfile", "user { id }", version=3, firstName="Newer", timeZone="Asia/Tokyo")
    for version, theme in ((1, "DARK"), (2, "LIGHT"), (3, "LIGHT")):
        await run(user, "updatePreferences", "userPreferences { id }", version=version, theme=theme)
    changed = {"currentPassword": PASSWORD, "newPassword": PASSWORD * 2}
    await run(user, "changePassword", "user { id }", **changed)
    credentials["password"] = PASSWORD * 2
    other = await payload("signIn", **credentials)
    sessions = (await other.data("{ mySessions { nodes { id isCurrent } } }"))["mySessions"]["nodes"]
    for session in sessions:
        if not session["isCurrent"]:
            await run(other, "revokeSession", "session { id }", id=session["id"])
    await run(other, "signOut", "sessions { id }", everywhere=True)
    other = await payload("signIn", **credentials)
    key = (await other.data("{ viewer { id } }"))["viewer"]["id"]
    for mutation, given in (
        ("changeUserRole", {"role": "ADMIN"}),
        ("changeUserRole", {"role": "ADMIN"}),
        ("suspendUser", {}),
        ("suspendUser", {}),
        ("reinstateUser", {}),
    ):
        await run(admin, mutation, "user { id }", id=key, **given)
    await run(admin, "inviteUser", "email", email="invited@example.com")
    await run(anonymous, "requestPasswordReset", "email", email=credentials["email"])
    (mail,) = [mail for mail in await everything.gateway.deliver() if mail.subject == "Set a new password"]
    credentials["password"] = PASSWORD
    await run(anonymous, "resetPassword", "email", token=mail.token, newPassword=PASSWORD)
    other = await payload("signIn", **credentials)
    await run(other, "deactivateAccount", "user { id }", password=credentials["password"])


@pytest.mark.usefixtures("cheap_passwords")
async def test_every_mutation_records_an_event_of_every_row_that_it_changes(
    database: Database, mailbox: Mailbox, admin: User
) -> None:
    """A version grows by one exactly if the mutation records an event of the row."""
    gateway = MailGateway(database, mailbox)
    client, everything = gateway.client(admin), Everything(gateway)
    await make_user(database, role=UserRole.ADMIN)
    await make_user(database, email="other@example.com")
    await make_points(database, admin, 100)

    async def run(mutation: str, selection: str, **given: Any) -> Any:
        return await everything.run(client, mutation, selection, **given)

    for part in (_tasks, _clients, _partners, _rewards, _derived):
        await part(run)
    await _commerce(run, database)
    roles = (await client.data("{ roles { id } }"))["roles"]
    await _administration(run, gid("User", await make_user(database)), roles[0]["id"])
    await _accounts(everything, client)
    assert schema._schema.mutation_type is not None
    assert everything.done | {REFRESH, PAY} == set(schema._schema.mutation_type.fields)
    await gateway.http.aclose()


async def test_subscribers_get_an_event_of_each_task_of_a_deleted_category(
    gateway: Gateway, database: Database, ada: User
) -> None:
    category = await make_category(database, ada)
    tasks = [await make_task(database, ada, category_id=category.id) for _ in range(3)]
    await make_task(database, ada)
    document = "subscription { taskChanged { eventType taskDatabaseId task { version category { id } } } }"
    process = SubscribingProcess(database)
    async with process.feed.run(), process.subscribe(ada, document) as deliveries:
        await gateway.client(ada).do("deleteCategory", "category { id }", id=gid("Category", category))
        received = [delivery["taskChanged"] for delivery in await take(deliveries, 3)]
    changed = {"eventType": "TaskUpdated", "task": {"version": 2, "category": None}}
    expected = [changed | {"taskDatabaseId": str(task.id)} for task in tasks]
    assert sorted(received, key=str) == sorted(expected, key=str)
    events = [event for event in await stored_events(database) if event.event_type == "TaskUpdated"]
    assert [event.event_data["fields"] for event in events] == [["category_id"]] * 3
