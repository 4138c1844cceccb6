"""Tests the lists, filters, groups, trash, history, bulk commands and live changes of every aggregate.

The tests run for every aggregate. What they expect follows from the declaration.
"""

import json
from collections import Counter
from typing import Any

import pytest
import sqlalchemy as sa
from strawberry.utils.str_converters import to_camel_case

from repositories.aggregates.derived import event_type, repository_of
from repositories.aggregates.event_store import EventStore
from repositories.core.event import Deleted, Event, Purged, Updated
from repositories.core.ids import new_id
from repositories.core.viewer import SERVICE
from repositories.engines.database import Database
from repositories.permissions import RoleName
from repositories.sql.aggregate import Aggregate, Commands, Reference, aggregates, inverses_of
from repositories.sql.statements import Statement
from repositories.sql.table import Writer, declared
from repositories.tables.identity import User
from repositories.tables.life_lock import Task
from resolvers.aggregates.derived_inputs import MAX_BULK, plural_type
from resolvers.validation.global_ids import parse_global_id
from schema import schema
from tests.api.client import Ask, Client, Gateway, gid
from tests.api.stored_rows import stored_events
from tests.api.subscribing import SubscribingProcess, take
from tests.api.test_statements import summarize_statements
from tests.derived import MAKERS, make_row, sample

ALL = list(aggregates.values())
_ROOT = schema._schema.query_type
assert _ROOT is not None
SINGLE = [each for each in ALL if to_camel_case(each.name) in _ROOT.fields]
LISTED = [
    each
    for each in SINGLE
    if str(_ROOT.fields[to_camel_case(each.plural)].type) == f"{each.type_name}Connection"  # that of roles has no pages
]
SCOPED = [each for each in LISTED if "scope" in _ROOT.fields[to_camel_case(each.plural)].args]


INVERSES = [(each, source, reference) for each in ALL for source, reference in inverses_of(each.row)]


def _with(*commands: Commands) -> Any:
    """The aggregates that have all of the commands, as parameters."""
    return [each for each in ALL if all(command in each.commands for command in commands)]


def _name(aggregate: Aggregate) -> str:
    return aggregate.name


def _name_of(inverse: tuple[Aggregate, Aggregate, Reference]) -> str:
    return f"{inverse[0].name}-{inverse[1].plural}"


def _mutation(verb: str, aggregate: Aggregate, *, many: bool = False) -> str:
    renamed = {str(command.name).lower(): word for command, word in aggregate.verbs.items()}
    return renamed.get(verb, verb) + (plural_type(aggregate) if many else aggregate.type_name)


def _one(aggregate: Aggregate) -> str:
    return to_camel_case(aggregate.name)


def _list(aggregate: Aggregate) -> str:
    return to_camel_case(aggregate.plural)


def _event(aggregate: Aggregate, kind: type[Event]) -> str:
    """The name of the event of a kind of change."""
    return event_type(aggregate.row, kind).__name__


async def _ids(client: Client, aggregate: Aggregate, arguments: str = "") -> set[str]:
    field = f"{_list(aggregate)}({arguments})" if arguments else _list(aggregate)
    found = (await client.data(f"{{ {field} {{ nodes {{ id }} totalCount }} }}"))[_list(aggregate)]
    assert found["totalCount"] == len(found["nodes"])
    return {node["id"] for node in found["nodes"]}


async def _stored(database: Database, aggregate: Aggregate) -> list[Any]:
    """All rows of the aggregate, deleted ones included, and all events."""
    rows = Statement(sa.select(*aggregate.table.c).order_by(aggregate.table.c.id), aggregate.row)
    async with database.transaction(SERVICE) as write:
        return [await write.rows(rows), await stored_events(database)]


def _errors(payload: Any) -> list[tuple[str, list[str]]]:
    return [(error["code"], error["field"]) for error in payload["userErrors"]]


def test_the_declarations_are_complete() -> None:
    """Each aggregate has an owner's column or the actor, an order that an index can serve, and a described type."""
    for aggregate in ALL:
        assert aggregate.noun
        assert aggregate.plural
        assert aggregate.published, aggregate.name
        assert aggregate.readers, aggregate.name


def test_the_features_cover_every_aggregate() -> None:
    """The preferences of a user are a field of the user."""
    assert {each.type_name for each in ALL} - {each.type_name for each in SINGLE} == {"UserPreferences"}
    assert {each.type_name for each in SINGLE} - {each.type_name for each in LISTED} == {"Role"}
    assert {each.type_name for each in LISTED} - {each.type_name for each in SCOPED} == {
        *("Achievement", "JobRun", "Product", "ProductCategory", "Reward", "User")
    }


@pytest.mark.parametrize("aggregate", SINGLE, ids=_name)
async def test_rows_are_found_by_their_ids(
    gateway: Gateway, admin: User, bob: User, aggregate: Aggregate, statements: list[str]
) -> None:
    """Other users do not find them, unless the policy lets everybody read them."""
    keys = [await make_row(gateway, admin, aggregate, number) for number in (1, 2)]
    single = f"query($id: ID!) {{ {_one(aggregate)}(id: $id) {{ id }} node(id: $id) {{ id }} }}"
    is_public = aggregate.owner is None and RoleName.USER in aggregate.readers
    for key in keys:
        found = {_one(aggregate): {"id": key}, "node": {"id": key}}
        statements.clear()
        assert await gateway.client(admin).data(single, id=key) == found
        assert summarize_statements(statements) == [f"SELECT {aggregate.table.name}"]
        assert ((await gateway.client(bob).ask(single, id=key)).data == found) is is_public


@pytest.mark.parametrize("aggregate", LISTED, ids=_name)
async def test_rows_are_found_in_lists(
    gateway: Gateway, admin: User, bob: User, aggregate: Aggregate, statements: list[str]
) -> None:
    """Other users see neither the rows nor their number, unless the policy lets everybody read them."""
    client, other = gateway.client(admin), gateway.client(bob)
    before = await _ids(client, aggregate)
    keys = [await make_row(gateway, admin, aggregate, number) for number in (1, 2)]
    assert await _ids(client, aggregate) == {*before, *keys}
    stored, _ = await _stored(gateway.database, aggregate)
    if aggregate.type_name not in MAKERS:
        assert [row.updated_at for row in stored] == [row.created_at for row in stored]
    statements.clear()
    await client.data(f"{{ {_list(aggregate)} {{ nodes {{ id }} }} }}")
    assert summarize_statements(statements) == [f"SELECT {aggregate.table.name}"]
    filters = f"query($ids: [ID]) {{ {_list(aggregate)}(filter: {{id: {{in: $ids}}}}) {{ nodes {{ id }} }} }}"
    for person in (client, other):
        answer = await person.ask(filters, ids=keys[:1])
        page = (answer.data or {}).get(_list(aggregate)) or {"nodes": []}
        is_visible = person is client or (aggregate.owner is None and RoleName.USER in aggregate.readers)
        assert page["nodes"] == ([{"id": keys[0]}] if is_visible else []), person is client


@pytest.mark.parametrize("aggregate", LISTED, ids=_name)
async def test_groups_count_the_rows_of_the_list(gateway: Gateway, admin: User, aggregate: Aggregate) -> None:
    client = gateway.client(admin)
    for number in (1, 2, 3, 4):
        await make_row(gateway, admin, aggregate, number)
    for column in aggregate.grouped:
        field = aggregate.references[column.name].field if column.name in aggregate.references else column.name
        selection = f"{to_camel_case(field)} {{ id }}" if column.name in aggregate.references else to_camel_case(field)
        document = f"""{{ {_list(aggregate)}(first: 500) {{
            nodes {{ {selection} }} groups(by: {column.name.upper()}) {{ key count }} }} }}"""
        found = (await client.data(document))[_list(aggregate)]
        values = [node[to_camel_case(field)] for node in found["nodes"]]
        keys = [value["id"] if isinstance(value, dict) else value for value in values]
        keys = [str(key).lower() if isinstance(key, bool) else key for key in keys]
        assert {group["key"]: group["count"] for group in found["groups"]} == Counter(keys), column.name
        counts = [group["count"] for group in found["groups"]]
        assert counts == sorted(counts, reverse=True)


@pytest.mark.parametrize("aggregate", LISTED, ids=_name)
async def test_null_checks_divide_the_list(gateway: Gateway, admin: User, aggregate: Aggregate) -> None:
    """Every nullable column can be compared with null."""
    client = gateway.client(admin)
    for number in (1, 2):
        await make_row(gateway, admin, aggregate, number)
    for column in aggregate.published:
        if not column.nullable:
            continue
        name = to_camel_case(column.name)
        parts = [await _ids(client, aggregate, f"filter: {{{name}: {{isNull: {flag}}}}}") for flag in ("true", "false")]
        assert parts[0].isdisjoint(parts[1])
        assert parts[0] | parts[1] == await _ids(client, aggregate), column.name


@pytest.mark.parametrize("aggregate", LISTED, ids=_name)
async def test_conditions_on_the_rows_to_which_rows_refer(
    gateway: Gateway, admin: User, aggregate: Aggregate, statements: list[str]
) -> None:
    """They find the same rows as the field shows. The field is loaded with one statement for all rows."""
    client, table = gateway.client(admin), aggregate.table.name
    known = {name: each for name, each in aggregate.references.items() if each.target in aggregates}
    optional = [aggregates[each.target] for each in known.values() if each.target is not User and each.column.nullable]
    for number in (1, 2):
        ids = {target.type_name: await make_row(gateway, admin, target, number) for target in optional}
        await make_row(gateway, admin, aggregate, number, refer_to=ids)
    for name, reference in known.items():
        if not declared(reference.column).filtered:
            continue
        field = to_camel_case(reference.field)
        statements.clear()
        found = (await client.data(f"{{ {_list(aggregate)} {{ nodes {{ id {field} {{ id }} }} }} }}"))[_list(aggregate)]
        referring = {node["id"]: node[field] and node[field]["id"] for node in found["nodes"]}
        edges = [f"SELECT {reference.target.__table__.name}"] if any(referring.values()) else []
        assert summarize_statements(statements) == [f"SELECT {table}", *edges]
        for target in set(referring.values()) - {None}:
            expected = {key for key, value in referring.items() if value == target}
            equal = f'{{eq: "{target}"}}'
            assert await _ids(client, aggregate, f"filter: {{{to_camel_case(name)}: {equal}}}") == expected
            if reference.field == name:
                continue  # such as createdBy, which is a condition on the id
            of_row = f"{field}: {{id: {equal}}}"
            assert await _ids(client, aggregate, f"filter: {{{of_row}}}") == expected
            assert await _ids(client, aggregate, f"filter: {{not: {{{of_row}}}}}") == set(referring) - expected


@pytest.mark.parametrize("inverse", INVERSES, ids=_name_of)
async def test_rows_list_the_rows_that_refer_to_them(
    gateway: Gateway, admin: User, inverse: tuple[Aggregate, Aggregate, Reference], statements: list[str]
) -> None:
    """With one statement for the lists of all rows."""
    aggregate, source, reference = inverse
    assert reference.inverse is not None
    client, field = gateway.client(admin), to_camel_case(reference.inverse.field)
    keys = []
    for number in (1, 2):
        target = await make_row(gateway, admin, aggregate, number)
        keys.append(await make_row(gateway, admin, source, number, refer_to={aggregate.type_name: target}))
    back = to_camel_case(reference.field)
    nodes = f"nodes {{ id {field} {{ nodes {{ id {back} {{ id }} }} }} }}"
    statements.clear()
    if aggregate in LISTED:
        rows = (await client.data(f"{{ {_list(aggregate)} {{ {nodes} }} }}"))[_list(aggregate)]["nodes"]
    else:
        selection = nodes.removeprefix("nodes {").removesuffix("}")
        rows = (await client.data(f"{{ {_list(aggregate)} {{ {selection} }} }}"))[_list(aggregate)]
    tables = [each.table.name for each in (aggregate, source, aggregate)]
    assert summarize_statements(statements) == [f"SELECT {name}" for name in tables]
    listed = [(row["id"], each[back]["id"], each["id"]) for row in rows for each in row[field]["nodes"]]
    assert all(row == referred for row, referred, _ in listed)
    assert set(keys) <= {key for _, _, key in listed}


@pytest.mark.parametrize("aggregate", SCOPED, ids=_name)
async def test_the_scope_mine_has_the_rows_of_the_viewer(
    gateway: Gateway, admin: User, bob: User, aggregate: Aggregate
) -> None:
    client = gateway.client(admin)
    own, other = [await make_row(gateway, user, aggregate) for user in (admin, bob)]
    everything = await _ids(client, aggregate)
    assert {own, other} <= everything
    assert await _ids(client, aggregate, "scope: ALL") == everything
    mine = await _ids(client, aggregate, "scope: MINE")
    assert own in mine
    assert other not in mine


@pytest.mark.parametrize("aggregate", [each for each in LISTED if each.is_soft_deleted], ids=_name)
async def test_deleted_rows_are_listed_on_request(gateway: Gateway, admin: User, aggregate: Aggregate) -> None:
    client = gateway.client(admin)
    kept, key = [await make_row(gateway, admin, aggregate, number) for number in (1, 2)]
    everything = await _ids(client, aggregate)
    async with gateway.database.transaction(SERVICE) as write:
        repository = repository_of(aggregate.row)(write)
        await repository.remove(await repository.get(parse_global_id(key)[1]))
    for argument, expected in (("EXCLUDE", everything - {key}), ("INCLUDE", everything), ("ONLY", {key})):
        assert await _ids(client, aggregate, f"deleted: {argument}") == expected
    assert await _ids(client, aggregate) == everything - {key}
    assert kept in everything


@pytest.mark.parametrize("aggregate", _with(Commands.RESTORE), ids=_name)
async def test_trash(gateway: Gateway, admin: User, bob: User, aggregate: Aggregate) -> None:
    """A deleted row is listed on request, restored, and deleted permanently; its events remain."""
    client, other, database = gateway.client(admin), gateway.client(bob), gateway.database
    kept, key = [await make_row(gateway, admin, aggregate, number) for number in (1, 2)]
    live = await _ids(client, aggregate)
    delete, restore, purge = (_mutation(verb, aggregate) for verb in ("delete", "restore", "purge"))
    selection = f"{_one(aggregate)} {{ id deletedAt }}"

    before = await _stored(database, aggregate)
    assert _errors(await client.do(purge, selection, id=key)) == [("NOT_FOUND", ["id"])]
    assert await _stored(database, aggregate) == before

    deleted = await client.do(delete, selection, id=key)
    assert deleted[_one(aggregate)]["deletedAt"] is not None
    assert await _ids(client, aggregate) == live - {key}
    assert await _ids(client, aggregate, "deleted: EXCLUDE") == live - {key}
    assert await _ids(client, aggregate, "deleted: INCLUDE") == live
    assert await _ids(client, aggregate, "deleted: ONLY") == {key}
    groups = f"{{ {_list(aggregate)}(deleted: ONLY) {{ totalCount pageInfo {{ endCursor hasNextPage }} }} }}"
    assert (await client.data(groups))[_list(aggregate)]["totalCount"] == 1

    before = await _stored(database, aggregate)
    for mutation in (delete, restore, purge):
        kind = f"{mutation[0].upper()}{mutation[1:]}Input"
        document = f"mutation($i: {kind}!) {{ {mutation}(input: $i) {{ userErrors {{ code }} }} }}"
        answer = await other.ask(document, i={"id": key})
        codes = [error["extensions"]["code"] for error in answer.errors] or [
            error["code"] for error in answer.data[mutation]["userErrors"]
        ]
        assert codes in (["NOT_FOUND"], ["FORBIDDEN"])
    assert await _stored(database, aggregate) == before

    restored = await client.do(restore, selection, id=key)
    assert restored[_one(aggregate)] == {"id": key, "deletedAt": None}
    assert await _ids(client, aggregate) == live
    await client.do(delete, selection, id=key)
    events = len(await stored_events(database))
    assert (await client.do(purge, selection, id=key))["userErrors"] == []
    assert await _ids(client, aggregate, "deleted: INCLUDE") == live - {key}
    assert kept in await _ids(client, aggregate)
    assert len(await stored_events(database)) > events
    assert _errors(await client.do(restore, selection, id=key)) == [("NOT_FOUND", ["id"])]


@pytest.mark.parametrize("aggregate", _with(Commands.UPDATE), ids=_name)
async def test_history(gateway: Gateway, admin: User, bob: User, aggregate: Aggregate) -> None:
    """Newest first, with the names of the changed fields, and the values of those that are declared for it."""
    client = gateway.client(admin)
    key = await make_row(gateway, admin, aggregate, 1)
    version = {"version": 1} if aggregate.is_versioned else {}
    changes = sample(aggregate, {}, 2, writer=Writer.ON_UPDATE)
    update = _mutation("update", aggregate)
    assert (await client.do(update, f"{_one(aggregate)} {{ id }}", id=key, **version, **changes))["userErrors"] == []
    document = f"""query($id: ID!, $first: Int!, $after: String) {{ {_one(aggregate)}(id: $id) {{
        history(first: $first, after: $after) {{ totalCount pageInfo {{ endCursor hasNextPage }}
            nodes {{ id eventType user {{ id }} fields changes {{ field before after }} }} }} }} }}"""

    async def load(first: int, after: str | None = None) -> Any:
        return (await client.data(document, id=key, first=first, after=after))[_one(aggregate)]["history"]

    entries = (await load(50))["nodes"]
    events = [event for event in await stored_events(gateway.database) if key == _id_of(aggregate, event)]
    assert [entry["id"] for entry in entries] == [str(event.id) for event in reversed(events)]
    newest = next(entry for entry in entries if entry["eventType"] == _event(aggregate, Updated))
    changed = {to_camel_case(name) for name in _columns_of(aggregate, changes)}
    assert changed <= set(newest["fields"])
    assert newest["user"] is not None
    recorded = {change["field"] for change in newest["changes"]}
    assert recorded == {name for name in newest["fields"] if name in map(to_camel_case, aggregate.history)}
    for change in newest["changes"]:
        assert change["before"] != change["after"]
    texts = [
        value
        for value in changes.values()
        if isinstance(value, str) and value.startswith(("Text ", "person", "https://", "+49"))
    ]
    stored = json.dumps([event.event_data for event in await stored_events(gateway.database)], default=str)
    assert not any(text in stored for text in texts)
    page = await load(1)
    assert page["pageInfo"]["hasNextPage"]
    following = await load(1, page["pageInfo"]["endCursor"])
    assert [*page["nodes"], *following["nodes"]] == entries[:2]
    assert page["totalCount"] == len(entries)


def _id_of(aggregate: Aggregate, event: Any) -> str | None:
    """The global id of the row of an event, None for events of other aggregates."""
    return gid(aggregate.type_name, event.aggregate_id) if event.aggregate_type == aggregate.name else None


def _columns_of(aggregate: Aggregate, values: dict[str, Any]) -> list[str]:
    return [column.name for column in aggregate.published if to_camel_case(column.name) in values]


@pytest.mark.parametrize("aggregate", _with(Commands.DELETE), ids=_name)
async def test_bulk_commands_are_all_or_nothing(gateway: Gateway, admin: User, bob: User, aggregate: Aggregate) -> None:
    client, database = gateway.client(admin), gateway.database
    keys = [await make_row(gateway, admin, aggregate, number) for number in (1, 2, 3)]
    delete, restore = (_mutation(verb, aggregate, many=True) for verb in ("delete", "restore"))
    gone = await make_row(gateway, admin, aggregate, 4)
    await client.do(_mutation("delete", aggregate), f"{_one(aggregate)} {{ id }}", id=gone)
    selection = f"{_list(aggregate)} {{ id }}"
    before = await _stored(database, aggregate)
    for ids, errors in (
        ([keys[0], gone, keys[1]], [("NOT_FOUND", ["ids", "1"])]),
        ([keys[0], keys[1], keys[0]], [("VALIDATION_ERROR", ["ids", "2"])]),
        ([], [("VALIDATION_ERROR", ["ids"])]),
        ([keys[0]] * (MAX_BULK + 1), [("VALIDATION_ERROR", ["ids"])]),
    ):
        payload = await client.do(delete, selection, ids=ids)
        assert payload[_list(aggregate)] is None
        assert _errors(payload) == errors
    assert await _stored(database, aggregate) == before
    payload = await client.do(delete, selection, ids=keys)
    assert payload == {_list(aggregate): [{"id": key} for key in keys], "userErrors": []}
    assert (await _ids(client, aggregate)).isdisjoint(keys)
    types = [event.event_type for event in (await stored_events(database))[len(before[1]) :]]
    assert types.count(_event(aggregate, Deleted)) == len(keys)
    if Commands.RESTORE in aggregate.commands:
        payload = await client.do(restore, selection, ids=keys)
        assert payload == {_list(aggregate): [{"id": key} for key in keys], "userErrors": []}
        assert set(keys) <= await _ids(client, aggregate)


@pytest.mark.parametrize("aggregate", _with(Commands.UPDATE), ids=_name)
async def test_changes_are_delivered_to_the_viewers_who_may_see_the_row(
    gateway: Gateway, admin: User, bob: User, aggregate: Aggregate
) -> None:
    """By ids, and without ids. Another user receives nothing."""
    client, process = gateway.client(admin), SubscribingProcess(gateway.database)
    first, second = [await make_row(gateway, admin, aggregate, number) for number in (1, 2)]
    field = f"{_one(aggregate)}Changed"
    selection = f"{{ eventType {_one(aggregate)}Id {_one(aggregate)} {{ id }} }}"
    version = {"version": 1} if aggregate.is_versioned else {}

    async def change() -> None:
        for key in (first, second):
            values = sample(aggregate, {}, 5 if key == first else 6, writer=Writer.ON_UPDATE)
            payload = await client.do(
                _mutation("update", aggregate), f"{_one(aggregate)} {{ id }}", id=key, **version, **values
            )
            assert payload["userErrors"] == []

    by_ids = f"subscription($ids: [ID!]) {{ {field}(ids: $ids) {selection} }}"
    async with (
        process.feed.run(),
        process.subscribe(admin, by_ids, ids=[second]) as some,
        process.subscribe(admin, f"subscription {{ {field} {selection} }}") as every,
    ):
        await change()
        updated = _event(aggregate, Updated)
        of_all: list[Any] = []
        while len(of_all) < 2:  # other events of the rows may be among them
            (delivered,) = await take(every, 1)
            of_all += [delivered[field]] if delivered[field]["eventType"] == updated else []
        assert {(each["eventType"], each[f"{_one(aggregate)}Id"]) for each in of_all} == {
            (updated, first),
            (updated, second),
        }
        (only,) = [each[field] for each in await take(some, 1)]
        assert only == {"eventType": updated, f"{_one(aggregate)}Id": second, _one(aggregate): {"id": second}}


@pytest.mark.parametrize("aggregate", _with(Commands.DELETE), ids=_name)
async def test_permanent_deletions_are_delivered(gateway: Gateway, admin: User, aggregate: Aggregate) -> None:
    """Although the row is gone: by ids and without."""
    client, process = gateway.client(admin), SubscribingProcess(gateway.database)
    key = await make_row(gateway, admin, aggregate, 1)
    field = f"{_one(aggregate)}Changed"
    document = f"""subscription($ids: [ID!]) {{ {field}(ids: $ids) {{
        eventType {_one(aggregate)}Id {_one(aggregate)} {{ id }} }} }}"""
    verbs = ["delete", "purge"] if Commands.PURGE in aggregate.commands else ["delete"]
    expected = [_event(aggregate, kind) for kind in (Deleted, Purged)[: len(verbs)]]
    async with (
        process.feed.run(),
        process.subscribe(admin, document, ids=[key]) as some,
        process.subscribe(admin, document) as every,
    ):
        for verb in verbs:
            payload = await client.do(_mutation(verb, aggregate), f"{_one(aggregate)} {{ id }}", id=key)
            assert payload["userErrors"] == []
        for stream in (some, every):
            delivered: list[Any] = []
            while len(delivered) < len(verbs):  # other events of the row may be among them
                (result,) = await take(stream, 1)
                delivered += [result[field]] if result[field]["eventType"] in expected else []
            assert [each["eventType"] for each in delivered] == expected
            assert {each[f"{_one(aggregate)}Id"] for each in delivered} == {key}
            assert delivered[-1][_one(aggregate)] is None


async def test_permanent_deletions_are_not_delivered_to_others(gateway: Gateway, ada: User, bob: User) -> None:
    """To another user who knows the id: that user receives the event of an own row first."""
    process, task = SubscribingProcess(gateway.database), aggregates[Task]
    keys = {user.id: await make_row(gateway, user, task, 1) for user in (ada, bob)}
    document = "subscription($ids: [ID!]) { taskChanged(ids: $ids) { eventType taskId } }"
    async with process.feed.run(), process.subscribe(bob, document, ids=list(keys.values())) as stream:
        for user in (ada, bob):
            for mutation in ("deleteTask", "purgeTask"):
                payload = await gateway.client(user).do(mutation, "task { id }", id=keys[user.id])
                assert payload["userErrors"] == []
        delivered = [each["taskChanged"] for each in await take(stream, 2)]
    assert delivered == [{"eventType": kind, "taskId": keys[bob.id]} for kind in ("TaskDeleted", "TaskPurged")]


@pytest.mark.parametrize(
    "data",
    [
        {"changes": {"status": "x"}},
        {"changes": []},
        {"changes": {"status": ["nope", "pending"]}},
        {"changes": {"category_id": ["zz", None]}},
        {"changes": {"status": [1, 2, 3]}},
        {"changes": {"priority_level": {"a": 1}}},
        {"fields": 5},
        {"fields": {"a": 1}},
        {"fields": [None, 1]},
    ],
    ids=str,
)
async def test_history_leaves_out_what_it_cannot_read(
    gateway: Gateway, ask: Ask, ada: User, data: dict[str, Any]
) -> None:
    """Other clients of the database may store events with any data."""
    key = await make_row(gateway, ada, aggregates[Task], 1)
    (row,) = [event for event in await stored_events(gateway.database) if key == _id_of(aggregates[Task], event)]
    stored = {column.name: getattr(row, column.name) for column in row.__table__.c}
    foreign = stored | {"id": new_id(), "event_data": {"owner_id": str(ada.id), **data}}
    async with gateway.database.transaction(SERVICE) as write:
        await EventStore(write).load([foreign])
    document = "query($id: ID!) { task(id: $id) { id history { nodes { fields changes { field } } } } }"
    entries: list[Any] = [{"fields": [], "changes": []}] * 2
    assert await ask(ada, document, id=key) == {"task": {"id": key, "history": {"nodes": entries}}}


@pytest.mark.parametrize("aggregate", _with(Commands.DELETE), ids=_name)
async def test_bulk_deletions_execute_as_many_statements_for_many_rows_as_for_two(
    gateway: Gateway, admin: User, aggregate: Aggregate, statements: list[str]
) -> None:
    client = gateway.client(admin)
    keys = [await make_row(gateway, admin, aggregate, number) for number in range(1, 33)]
    verbs = ["delete", "restore"] if Commands.RESTORE in aggregate.commands else ["delete"]
    executed: dict[tuple[str, int], list[str]] = {}
    for part in (keys[:2], keys[2:]):
        for verb in verbs:
            statements.clear()
            payload = await client.do(_mutation(verb, aggregate, many=True), f"{_list(aggregate)} {{ id }}", ids=part)
            assert payload == {_list(aggregate): [{"id": key} for key in part], "userErrors": []}
            executed[verb, len(part)] = [text.split(None, 1)[0] for text in statements]
    for verb in verbs:
        assert executed[verb, 30] == executed[verb, 2]
