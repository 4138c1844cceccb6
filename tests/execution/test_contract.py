"""The gateway's own contract, on demo data, run by each executor: the same answers, and the same is stored."""

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
from resolvers.identity.queries import account_time_zone
from resolvers.reactions import REACTIONS
from resolvers.request.context import AccountTimeZone, Context
from tests.api.client import gid
from tests.api.stored_rows import event_summaries
from tests.databases import KEYS, copy_sqlite
from tests.execution.documents import GRAPH, documents

NOW = dt.datetime(2026, 3, 30, 12, tzinfo=dt.UTC)
SERVICES = {AccountTimeZone: AccountTimeZone(account_time_zone)}
EXECUTORS: tuple[type[Executor[Any]], ...] = (Executor, CompiledExecutor, NativeExecutor)
ADMIN = Viewer(list(generate_users(2))[-1]["id"], frozenset(RoleName), time_zone="Europe/Berlin")
ADA = Viewer(next(iter(generate_users(2)))["id"], frozenset({RoleName.USER}))
LIMITS = Limits.from_settings(Settings())
pytestmark = [  # graphql-core leaves coroutines behind that it had not begun when it cancels the siblings of an error
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
    """A file with demo data."""
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
    """The demo data once for each executor; the process does not grow older."""
    monkeypatch.setattr(health, "time", SimpleNamespace(monotonic=lambda: health._STARTED + 60))
    made = []
    for _ in EXECUTORS:
        path = copy_sqlite(demo, tmp_path_factory.mktemp("copy"))
        made.append(open_database(DatabaseOptions(sqlite_path=path, **KEYS)))
        await made[-1].connect()
    yield made
    for database in made:
        assert database.pool_state().used == 0
        await database.close()


async def answered(
    database: Database, text: str, executor: type[Executor[Any]], viewer: Viewer, variables: Mapping[str, Any]
) -> tuple[bytes, list[dict[str, Any]]]:
    """The data as it is sent, and the errors."""
    context = Context(database, viewer, REACTIONS, lambda: NOW, services=SERVICES)
    try:
        found = execute(
            GRAPH, parse(text), context_value=context, variable_values=dict(variables), executor_class=executor
        )
        result = found if isinstance(found, ExecutionResult) else await found
    finally:
        await context.close()
    errors = format_graphql_errors(result.errors or [])
    assert not [error for error in errors if error["extensions"]["code"] == "INTERNAL_SERVER_ERROR"]
    return orjson.dumps(result.data), errors


async def compared(copies: list[Database], text: str, viewer: Viewer = ADMIN, **variables: Any) -> Any:
    """The data, and the codes of the errors, the same by all executors."""
    theirs, *ours = [
        await answered(database, text, executor, viewer, variables)
        for database, executor in zip(copies, EXECUTORS, strict=True)
    ]
    assert ours == [theirs] * len(ours)
    return orjson.loads(theirs[0]), [error["extensions"]["code"] for error in theirs[1]]


def is_too_complex(text: str, variables: Mapping[str, Any]) -> bool:
    """Whether the limits refuse an operation."""
    document = parse(text)
    (operation,) = (made for made in document.definitions if isinstance(made, OperationDefinitionNode))
    try:
        check_limits(measure(GRAPH, document, operation), variables, LIMITS)
    except GraphQLError:
        return True
    return False


TEXTS = st.sampled_from(["", "a", "2026", "Ada", "ü"])
SCALARS = {
    "Date": st.dates(dt.date(2026, 1, 1), dt.date(2026, 6, 1)).map(lambda day: nodes.String(str(day))),
    "DateTime": st.datetimes(dt.datetime(2025, 1, 1), dt.datetime(2027, 1, 1)).map(  # noqa: DTZ001 (Z is added)
        lambda moment: nodes.String(f"{moment.isoformat()}Z")
    ),
    "Decimal": st.decimals(0, 1000, places=2).map(lambda number: nodes.String(str(number))),
    "JSON": TEXTS.map(nodes.String),
    "UUID": st.uuids(version=4).map(lambda key: nodes.String(str(key))),
}


@THOROUGH
@given(text=strategies.queries(GRAPH, custom_scalars=SCALARS, allow_x00=False))
async def test_any_query_gives_the_same(copies: list[Database], text: Any) -> None:
    if not is_too_complex(text, {}):
        await compared(copies, text)


@THOROUGH
@given(text=documents(), shown=st.booleans(), count=st.sampled_from([0, 2, None]))
async def test_any_document_with_variables_gives_the_same(
    copies: list[Database], *, text: str, shown: bool, count: int | None
) -> None:
    """Fragments, directives and connections, of rows that there are."""
    keys = [gid("User", ADMIN.id), gid("User", UUID(int=0)), "nonsense"][: count or 1]
    variables: dict[str, Any] = {"a": count, "c": shown, "ids": keys}
    if not is_too_complex(text, variables):
        await compared(copies, text, ADMIN, **variables)


def _examples() -> Iterator[str]:
    """The operations that GraphiQL offers."""
    for path in sorted(EXAMPLES.iterdir()):
        for definition in parse(path.read_text("utf-8")).definitions:
            if isinstance(definition, OperationDefinitionNode) and definition.operation.value == "query":
                assert definition.loc is not None
                yield path.read_text("utf-8")[definition.loc.start : definition.loc.end]


@pytest.mark.parametrize("viewer", [ADMIN, ADA, Viewer()])
@pytest.mark.parametrize("text", list(_examples()))
async def test_the_examples_give_the_same(copies: list[Database], text: str, viewer: Viewer) -> None:
    await compared(copies, text, viewer)


def _key(number: int) -> str:
    return f"0190a0a0-0000-7000-8000-{number:012}"


TASK = """task { id title status description dueDate completedAt createdAt version
    category { name tasks(first: 2) { totalCount } } }"""
REFUSED = "userErrors { code message field current { id ... on Task { title version } } }"
SCRIPT = f"""
mutation Make($due: DateTime, $wrong: Int = 9) {{
    a: createCategory(input: {{name: "Tests", databaseId: "{_key(1)}"}}) {{ category {{ name color }} {REFUSED} }}
    b: createCategory(input: {{name: "Tests", databaseId: "{_key(2)}"}}) {{ category {{ name }} {REFUSED} }}
    c: createTask(input: {{title: "One", databaseId: "{_key(3)}", categoryId: "{gid("Category", UUID(_key(1)))}",
        dueDate: $due}}) {{ {TASK} {REFUSED} }}
    d: createTask(input: {{title: "", databaseId: "{_key(3)}", priorityLevel: $wrong}}) {{ {TASK} {REFUSED} }}
    e: createTasks(input: {{tasks: [{{title: "Two", databaseId: "{_key(4)}"}}, {{title: "Three", databaseId:
        "{_key(5)}"}}]}}) {{ tasks {{ title databaseId category {{ id }} }} {REFUSED} }}
}}
mutation Change($id: ID!) {{
    a: updateTask(input: {{id: $id, version: 1, title: "First", description: null, status: IN_PROGRESS}}) {{
        {TASK} {REFUSED} }}
    b: updateTask(input: {{id: $id, version: 1, title: "Late"}}) {{ {TASK} {REFUSED} }}
    c: completeTask(input: {{id: $id}}) {{ ...Done }}
    d: completeTask(input: {{id: $id, version: 1}}) {{ ...Done }}
    e: deleteTask(input: {{id: $id}}) {{ {TASK} {REFUSED} }}
    f: reopenTask(input: {{id: $id}}) {{ {TASK} {REFUSED} }}
    g: restoreTask(input: {{id: $id}}) {{ {TASK} {REFUSED} }}
}}
fragment Done on CompleteTaskPayload {{ {TASK} {REFUSED} }}
mutation Others {{
    a: createClient(input: {{companyName: "Acme", annualRevenue: "12.50", databaseId: "{_key(6)}", contacts: [
        {{firstName: "Jo", lastName: "An", email: "jo@acme.example", isPrimary: true, databaseId: "{_key(7)}"}},
        {{firstName: "Al", lastName: "Ex", email: "al@acme.example", databaseId: "{_key(8)}"}}]}}) {{
        client {{ companyName annualRevenue primaryContact {{ firstName email }}
            contacts {{ totalCount nodes {{ email client {{ id }} }} }} }} {REFUSED} }}
    b: setPrimaryContact(input: {{id: "{gid("Client", UUID(_key(6)))}", contactId: "{gid("Contact", UUID(_key(8)))}"}})
        {{ client {{ version primaryContact {{ firstName }} }} {REFUSED} }}
    c: setSystemSetting(input: {{key: "mail.from", value: {{a: [1, 2.5, null, true, "x"]}}, description: "From"}}) {{
        systemSetting {{ key value version }} {REFUSED} }}
    d: redeemReward(input: {{rewardId: "{gid("Reward", UUID(_key(9)))}"}}) {{ rewardRedemption {{ id }} {REFUSED} }}
}}
"""
FIRST = gid("Task", UUID(_key(3)))


async def test_mutations_answer_and_store_the_same(copies: list[Database]) -> None:
    """One after another, each field of them with what the ones before have made."""
    given: list[tuple[str, Viewer, dict[str, Any], list[str]]] = [
        ("Make", ADMIN, {"due": "2026-04-01T10:00:00+02:00"}, []),
        ("Change", ADA, {"id": FIRST}, []),
        ("Change", ADMIN, {"id": FIRST}, []),
        ("Others", ADA, {}, ["FORBIDDEN"]),
        ("Others", ADMIN, {}, []),
        ("Others", Viewer(), {}, ["UNAUTHENTICATED"]),
    ]
    definitions = parse(SCRIPT).definitions
    for name, viewer, variables, codes in given:
        text = next(
            SCRIPT[made.loc.start : made.loc.end]
            for made in definitions
            if isinstance(made, OperationDefinitionNode) and made.name and made.name.value == name and made.loc
        )
        if name == "Change":
            text += SCRIPT[SCRIPT.index("fragment Done") : SCRIPT.index("mutation Others")]
        assert validate(GRAPH, parse(text)) == []
        _, found = await compared(copies, text, viewer, **variables)
        assert found == codes
    theirs, *ours = [await event_summaries(database) for database in copies]
    made = [(kind, *rest) for kind, _, _, *rest in theirs]
    assert [[(kind, *rest) for kind, _, _, *rest in events] for events in ours] == [made] * len(ours)
    assert [event[0] for event in theirs if event[2] == UUID(_key(3))] == [
        "TaskCreated",
        "TaskUpdated",
        "TaskCompleted",
        "TaskDeleted",
        "TaskRestored",
    ]
