"""The gateway's own schema on demo data: every executor returns the same results and stores the same."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import orjson
import pytest
import pytest_asyncio
from graphql import ExecutionResult, GraphQLError, OperationDefinitionNode, execute, parse, validate
from graphql.execution import Executor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis_graphql import nodes, strategies

from gateway.execution.executor import CompiledExecutor, NativeExecutor
from gateway.execution.limits import Limits, check_limits
from gateway.execution.measurement import measure
from gateway.explorer import EXAMPLES
from gateway.settings import Settings
from gateway.transport.error_responses import format_graphql_errors
from repositories.core.viewer import Viewer
from repositories.demo.seed import load_demo
from repositories.demo.users import generate_users
from repositories.engines.database import Database, DatabaseOptions
from repositories.engines.factory import open_database
from repositories.permissions import RoleName
from resolvers.administration import health
from resolvers.identity.queries import account_time_zone, first_weekday
from resolvers.reactions import REACTIONS
from resolvers.request.context import AccountCalendar, Context
from tests.api.client import gid
from tests.api.stored_rows import event_summaries
from tests.databases import KEYS, copy_sqlite
from tests.execution.documents import GRAPH, documents

NOW = dt.datetime(2026, 3, 30, 12, tzinfo=dt.UTC)
SERVICES = {AccountCalendar: AccountCalendar(account_time_zone, first_weekday)}
EXECUTORS: tuple[type[Executor[Any]], ...] = (Executor, CompiledExecutor, NativeExecutor)
ADMIN = Viewer(list(generate_users(2))[-1]["id"], frozenset(RoleName), time_zone="Europe/Berlin")
ADA = Viewer(next(iter(generate_users(2)))["id"], frozenset({RoleName.USER}))
LIMITS = Limits.from_settings(Settings())
pytestmark = [  # graphql-core abandons coroutines that have not started when it cancels the siblings of an error
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <coroutine:pytest.PytestUnraisableExceptionWarning"),
]
THOROUGH = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.fixture(scope="module")
def demo(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with demo data."""
    path = copy_sqlite(sqlite_template, tmp_path_factory.mktemp("demo"))

    async def load() -> None:
        database = open_database(DatabaseOptions(sqlite_path=path, **KEYS))
        await database.connect()
        await load_demo(database, users=2, tasks=60, day=NOW.date())
        await database.close()

    asyncio.run(load())
    return path


@pytest_asyncio.fixture
async def copies(
    demo: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[list[Database]]:
    """A copy of the demo data for each executor. The uptime of the process stays the same."""
    monkeypatch.setattr(health, "time", SimpleNamespace(monotonic=lambda: health._STARTED + 60))
    databases = []
    for _ in EXECUTORS:
        path = copy_sqlite(demo, tmp_path_factory.mktemp("copy"))
        databases.append(open_database(DatabaseOptions(sqlite_path=path, **KEYS)))
        await databases[-1].connect()
    yield databases
    for database in databases:
        assert database.pool_state().used == 0
        await database.close()


async def execute_with(
    database: Database, text: str, executor: type[Executor[Any]], viewer: Viewer, variables: Mapping[str, Any]
) -> tuple[bytes, list[dict[str, Any]]]:
    """The data as JSON, and the errors."""
    context = Context(database, viewer, REACTIONS, lambda: NOW, services=SERVICES)
    try:
        outcome = execute(
            GRAPH, parse(text), context_value=context, variable_values=dict(variables), executor_class=executor
        )
        result = outcome if isinstance(outcome, ExecutionResult) else await outcome
    finally:
        await context.close()
    errors = format_graphql_errors(result.errors or [])
    assert not [error for error in errors if error["extensions"]["code"] == "INTERNAL_SERVER_ERROR"]
    return orjson.dumps(result.data), sorted(errors, key=lambda error: orjson.dumps(error.get("path")))


async def compare(copies: list[Database], text: str, viewer: Viewer = ADMIN, **variables: Any) -> Any:
    """The data and the codes of the errors, which must be the same with all executors.

    The order of errors is not compared: a value that a loader has already loaded arrives earlier in graphql-core than
    the others of its list, so its error comes first.
    """
    theirs, *ours = [
        await execute_with(database, text, executor, viewer, variables)
        for database, executor in zip(copies, EXECUTORS, strict=True)
    ]
    assert ours == [theirs] * len(ours)
    return orjson.loads(theirs[0]), [error["extensions"]["code"] for error in theirs[1]]


def is_too_complex(text: str, variables: Mapping[str, Any]) -> bool:
    """Whether an operation exceeds the limits."""
    document = parse(text)
    (operation,) = (node for node in document.definitions if isinstance(node, OperationDefinitionNode))
    try:
        check_limits(measure(GRAPH, document, operation), variables, LIMITS)
    except GraphQLError:
        return True
    return False


TEXTS = st.sampled_from(["", "a", "2026", "Ada", "ü"])
SCALARS = {
    "Date": st.dates(dt.date(2026, 1, 1), dt.date(2026, 6, 1)).map(lambda day: nodes.String(str(day))),
    "DateTime": st.datetimes(dt.datetime(2025, 1, 1), dt.datetime(2027, 1, 1)).map(  # noqa: DTZ001 (Z is added)
        lambda time: nodes.String(f"{time.isoformat()}Z")
    ),
    "Decimal": st.decimals(0, 1000, places=2).map(lambda number: nodes.String(str(number))),
    "JSON": TEXTS.map(nodes.String),
    "UUID": st.uuids(version=4).map(lambda key: nodes.String(str(key))),
}


@THOROUGH
@given(text=strategies.queries(GRAPH, custom_scalars=SCALARS, allow_x00=False))
async def test_any_query_gives_the_same_result(copies: list[Database], text: Any) -> None:
    if not is_too_complex(text, {}):
        await compare(copies, text)


@THOROUGH
@given(text=documents(), included=st.booleans(), count=st.sampled_from([0, 2, None]))
async def test_any_document_with_variables_gives_the_same_result(
    copies: list[Database], *, text: str, included: bool, count: int | None
) -> None:
    """Fragments, directives and connections, with ids of existing rows."""
    keys = [gid("User", ADMIN.id), gid("User", UUID(int=0)), "nonsense"][: count or 1]
    variables: dict[str, Any] = {"a": count, "c": included, "ids": keys}
    if not is_too_complex(text, variables):
        await compare(copies, text, ADMIN, **variables)


def _examples() -> Iterator[str]:
    """The queries among the examples in GraphiQL."""
    for path in sorted(EXAMPLES.iterdir()):
        for definition in parse(path.read_text("utf-8")).definitions:
            if isinstance(definition, OperationDefinitionNode) and definition.operation.value == "query":
                assert definition.loc is not None
                yield path.read_text("utf-8")[definition.loc.start : definition.loc.end]


@pytest.mark.parametrize("viewer", [ADMIN, ADA, Viewer()])
@pytest.mark.parametrize("text", list(_examples()))
async def test_the_examples_give_the_same_results(copies: list[Database], text: str, viewer: Viewer) -> None:
    await compare(copies, text, viewer)


def _key(number: int) -> str:
    return f"0190a0a0-0000-7000-8000-{number:012}"


TASK = """task { id title status description dueDate completedAt createdAt version
    category { name tasks(first: 2) { totalCount } } }"""
ERRORS = "userErrors { code message field current { id ... on Task { title version } } }"
SCRIPT = f"""
mutation Make($due: DateTime, $wrong: Int = 9) {{
    a: createCategory(input: {{name: "Tests", databaseId: "{_key(1)}"}}) {{ category {{ name color }} {ERRORS} }}
    b: createCategory(input: {{name: "Tests", databaseId: "{_key(2)}"}}) {{ category {{ name }} {ERRORS} }}
    c: createTask(input: {{title: "One", databaseId: "{_key(3)}", categoryId: "{gid("Category", UUID(_key(1)))}",
        dueDate: $due}}) {{ {TASK} {ERRORS} }}
    d: createTask(input: {{title: "", databaseId: "{_key(3)}", priorityLevel: $wrong}}) {{ {TASK} {ERRORS} }}
    e: createTasks(input: {{tasks: [{{title: "Two", databaseId: "{_key(4)}"}}, {{title: "Three", databaseId:
        "{_key(5)}"}}]}}) {{ tasks {{ title databaseId category {{ id }} }} {ERRORS} }}
}}
mutation Change($id: ID!) {{
    a: updateTask(input: {{id: $id, version: 1, title: "First", description: null, status: IN_PROGRESS}}) {{
        {TASK} {ERRORS} }}
    b: updateTask(input: {{id: $id, version: 1, title: "Late"}}) {{ {TASK} {ERRORS} }}
    c: completeTask(input: {{id: $id}}) {{ ...Done }}
    d: completeTask(input: {{id: $id, version: 1}}) {{ ...Done }}
    e: deleteTask(input: {{id: $id}}) {{ {TASK} {ERRORS} }}
    f: reopenTask(input: {{id: $id}}) {{ {TASK} {ERRORS} }}
    g: restoreTask(input: {{id: $id}}) {{ {TASK} {ERRORS} }}
}}
fragment Done on CompleteTaskPayload {{ {TASK} {ERRORS} }}
mutation Others {{
    a: createClient(input: {{companyName: "Acme", annualRevenue: "12.50", databaseId: "{_key(6)}", contacts: [
        {{firstName: "Jo", lastName: "An", email: "jo@acme.example", isPrimary: true, databaseId: "{_key(7)}"}},
        {{firstName: "Al", lastName: "Ex", email: "al@acme.example", databaseId: "{_key(8)}"}}]}}) {{
        client {{ companyName annualRevenue primaryContact {{ firstName email }}
            contacts {{ totalCount nodes {{ email client {{ id }} }} }} }} {ERRORS} }}
    b: setPrimaryContact(input: {{id: "{gid("Client", UUID(_key(6)))}", contactId: "{gid("Contact", UUID(_key(8)))}"}})
        {{ client {{ version primaryContact {{ firstName }} }} {ERRORS} }}
    c: createReward(input: {{name: "Tea", cost: 5, stock: 3}}) {{ reward {{ name cost stock version }} {ERRORS} }}
    d: redeemReward(input: {{rewardId: "{gid("Reward", UUID(_key(9)))}"}}) {{ rewardRedemption {{ id }} {ERRORS} }}
}}
"""
FIRST = gid("Task", UUID(_key(3)))


async def test_mutations_return_and_store_the_same(copies: list[Database]) -> None:
    """Each field uses rows that the fields before it have created."""
    operations: list[tuple[str, Viewer, dict[str, Any], list[str]]] = [
        ("Make", ADMIN, {"due": "2026-04-01T10:00:00+02:00"}, []),
        ("Change", ADA, {"id": FIRST}, []),
        ("Change", ADMIN, {"id": FIRST}, []),
        ("Others", ADA, {}, ["FORBIDDEN"]),
        ("Others", ADMIN, {}, []),
        ("Others", Viewer(), {}, ["UNAUTHENTICATED"] * 4),
    ]
    definitions = parse(SCRIPT).definitions
    for name, viewer, variables, codes in operations:
        text = next(
            SCRIPT[node.loc.start : node.loc.end]
            for node in definitions
            if isinstance(node, OperationDefinitionNode) and node.name and node.name.value == name and node.loc
        )
        if name == "Change":
            text += SCRIPT[SCRIPT.index("fragment Done") : SCRIPT.index("mutation Others")]
        assert validate(GRAPH, parse(text)) == []
        _, error_codes = await compare(copies, text, viewer, **variables)
        assert error_codes == codes
    theirs, *ours = [await event_summaries(database) for database in copies]
    expected = [(kind, *rest) for kind, _, _, *rest in theirs]
    assert [[(kind, *rest) for kind, _, _, *rest in events] for events in ours] == [expected] * len(ours)
    assert [event[0] for event in theirs if event[2] == UUID(_key(3))] == [
        "TaskCreated",
        "TaskUpdated",
        "TaskCompleted",
        "TaskDeleted",
        "TaskRestored",
    ]
