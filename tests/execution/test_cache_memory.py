"""The memory of caches whose keys come from clients: it is bounded, and estimated about right."""

import gc
import itertools
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from gateway.auth import authentication
from gateway.auth.tokens import VerifiedToken
from gateway.execution.cost_limiter import CostLimiter
from gateway.execution.limits import Limits
from gateway.execution.processor import NO_VARIABLES, OperationProcessor, PreparedOperation
from gateway.execution.request_errors import RequestError
from gateway.settings import Settings
from gateway.transport.negotiation import accepts_event_stream, negotiate_media_type
from repositories.core.byte_budget import CLIENT_CACHES, BoundedCache
from repositories.core.clock import days, now, time_zone
from repositories.core.ids import new_id
from repositories.core.viewer import ANONYMOUS, Viewer
from repositories.engines.database import DatabaseOptions
from repositories.engines.postgresql_connection import BEGIN_READ, _encode_set_viewer
from repositories.permissions import RoleName
from repositories.sql.filters import And, Compare, Direction, Nulls, Op, Search, SortKey
from repositories.sql.lists import build_behind, build_count, build_page
from repositories.sql.page import ordering
from repositories.sql.row_statements import update
from repositories.sql.statements import Engine, Statement, scope_of
from repositories.tables.life_lock import Task
from resolvers.caching.store import memory_store
from resolvers.validation.global_ids import global_id
from schema import schema
from tests.api.client import Client, Gateway, connect_database
from tests.caches import empty_caches
from tests.factories import make_user

MEGABYTE = 2**20
FLAGS = "abcde"
FIELDS = [column.name for column in Task.__table__.c if column.name not in {"id", "user_id", "version", "deleted_at"}]
SORTED = ("title", "status", "due_date", "created_at", "updated_at", "priority_level")


@pytest.fixture(autouse=True)
def _budget() -> Iterator[None]:
    """Each test begins with empty caches. Their usual size is restored."""
    size = CLIENT_CACHES.size
    empty_caches()
    yield
    CLIENT_CACHES.resize(size)


def measured(fill: Callable[[], object]) -> int:
    """The bytes that ``fill`` leaves allocated. Older objects are not searched for garbage, which takes a second."""
    gc.freeze()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        fill()
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
        gc.unfreeze()


# Each filler adds a different entry for each number.

limiter = CostLimiter(schema._schema, Limits.from_settings(Settings()))
processor = OperationProcessor(schema, check_cost=limiter.check)
SERVICE_SCOPE = scope_of(Engine.POSTGRESQL, Viewer(new_id(), frozenset({RoleName.USER})))
tokens: BoundedCache[str, Any] = BoundedCache()
store = memory_store()


def prepare(text: str, name: str | None = None, variables: Mapping[str, Any] = NO_VARIABLES) -> PreparedOperation:
    return processor.prepare(processor.parse(text, ANONYMOUS), name, ANONYMOUS, variables)


def plan(text: str, **variables: Any) -> None:
    """Plans an operation with all its selections, and converts the arguments of its fields."""
    prepared = prepare(text, None, variables)
    context: Any = SimpleNamespace(viewer=ANONYMOUS)
    executor: Any = processor.create_executor(prepared, context)
    found = executor.plan(schema._schema.query_type)
    assert found is not None
    pending = [found.root]
    while pending:
        for field in pending.pop().fields:
            if field.serialize is None:
                selection = field.selection(field.named_type)
                assert selection is not None
                pending.append(selection)
            if field.strawberry_field is not None and field.strawberry_field.arguments and field.resolution:
                field.arguments.convert(
                    executor.converters.arguments(field.strawberry_field),
                    field.resolution.convert,
                    lambda: None,
                    executor.variable_values,
                    hide_suggestions=False,
                )


def add_document(number: int) -> None:
    prepare(f"{{ viewer {{ id }} }} # {number}")


def add_long_document(number: int) -> None:
    aliases = " ".join(f"a{alias}: title" for alias in range(90))
    prepare(f"query A{number} {{ tasks {{ nodes {{ {aliases} }} }} }}")


def add_invalid_document(number: int) -> None:
    with pytest.raises(RequestError):
        processor.parse(f"{{ {' '.join(f'unknown{number}{place}' for place in range(8))} }}", ANONYMOUS)


def add_document_with_too_many_tokens(number: int) -> None:
    with pytest.raises(RequestError, match="more than 4000 tokens"):
        processor.parse(f"{{ viewer {{ {'id ' * 8000} }} }} # {number}", ANONYMOUS)


def add_document_with_too_many_comparisons(number: int) -> None:
    with pytest.raises(RequestError, match="too often"):
        processor.parse(f"{{ viewer {{ {'id ' * 1500} }} }} # {number} {'x' * 20_000}", ANONYMOUS)


def add_operations(number: int) -> None:
    text = "".join(f"query A{place}($n: Int) {{ tasks(first: $n) {{ totalCount }} }} " for place in range(10))
    for place in range(10):
        prepared = prepare(f"{text} # {number}", f"A{place}")
        processor.operation(prepared)


def add_plan(number: int) -> None:
    plan(f"query A{number} {{ tasks {{ nodes {{ id title dueDate status category {{ id name color }} }} }} }}")


def add_long_plan(number: int) -> None:
    aliases = " ".join(f"a{alias}: dueDate" for alias in range(90))
    plan(f"query A{number} {{ tasks {{ nodes {{ {aliases} }} }} }}")


def add_plan_of_repeated_fields(number: int) -> None:
    plan(f"query A{number} {{ tasks {{ nodes {{ {'title ' * 60} }} }} }}")


def add_plan_with_values(number: int) -> None:
    ids = " ".join(f'"{global_id("Task", new_id())}"' for _ in range(200))
    plan(f"query A{number} {{ tasks(filter: {{id: {{in: [{ids}]}}}}) {{ totalCount }} }}")


def add_plan_of_filters(number: int) -> None:
    plan(f"query A{number} {{ tasks(filter: {{or: [{'{}' * 90}]}}) {{ totalCount }} }}")


def compiled(statement: Statement[Any]) -> None:
    statement.compile_for(SERVICE_SCOPE)


def filter_of(number: int, size: int) -> And:
    """A different shape for each number."""
    ops = (Op.EQ, Op.NE, Op.CONTAINS, Op.GT)
    chosen = [ops[number // 4**place % 4] for place in range(size)]
    return And(tuple(Compare("title", op, "x") for op in chosen))


def add_page_statement(number: int) -> None:
    compiled(build_page(Task, None, filter_of(number, 6), (SortKey("title"),), None, backwards=False))


def add_large_page_statement(number: int) -> None:
    compiled(build_page(Task, None, filter_of(number, 90), (SortKey("title"),), None, backwards=False))


def add_large_in_statement(number: int) -> None:
    in_ids = Compare("id", Op.IN, (new_id(),))
    compiled(build_count(Task, And((*[in_ids] * 80, filter_of(number, 10)))))


def add_search_statement(number: int) -> None:
    words = " ".join("word" for _ in range(number % 20 + 1))
    compiled(build_count(Task, And((Search(("title", "description"), words), filter_of(number // 20, 6)))))


def add_partition_statement(number: int) -> None:
    compiled(build_page(Task, "category_id", filter_of(number, 6), (SortKey("title"),), None, backwards=False))


def add_cursor_statement(number: int) -> None:
    order = (SortKey("title"), SortKey("due_date"))
    compiled(build_behind(Task, None, filter_of(number, 6), order, (False, True, False), backwards=True))


def add_update_statement(number: int) -> None:
    compiled(update(Task, tuple(name for place, name in enumerate(FIELDS) if number >> place & 1)))


def add_order(number: int) -> None:
    choices = list(itertools.product(SORTED, Direction, Nulls))
    places = (number // len(choices) ** place % len(choices) for place in range(5))
    ordering(Task.__table__, tuple(SortKey(*choices[place]) for place in places))


def add_viewer(_: int) -> None:
    _encode_set_viewer(Viewer(new_id(), frozenset({RoleName.USER}), session=new_id()), BEGIN_READ)


def add_token(number: int) -> None:
    text, viewer = "e" * 1000 + str(number), Viewer(new_id(), frozenset({RoleName.USER}), session=new_id())
    cached = authentication._CachedToken(
        VerifiedToken(viewer, number + 0.1, number + 0.2, number + 0.3), viewer, 0, 0.0
    )
    tokens.put(text, cached, len(text) + authentication._CACHED_TOKEN_SIZE)


def add_header(number: int) -> None:
    negotiate_media_type(b"text/event-stream, application/json;q=0.1" + b";x=%d" % number + b"x" * 1000)
    accepts_event_stream(b"text/event-stream;x=%d" % number)


def add_days(number: int) -> None:
    days(now().date(), number % 365 + 1, time_zone("Europe/Berlin"))


def add_result(number: int) -> None:
    value = orjson.dumps([None, None, None, ["x" * (number % 50)] * 100])
    store._backend._set(f"siso:cache:life_lock.tally:{number:040x}", value, 60.0)


FILLERS = [value for name, value in dict(globals()).items() if name.startswith("add_")]


@pytest.mark.parametrize("add", FILLERS, ids=lambda add: add.__name__.removeprefix("add_"))
def test_sizes_are_estimated_within_a_factor_of_two(add: Callable[[int], object]) -> None:
    before = CLIENT_CACHES.used
    measured(lambda: [add(number) for number in range(5, 10)])
    count = 8 + 200_000 // max((CLIENT_CACHES.used - before) // 5, 1000)
    used, entries = CLIENT_CACHES.used, len(CLIENT_CACHES.order)
    actual = measured(lambda: [add(number) for number in range(10, 10 + count)])
    estimated = CLIENT_CACHES.used - used
    assert len(CLIENT_CACHES.order) - entries >= count
    assert actual / 2 < estimated < actual * 2, estimated / actual


def test_all_caches_together_do_not_exceed_the_budget() -> None:
    for add in FILLERS:
        add(3)
    assert CLIENT_CACHES.used > MEGABYTE / 2
    CLIENT_CACHES.resize(2 * MEGABYTE)
    actual = measured(lambda: [add(number) for number in range(10, 14) for add in FILLERS])
    assert sum(entry.size for entry in CLIENT_CACHES.order) == CLIENT_CACHES.used
    assert 1.5 * MEGABYTE < CLIENT_CACHES.used <= 2 * MEGABYTE
    assert actual < 4 * MEGABYTE


async def test_all_combinations_of_skip_in_many_documents(sqlite_only: DatabaseOptions) -> None:
    """The plans of a combination that is not in use are evicted. Each document has more than 1 MB of plans."""
    async with connect_database(sqlite_only) as database:
        gateway = Gateway(database)
        CLIENT_CACHES.resize(4 * MEGABYTE)
        await _ask_all_combinations(gateway.client(await make_user(database)))


async def _ask_all_combinations(client: Client) -> None:
    parts = " ".join(f"{flag}: tasks @skip(if: ${flag}) {{ nodes {{ id title dueDate }} }}" for flag in FLAGS)
    names = ", ".join(f"${flag}: Boolean!" for flag in FLAGS)

    async def ask(documents: range) -> None:
        for document in documents:
            for chosen in range(2 ** len(FLAGS)):
                skipped = {flag: bool(chosen >> place & 1) for place, flag in enumerate(FLAGS)}
                data = await client.data(f"query A{document}({names}) {{ viewer {{ id }} {parts} }}", **skipped)
                assert list(data) == ["viewer", *(flag for flag in FLAGS if not skipped[flag])]

    await ask(range(2))
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        await ask(range(2, 6))
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert CLIENT_CACHES.used <= 4 * MEGABYTE
    assert grown < 6 * MEGABYTE


def test_the_plans_of_an_evicted_document_are_evicted() -> None:
    text = f"query({', '.join(f'${flag}: Boolean!' for flag in FLAGS)}) {{ viewer {{ id }} "
    text += " ".join(f"{flag}: __typename @skip(if: ${flag})" for flag in FLAGS) + "}"
    for chosen in range(2 ** len(FLAGS)):
        plan(text, **{flag: bool(chosen >> place & 1) for place, flag in enumerate(FLAGS)})
    assert len(CLIENT_CACHES.order) == 1 + 2 ** len(FLAGS)
    gc.collect()  # the executors
    processor.documents._cache.pop((text, False))
    CLIENT_CACHES.evict()
    assert (len(CLIENT_CACHES.order), CLIENT_CACHES.used) == (0, 0)
