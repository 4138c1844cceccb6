"""The exact statements that operations execute, apart from those that begin and commit transactions."""

import re
from typing import Any

import pytest
from graphql import GraphQLObjectType, get_named_type
from strawberry.utils.str_converters import to_camel_case

from gateway.settings import Settings
from repositories.aggregates.repository import Repository
from repositories.core.clock import now
from repositories.core.ids import new_id
from repositories.core.viewer import SERVICE
from repositories.engines.database import Database
from repositories.engines.sqlite import SqliteDatabase
from repositories.identity import Users
from repositories.job_runs import JobRuns
from repositories.life_lock.statistics import DashboardStats
from repositories.permissions import RoleName
from repositories.sql.aggregate import aggregates
from repositories.sql.table import metadata
from repositories.tables.commerce import OrderStatus
from repositories.tables.identity import User, UserPreferences
from schema import schema
from schema.types.view import VIEWS
from tests.api.client import Client, Gateway, gid
from tests.api.people import PASSWORD, TOKENS
from tests.factories import (
    make_achievement,
    make_category,
    make_client,
    make_contact,
    make_contacts,
    make_grant,
    make_order,
    make_partner,
    make_points,
    make_product,
    make_product_category,
    make_redemption,
    make_referral,
    make_reserved,
    make_reward,
    make_session,
    make_task,
    make_tasks,
    make_user,
    make_user_achievement,
)
from tests.repositories.policy_subjects import subject_of

_TABLES = "|".join(table.name for table in metadata.tables.values())
_TABLE_NAME = re.compile(rf"(?:FROM|INTO|UPDATE) \(?(?:SELECT \* FROM )?(?:\w+\.)?({_TABLES})\b")


def summarize_statements(statements: list[str]) -> list[str]:
    """Reduces statements to verb and table. Omits those that begin or end a transaction or announce its events."""
    summaries = []
    for text in statements:
        text = text[text.index("INSERT INTO") :] if text.startswith("WITH ") else text  # noqa: PLW2901 (its main part)
        verb = text.split(None, 1)[0]
        if verb in {"SAVEPOINT", "RELEASE"}:
            summaries.append(verb)
        elif verb not in {"BEGIN", "COMMIT"} and "pg_notify" not in text:
            table = _TABLE_NAME.search(text)
            assert table, text
            summaries.append(f"{verb} {table[1]}")
    return summaries


@pytest.mark.parametrize("count", [1, 50, 300])
async def test_tasks_with_their_category_execute_two_statements(
    gateway: Gateway, ada: User, statements: list[str], count: int
) -> None:
    for index in range(5):
        category = await make_category(gateway.database, ada, name=f"Category {index}")
        if index < count:
            await make_tasks(gateway.database, ada, max(count // 5, 1), category_id=category.id)
        if count == 1:
            break
    statements.clear()
    data = await gateway.client(ada).data(
        "query($n: Int!) { tasks(first: $n) { nodes { title category { name } } } }", n=count
    )
    assert len(data["tasks"]["nodes"]) == count
    assert {node["category"]["name"] for node in data["tasks"]["nodes"]} == {
        f"Category {i}" for i in range(min(count, 5))
    }
    assert summarize_statements(statements) == ["SELECT tasks", "SELECT categories"]
    assert sum(text.startswith("BEGIN") for text in statements) == 1


_ROOTS = {
    "User": ("users(first: 500) { nodes { %s } }", ["SELECT users"]),
    "Task": ("tasks(first: 500) { nodes { %s } }", ["SELECT tasks"]),
    "Category": ("categories(first: 500) { nodes { %s } }", ["SELECT categories"]),
    "HistoryEntry": (
        "tasks(first: 500) { nodes { history { nodes { %s } } } }",
        ["SELECT tasks", "SELECT domain_events"],
    ),
    "Role": ("roles { %s }", ["SELECT roles"]),
    "Session": ("sessions(first: 500) { nodes { %s } }", ["SELECT sessions"]),
    "UserPreferences": (
        "users(first: 500) { nodes { preferences { %s } } }",
        ["SELECT users", "SELECT user_preferences"],
    ),
    "DomainEvent": ("auditLog(first: 500) { nodes { %s } }", ["SELECT domain_events"]),
    "RoleGrant": ("roles { grants { nodes { %s } } }", ["SELECT roles", "SELECT user_roles"]),
    "Partner": ("partners(first: 500) { nodes { %s } }", ["SELECT partners"]),
    "Referral": ("referrals(first: 500) { nodes { %s } }", ["SELECT referrals"]),
    "PartnerStanding": ("partnershipDashboard { topPartners { %s } }", ["SELECT partners"]),
    "UserDashboardStats": ("userDashboardStats(first: 500) { nodes { %s } }", ["SELECT visible_user_dashboard_stats"]),
    "Achievement": ("achievements(first: 500) { nodes { %s } }", ["SELECT achievements"]),
    "UserAchievement": ("userAchievements(first: 500) { nodes { %s } }", ["SELECT user_achievements"]),
    "Reward": ("rewards(first: 500) { nodes { %s } }", ["SELECT rewards"]),
    "PointEntry": ("pointHistory(first: 500) { nodes { %s } }", ["SELECT point_entries"]),
    "RewardRedemption": ("rewardRedemptions(first: 500) { nodes { %s } }", ["SELECT reward_redemptions"]),
    "AchievementProgress": ('myAchievements(timeZone: "UTC") { %s }', ["SELECT domain_events"]),
    "Client": ("clients(first: 500) { nodes { %s } }", ["SELECT clients"]),
    "Contact": ('contacts(first: 500, email: "joan@example.org") { nodes { %s } }', ["SELECT contacts"]),
    "BestSeller": ("commerceDashboard { bestSellers { %s } }", ["SELECT products"]),
    "LowStock": ("commerceDashboard { lowStock { %s } }", ["SELECT products"]),
    "CategoryBranch": ("productCategoryTree { %s }", ["SELECT product_categories"]),
    "Order": ("orders(first: 500) { nodes { %s } }", ["SELECT orders"]),
    "OrderItem": ("orderItems(first: 500) { nodes { %s } }", ["SELECT order_items"]),
    "Product": ("products(first: 500) { nodes { %s } }", ["SELECT products"]),
    "ProductCategory": ("productCategories(first: 500) { nodes { %s } }", ["SELECT product_categories"]),
    "StockMovement": ("stockMovements(first: 500) { nodes { %s } }", ["SELECT stock_movements"]),
    "CategoryTotals": ('lifeLockDashboard(timeZone: "UTC") { categoryBreakdown { %s } }', ["SELECT categories"]),
}
"""For each view with edges: a query that returns its rows, and the statements that the query executes."""

_PLAIN = [aggregate for aggregate in aggregates.values() if aggregate.type_name not in _ROOTS and aggregate.commands]
"""Aggregates whose rows and edges need no word here: those to the owner, and the history."""
_ROOTS |= {
    aggregate.type_name: (
        f"{to_camel_case(aggregate.plural)}(first: 500) {{ nodes {{ %s }} }}",
        [f"SELECT {aggregate.table.name}"],
    )
    for aggregate in _PLAIN
}

_SUBSCRIPTION_VIEWS = {f"{aggregate.type_name}Change" for aggregate in aggregates.values()}
"""Views that only subscriptions deliver. tests/api/test_subscriptions.py counts their statements."""


_EMBEDDED = {"FieldChange", "Money", "OrderPayment"}
"""Views of values that are inside of a row, or of the result of a mutation."""


def _edges() -> list[tuple[str, str, bool, bool]]:
    """View, field, whether it is a connection, and whether it executes a statement (else the row contains it)."""
    names = {view.__strawberry_definition__.name: view.__strawberry_definition__ for view in VIEWS}  # type: ignore[attr-defined]
    for name in _EMBEDDED:
        del names[name]
    edges = []
    for name, definition in names.items():
        if name in _SUBSCRIPTION_VIEWS:
            continue
        graphql_type = schema._schema.type_map[name]
        assert isinstance(graphql_type, GraphQLObjectType)
        for field_name, field in graphql_type.fields.items():
            target = get_named_type(field.type).name
            is_connection = target.endswith("Connection")
            if is_connection or target in names:
                declared = next(
                    candidate
                    for candidate in definition.fields
                    if schema.config.name_converter.get_graphql_name(candidate) == field_name
                )
                edges.append((name, field_name, is_connection, declared.base_resolver is not None))
    return sorted(edges)


def test_every_edge_is_counted() -> None:
    """The test below can count an edge only if _ROOTS has a query for its view."""
    assert {view for view, *_ in _edges()} == set(_ROOTS)
    plain = {aggregate.type_name for aggregate in _PLAIN}
    assert [f"{view}.{field}" for view, field, *_ in _edges() if view not in plain] == [
        "Achievement.history",
        "AchievementProgress.achievement",
        "BestSeller.product",
        "Category.history",
        "Category.tasks",
        "Category.user",
        "CategoryBranch.category",
        "CategoryTotals.category",
        "Client.contacts",
        "Client.createdBy",
        "Client.history",
        "Client.primaryContact",
        "Contact.client",
        "Contact.history",
        "DomainEvent.user",
        "HistoryEntry.user",
        "LowStock.product",
        "Order.history",
        "Order.items",
        "Order.user",
        "OrderItem.history",
        "OrderItem.order",
        "OrderItem.product",
        "Partner.history",
        "Partner.manager",
        "Partner.referrals",
        "PartnerStanding.partner",
        "PointEntry.achievement",
        "PointEntry.reward",
        "PointEntry.task",
        "PointEntry.user",
        "Product.category",
        "Product.history",
        "Product.stock",
        "Product.stockMovements",
        "ProductCategory.children",
        "ProductCategory.history",
        "ProductCategory.parent",
        "ProductCategory.products",
        "Referral.history",
        "Referral.partner",
        "Reward.history",
        "RewardRedemption.history",
        "RewardRedemption.reward",
        "RewardRedemption.user",
        "Role.grants",
        "RoleGrant.grantedBy",
        "RoleGrant.role",
        "RoleGrant.user",
        "Session.history",
        "Session.user",
        "StockMovement.actor",
        "StockMovement.history",
        "StockMovement.orderItem",
        "StockMovement.product",
        "Task.assignee",
        "Task.category",
        "Task.history",
        "Task.user",
        "User.history",
        "User.preferences",
        "User.roles",
        "User.sessions",
        "User.usage",
        "UserAchievement.achievement",
        "UserAchievement.history",
        "UserAchievement.user",
        "UserDashboardStats.user",
        "UserPreferences.history",
    ]


async def _make_users(database: Database, admin: User, count: int) -> None:
    """Creates users with a row of every table each, and as many rows of the admin."""
    reward, top = await make_reward(database), await make_product_category(database)
    for _ in range(count):
        for person in (await make_user(database), admin):
            category = await make_category(database, person)
            await make_task(database, person, category_id=category.id, assignee_id=admin.id)
            await make_referral(database, await make_partner(database, person))
            await make_points(database, person, 10)
            await make_redemption(database, person, reward)
            await make_user_achievement(database, person, await make_achievement(database))
            client = await make_client(database, person)
            email = f"{client.id.hex}@example.org" if person is admin else "joan@example.org"
            await make_contact(database, client, email=email, is_primary=True)
            await make_session(database, person)
            shelf = await make_product_category(database, parent_id=top.id)
            product = await make_product(database, category_id=shelf.id, stock=2)
            order = await make_order(database, person, product, status=OrderStatus.CANCELED, canceled_at=now())
            await make_reserved(database, order)
            async with database.transaction(SERVICE) as write:
                for aggregate in _PLAIN:
                    await subject_of(aggregate.row).insert(write, new_id(), person.id)
        await make_grant(database, await make_user(database), RoleName.PARTNERSHIP_MANAGER, by=person)
    async with database.transaction(SERVICE) as write:
        await DashboardStats(write).refresh()


@pytest.mark.parametrize("count", [1, 20])
async def test_every_edge_executes_one_statement_for_all_rows(
    gateway: Gateway, admin: User, statements: list[str], count: int
) -> None:
    await _make_users(gateway.database, admin, count)
    client = Gateway(gateway.database, settings=Settings(cost_per_minute=0)).client(admin)
    for index in range(count):
        await client.do("createTask", "task { id }", title=f"With a history {index}")
    for view, field, is_connection, is_loaded in _edges():
        root, base = _ROOTS[view]
        key = {"usage": "rowCount", "history": "id", "stock": "onHand"}.get(field, "databaseId")
        for selection, extra in (
            [(f"edges {{ cursor node {{ {key} }} }}", 1), ("totalCount", 2), (f"nodes {{ {key} }} totalCount", 2)]
            if is_connection
            else [(key, int(is_loaded))]
        ):
            statements.clear()
            await client.data("{" + root % f"{field} {{ {selection} }}" + "}")
            assert len(summarize_statements(statements)) == len(base) + extra, (view, field, selection)
            assert summarize_statements(statements)[: len(base)] == base


async def test_nested_connections_execute_one_statement_per_level_and_count(
    gateway: Gateway, admin: User, statements: list[str]
) -> None:
    await _make_users(gateway.database, admin, 8)
    statements.clear()
    document = """{ categories(first: 10) { totalCount nodes { tasks(first: 3) { totalCount
        nodes { title user { email } category { name tasks(first: 1) { nodes { id } } } } } } } }"""
    await gateway.client(admin).data(document)
    assert sorted(summarize_statements(statements)) == [
        "SELECT categories",
        "SELECT categories",
        "SELECT categories",
        "SELECT tasks",
        "SELECT tasks",
        "SELECT tasks",
        "SELECT users",
    ]


async def test_two_fields_of_the_same_edge_share_its_statement(
    gateway: Gateway, ada: User, statements: list[str]
) -> None:
    category = await make_category(gateway.database, ada)
    await make_tasks(gateway.database, ada, 3, category_id=category.id)
    statements.clear()
    await gateway.client(ada).data("{ tasks(first: 3) { nodes { a: category { name } b: category { color } } } }")
    assert summarize_statements(statements) == ["SELECT tasks", "SELECT categories"]


async def test_clients_with_their_contacts_execute_two_statements(
    gateway: Gateway, ada: User, statements: list[str]
) -> None:
    for index in range(20):
        await make_contacts(
            gateway.database, await make_client(gateway.database, ada, company_name=f"Client {index:02}"), 5
        )
    statements.clear()
    document = "{ clients(first: 20) { nodes { companyName contacts(first: 5) { nodes { email phone } } } } }"
    data = await gateway.client(ada).data(document)
    assert [len(node["contacts"]["nodes"]) for node in data["clients"]["nodes"]] == [5] * 20
    assert summarize_statements(statements) == ["SELECT clients", "SELECT contacts"]
    assert sum(text.startswith("BEGIN") for text in statements) == 1


_TILES = {
    "totalTasks": "tasks",
    "completedTasks": "tasks",
    "overdueTasks": "tasks",
    "todaysTasks": "tasks",
    "productivityScore": "task_analytics",
    "weeklyProgress { date completed created }": None,
    "categoryBreakdown { total completed category { name } }": None,
    "upcomingDeadlines { title }": "tasks",
}
_COUNTERS = 4


async def test_the_dashboard_executes_one_statement_per_tile(
    gateway: Gateway, ada: User, statements: list[str]
) -> None:
    """Each tile alone, all together, and the four counters, which are one tile. The token has the time zone."""
    category = await make_category(gateway.database, ada)
    await make_tasks(gateway.database, ada, 20, category_id=category.id, due_date=now())
    client = gateway.client(ada)
    for tiles, count in [
        *(([tile], 1) for tile in _TILES),
        (list(_TILES)[:_COUNTERS], 1),
        (list(_TILES), len(_TILES) - _COUNTERS + 1),
        (["first: totalTasks", "again: totalTasks", "overdueTasks"], 1),
        (["__typename"], 0),
    ]:
        statements.clear()
        await client.data(f"{{ lifeLockDashboard {{ {' '.join(tiles)} }} }}")
        assert len([text for text in statements if not text.startswith("BEGIN")]) == count, tiles


_ROOT_FIELDS = {
    "task(id: $task) { title }": ["SELECT tasks"],
    "node(id: $task) { id }": ["SELECT tasks"],
    "nodes(ids: [$task, $task, $category]) { id }": ["SELECT tasks", "SELECT categories"],
    "category(id: $category) { name }": ["SELECT categories"],
    "tasks { nodes { title priority { name } } pageInfo { hasNextPage endCursor } }": ["SELECT tasks"],
    "tasks { totalCount }": ["SELECT tasks", "SELECT tasks"],
    "tasks { pageInfo { hasNextPage hasPreviousPage } }": ["SELECT tasks"],
    "tasks(last: 1) { pageInfo { hasNextPage hasPreviousPage } }": ["SELECT tasks"],
    "tasks(after: $cursor) { pageInfo { hasNextPage startCursor endCursor } }": ["SELECT tasks"],
    "tasks(before: $cursor) { pageInfo { hasPreviousPage startCursor endCursor } }": ["SELECT tasks"],
    "tasks(after: $cursor) { pageInfo { hasNextPage hasPreviousPage } }": ["SELECT tasks", "SELECT tasks"],
    "tasks(before: $cursor) { pageInfo { hasNextPage hasPreviousPage } }": ["SELECT tasks", "SELECT tasks"],
    "tasks(page: 2, first: 1) { pageInfo { hasNextPage hasPreviousPage } }": ["SELECT tasks"] * 2,
    "categories { nodes { tasks { pageInfo { hasPreviousPage } } } }": ["SELECT categories", "SELECT tasks"],
    "categories { nodes { tasks(after: $cursor) { pageInfo { hasPreviousPage } } } }": [
        *("SELECT categories", "SELECT tasks", "SELECT tasks")
    ],
    'dueTasks(until: "2099-01-01T00:00:00Z") { title }': ["SELECT tasks"],
    "taskEvents(id: $task) { eventType }": ["SELECT tasks", "SELECT domain_events"],
    'taskAnalytics(from: "2026-01-01", to: "2026-02-01") { date }': ["SELECT task_analytics"],
    "productivityTrends(period: YEAR) { movingAverage }": [*("SELECT user_preferences", "SELECT task_analytics")],
    "completionTrends { completed }": ["SELECT domain_events"],
    'completionTrends(interval: WEEK, from: "2026-01-01", to: "2026-02-01") { onTime }': [
        *("SELECT user_preferences", "SELECT domain_events")
    ],
    'completionTrends(interval: MONTH, from: "2026-01-01", to: "2026-12-31") { onTime }': ["SELECT domain_events"],
    "viewer { email }": ["SELECT users"],
    "viewer { email preferences { theme } }": ["SELECT users", "SELECT user_preferences"],
    "mySessions { nodes { isCurrent } }": ["SELECT sessions"],
    "sessions { nodes { isCurrent } totalCount groups(by: USER_ID) { count } }": ["SELECT sessions"] * 3,
    "viewer { sessions { nodes { ip } } history { nodes { eventType } } }": [
        *("SELECT users", "SELECT sessions", "SELECT domain_events")
    ],
    "client(id: $client) { companyName }": ["SELECT clients"],
    "node(id: $contact) { id ... on Contact { email } }": ["SELECT contacts"],
    "clients { nodes { companyName } totalCount }": ["SELECT clients", "SELECT clients"],
    "contact(id: $contact) { email }": ["SELECT contacts"],
    'contacts(email: "joan@example.org") { nodes { email } }': ["SELECT contacts"],
    "contacts(filter: {client: {status: {eq: ACTIVE}}}) { nodes { email } totalCount }": ["SELECT contacts"] * 2,
    "contacts { groups(by: IS_PRIMARY) { key count } }": ["SELECT contacts", "SELECT contacts"],
    "contacts(scope: MINE, deleted: ONLY) { nodes { email } }": ["SELECT contacts"],
    "clientDashboard { byStatus { total } }": ["SELECT clients"],
    "clientDashboard { byIndustry { total } }": ["SELECT clients"],
    "clientDashboard { totalRevenue meanRevenue clientsWithRevenue }": ["SELECT clients"],
    "clientDashboard { newest { companyName } }": ["SELECT clients"],
    "clientDashboard { byStatus { total } byIndustry { total } meanRevenue newest { id } }": ["SELECT clients"] * 4,
    "clientDashboard { __typename }": [],
    "viewer { email } again: viewer { firstName }": ["SELECT users"],
}


async def test_root_fields_execute_exactly_these_statements(gateway: Gateway, ada: User, statements: list[str]) -> None:
    category = await make_category(gateway.database, ada)
    task = await make_task(gateway.database, ada, category_id=category.id)
    client = await make_client(gateway.database, ada)
    contact = await make_contact(gateway.database, client)
    given = {"task": gid("Task", task), "category": gid("Category", category)}
    given |= {"client": gid("Client", client), "contact": gid("Contact", contact)}
    page = await gateway.client(ada).data("{ tasks { pageInfo { endCursor } } }")
    given["cursor"] = page["tasks"]["pageInfo"]["endCursor"]
    for fields, expected in _ROOT_FIELDS.items():
        kinds = {name: "String" if name == "cursor" else "ID!" for name in given}
        declared = ", ".join(f"${name}: {kinds[name]}" for name in given if f"${name}" in fields)
        statements.clear()
        await gateway.client(ada).data(f"query{f'({declared})' if declared else ''} {{ {fields} }}", **given)
        assert summarize_statements(statements) == expected, fields


_NODES = {
    aggregate.type_name: aggregate.table.name
    for aggregate in aggregates.values()
    if aggregate.row is not UserPreferences
}
"""The table of every type that ``nodes`` finds, except UserPreferences."""


async def _node_ids(database: Database, admin: User, count: int) -> dict[str, list[str]]:
    """Ids of all types: the rows of ``count`` users and of the admin."""
    await _make_users(database, admin, count)
    async with database.transaction(SERVICE) as write:
        for _ in range(count):
            await JobRuns(write).add(job="test", started_at=now())
    repositories = {repository.table: repository for repository in Repository.__subclasses__()}
    found = {}
    async with database.snapshot(SERVICE) as snapshot:
        for view, shown in VIEWS.items():
            name = view.__strawberry_definition__.name  # type: ignore[attr-defined]
            if shown.fetch and name != "UserPreferences":
                found[name] = [gid(name, row) for row in await repositories[shown.row](snapshot).find(limit=20)]
        found["UserPreferences"] = [gid("UserPreferences", user.id) for user in await Users(snapshot).find(limit=20)]
    return found


@pytest.mark.parametrize("count", [1, 8])
async def test_nodes_execute_one_statement_per_type(
    gateway: Gateway, admin: User, statements: list[str], count: int
) -> None:
    """Preferences are defaults of the user if none are stored, so they take a second statement, which reads users."""
    ids = await _node_ids(gateway.database, admin, count)
    assert set(ids) == {*_NODES, "UserPreferences"}
    client, document = gateway.client(admin), "query($ids: [ID!]!) { nodes(ids: $ids) { id } }"

    async def run(asked: list[str]) -> list[str]:
        statements.clear()
        data = await client.data(document, ids=asked)
        assert data == {"nodes": [{"id": key} for key in asked]}
        return summarize_statements(statements)

    for name, table in _NODES.items():
        assert await run(ids[name]) == [f"SELECT {table}"], name
    assert await run(ids["UserPreferences"]) == ["SELECT users", "SELECT user_preferences"]
    mixed = [key for keys in zip(*(keys[:1] * 2 for keys in ids.values()), strict=True) for key in keys]
    assert sorted(await run(mixed)) == sorted(f"SELECT {table}" for table in (*_NODES.values(), "user_preferences"))


async def test_event_analytics_execute_one_statement_each(gateway: Gateway, admin: User, statements: list[str]) -> None:
    for fields in (
        "dailyActiveUsers { date daily weekly monthly stickiness }",
        "featureUse { eventType users }",
        "eventRates { startsAt endsAt events }",
        'eventRates(interval: DAY, aggregateType: "task") { events }',
    ):
        statements.clear()
        await gateway.client(admin).data(f"{{ {fields} }}")
        assert len([text for text in statements if not text.startswith("BEGIN")]) == 1, fields


_POINTS_OF_TASKS = ["SELECT users", "SELECT domain_events", "INSERT point_entries"]
"""Locks the balances, reads the points already earned for the tasks, and books the difference."""
_UNLOCKING = ["SELECT domain_events", "INSERT user_achievements", "INSERT domain_events", "INSERT point_entries"]
"""Reads the progress, and unlocks an achievement."""
_EVENTS_OF_A_DAY = ["INSERT domain_events", "SELECT users", "INSERT task_analytics"]


async def test_mutations_execute_exactly_these_statements(gateway: Gateway, ada: User, statements: list[str]) -> None:
    """The token has the viewer's time zone, so no statement reads it from the account."""
    client = gateway.client(ada)
    category = await make_category(gateway.database, ada)

    async def run(mutation: str, selection: str, **given: Any) -> tuple[Any, list[str]]:
        statements.clear()
        payload = await client.do(mutation, selection, **given)
        assert payload["userErrors"] == []
        return payload, summarize_statements(statements)

    payload, executed = await run("createTask", "task { id }", title="x")
    assert executed == ["INSERT tasks", *_EVENTS_OF_A_DAY]
    task = payload["task"]["id"]
    _, executed = await run("createTask", "task { category { name } }", title="x", categoryId=gid("Category", category))
    assert executed == ["INSERT tasks", *_EVENTS_OF_A_DAY, "SELECT categories"]
    _, executed = await run("updateTask", "task { title }", id=task, version=1, title="y")
    assert executed == ["SELECT tasks", "UPDATE tasks", *_EVENTS_OF_A_DAY]
    _, executed = await run("updateTask", "task { title }", id=task, version=2, title="y")
    assert executed == ["SELECT tasks"]
    for mutation, points in {
        "completeTask": [*_POINTS_OF_TASKS, *_UNLOCKING],
        "reopenTask": [*_POINTS_OF_TASKS[:-1], "SELECT point_entries", "INSERT point_entries"],
        "deleteTask": [],
        "restoreTask": [],
    }.items():
        _, executed = await run(mutation, "task { version }", id=task)
        assert executed == ["SELECT tasks", "UPDATE tasks", *_EVENTS_OF_A_DAY, *points], mutation
    _, executed = await run("completeTask", "task { version }", id=task)
    assert executed == ["SELECT tasks", "UPDATE tasks", *_EVENTS_OF_A_DAY, *_POINTS_OF_TASKS, "SELECT domain_events"]
    payload, executed = await run("createCategory", "category { id }", name="New")
    assert executed == ["INSERT categories", "INSERT domain_events"]
    new_category = payload["category"]["id"]
    _, executed = await run("updateCategory", "category { id }", id=new_category, name="Newer")
    assert executed == ["SELECT categories", "UPDATE categories", "INSERT domain_events"]
    delete_category = ["SELECT categories", "UPDATE tasks", "DELETE categories"]
    _, executed = await run("deleteCategory", "category { id }", id=new_category)
    assert executed == [*delete_category, "INSERT domain_events"]
    await make_tasks(gateway.database, ada, 120, category_id=category.id)
    _, executed = await run("deleteCategory", "category { id }", id=gid("Category", category))
    assert executed == [*delete_category, "INSERT domain_events", *_EVENTS_OF_A_DAY]


async def test_client_mutations_execute_exactly_these_statements(
    gateway: Gateway, ada: User, statements: list[str]
) -> None:
    async def run(mutation: str, **given: Any) -> tuple[str, list[str]]:
        result = "contact" if mutation.endswith("Contact") and not mutation.startswith("set") else "client"
        statements.clear()
        payload = await gateway.client(ada).do(mutation, f"{result} {{ id }}", **given)
        assert payload["userErrors"] == []
        return payload[result]["id"], summarize_statements(statements)

    store_events = "INSERT domain_events"
    _, executed = await run("createClient", companyName="Acme")
    assert executed == ["INSERT clients", store_events]
    person = {"firstName": "Joan", "lastName": "Clarke"}
    people = [{**person, "email": f"{index}@example.org", "isPrimary": index == 2} for index in range(5)]
    client, executed = await run("createClient", companyName="Acme", contacts=people)
    assert executed == ["SELECT contacts", "INSERT clients", "INSERT contacts", "UPDATE clients", store_events]
    _, executed = await run("updateClient", id=client, version=1, companyName="Acme", industry="Tools")
    assert executed == ["SELECT clients", "UPDATE clients", store_events]
    _, executed = await run("updateClient", id=client, version=2, industry="Tools")
    assert executed == ["SELECT clients"]
    contact, executed = await run("addContact", clientId=client, **person, email="a@example.org")
    assert executed == ["SELECT clients", "INSERT contacts", store_events]
    _, executed = await run("addContact", clientId=client, **person, email="b@example.org", isPrimary=True)
    assert executed == ["SELECT clients", "UPDATE contacts", "INSERT contacts", "UPDATE clients", store_events]
    set_primary = [
        "SELECT clients",
        "SELECT contacts",
        "UPDATE contacts",
        "UPDATE contacts",
        "UPDATE clients",
        store_events,
    ]
    _, executed = await run("setPrimaryContact", id=client, contactId=contact)
    assert executed == set_primary
    _, executed = await run("updateContact", id=contact, email="c@example.org")
    assert executed == ["SELECT contacts", "UPDATE contacts", store_events]
    _, executed = await run("removeContact", id=contact)
    assert executed == [
        "SELECT contacts",
        "SELECT clients",
        "SELECT contacts",
        "UPDATE clients",
        "UPDATE contacts",
        store_events,
    ]
    for mutation in ("deleteClient", "restoreClient"):
        _, executed = await run(mutation, id=client)
        assert executed == ["SELECT clients", "UPDATE contacts", "UPDATE clients", store_events]


async def test_batches_insert_a_hundred_and_update_fifty_rows_per_statement(
    gateway: Gateway, ada: User, statements: list[str]
) -> None:
    client = gateway.client(ada)
    category = gid("Category", await make_category(gateway.database, ada))
    statements.clear()
    items = [{"title": f"Task {index}", "categoryId": category} for index in range(250)]
    payload = await client.do("createTasks", "tasks { id version }", tasks=items)
    assert summarize_statements(statements) == [
        "SELECT categories",
        *["INSERT tasks"] * 3,
        *["INSERT domain_events"] * 3,
        "SELECT users",
        "INSERT task_analytics",
    ]
    changes = [{"id": row["id"], "version": 1, "priorityLevel": 5} for row in payload["tasks"][:120]]
    statements.clear()
    await client.do("updateTasks", "tasks { id }", tasks=changes)
    assert summarize_statements(statements) == [
        "SELECT tasks",
        *["UPDATE tasks"] * 3,
        *["INSERT domain_events"] * 2,
        "SELECT users",
        "INSERT task_analytics",
    ]
    changes = [{"id": row["id"], "version": 1, "status": "COMPLETED"} for row in payload["tasks"][130:]]
    statements.clear()
    await client.do("updateTasks", "tasks { id }", tasks=changes)
    assert summarize_statements(statements) == [
        "SELECT tasks",
        *["UPDATE tasks"] * 3,
        *["INSERT domain_events"] * 3,
        "SELECT users",
        "INSERT task_analytics",
        *_POINTS_OF_TASKS,
        *_UNLOCKING,
    ]


@pytest.mark.usefixtures("cheap_passwords")
async def test_account_mutations_execute_exactly_these_statements(
    gateway: Gateway, admin: User, statements: list[str]
) -> None:
    async def run(client: Client, mutation: str, selection: str, **given: Any) -> tuple[Any, list[str]]:
        statements.clear()
        payload = await client.do(mutation, selection, **given)
        assert payload["userErrors"] == []
        return payload, summarize_statements(statements)

    opened = ["INSERT sessions", "SELECT roles", "INSERT domain_events"]
    names = {"firstName": "Ada", "lastName": "Byron"}
    _, executed = await run(gateway.client(), "signUp", TOKENS, email="ada@example.com", password=PASSWORD, **names)
    logged = ["INSERT outbox_messages"] if isinstance(gateway.database, SqliteDatabase) else []  # without SMTP
    assert executed == ["INSERT users", *logged, *opened]
    payload, executed = await run(gateway.client(), "signIn", TOKENS, email="ada@example.com", password=PASSWORD)
    assert executed == ["SELECT users", "UPDATE users", *opened]
    client = gateway.client_with_token(payload["accessToken"])
    _, executed = await run(gateway.client(), "refreshSession", TOKENS, refreshToken=payload["refreshToken"])
    assert executed == ["SELECT sessions", "SELECT users", "UPDATE sessions", "SELECT roles", "INSERT domain_events"]
    _, executed = await run(client, "updateProfile", "user { version }", version=1, firstName="Augusta")
    assert executed == ["SELECT users", "UPDATE users", "INSERT domain_events"]
    look_up = ["SELECT users", "SELECT sessions", "SELECT roles"]  # once after a change of the account
    for version, verb, before in ((1, "INSERT", look_up), (2, "UPDATE", [])):
        given = {"version": version, "theme": "DARK" if version == 1 else "LIGHT"}
        _, executed = await run(client, "updatePreferences", "userPreferences { version }", **given)
        assert executed == [
            *before,
            "SELECT users",
            "SELECT user_preferences",
            f"{verb} user_preferences",
            "INSERT domain_events",
        ]
    _, executed = await run(client, "changePassword", "user { id }", currentPassword=PASSWORD, newPassword=PASSWORD * 2)
    assert executed == [
        *("SELECT users", "SELECT users", "UPDATE users"),
        *("DELETE account_tokens", "UPDATE outbox_messages", "UPDATE sessions", "INSERT domain_events"),
    ]
    user = (await client.data("{ viewer { id } }"))["viewer"]["id"]
    _, executed = await run(client, "signOut", "sessions { id }", everywhere=False)
    assert executed == ["SELECT sessions", "UPDATE sessions", "INSERT domain_events"]
    changed = ["SELECT users", "SELECT users", "UPDATE users", "SELECT users"]
    for mutation, changes, expected in (
        ("changeUserRole", {"role": "ADMIN"}, [*changed, "INSERT domain_events"]),
        ("suspendUser", {}, [*changed, "UPDATE sessions", "INSERT domain_events"]),
        ("reinstateUser", {}, ["SELECT users", "UPDATE users", "INSERT domain_events"]),
    ):
        _, executed = await run(gateway.client(admin), mutation, "user { status }", id=user, **changes)
        assert executed == expected, mutation
