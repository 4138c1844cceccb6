"""Random commands of all domains: versions, histories, trash and live changes of every row agree.

The commands are the mutations of the schema. Their inputs are derived (tests/derived.py), except those of ``INPUTS``.
"""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import example, given
from strawberry.utils.str_converters import to_camel_case

from gateway.settings import Settings
from repositories.aggregates.derived import has_events
from repositories.core.event import Created, Deleted, Event, Purged, Restored, all_event_types
from repositories.engines.database import Database, DatabaseOptions
from repositories.sql.aggregate import Aggregate, aggregates
from repositories.tables.identity import UserPreferences, UserRole
from schema import schema
from tests.api.client import Client, Gateway, gid
from tests.api.row_story import EVERY, EXCLUDED, INPUTS, MUTATIONS, PAYMENTS, Story
from tests.api.stored_rows import stored_events
from tests.api.subscribing import SubscribingProcess
from tests.api.test_row_events import UNCHANGED
from tests.derived import COMMANDS, UnderivableInputError, derive_input
from tests.factories import make_points, make_session, make_user
from tests.repositories.support import SharedDatabase, examples

WITH_EVENTS = [each for each in aggregates.values() if has_events(each)]


def test_every_mutation_has_an_input_or_a_reason() -> None:
    """A new mutation is derivable, or its input is declared, or it is excluded with a reason."""
    assert schema._schema.mutation_type is not None
    ids = {each.type_name: "an id" for each in aggregates.values()}
    derivable = set()
    for mutation in COMMANDS:
        try:
            derive_input(mutation, ids)
        except UnderivableInputError:
            continue
        derivable.add(mutation)
    assert derivable | set(INPUTS) | set(EXCLUDED) == set(schema._schema.mutation_type.fields)
    assert not set(INPUTS) & set(EXCLUDED)
    assert not derivable & set(EXCLUDED)


_KINDS: dict[str, type[Event]] = {
    kind.__name__: base for base in (Created, Deleted, Restored, Purged) for kind in all_event_types(base)
}


async def _check(database: Database, story: Story, before: int) -> None:
    """Compares lists, histories, versions and deletions of all rows with the stored events."""
    rows, events = await story.rows(), (await stored_events(database))[before:]
    for aggregate in WITH_EVENTS:
        stored = {gid(aggregate.type_name, key): row for key, row in rows[aggregate.type_name].items()}
        of_rows: dict[str, list[Any]] = {key: [] for key in stored}
        for event in events:
            if event.aggregate_type == aggregate.name:
                of_rows.setdefault(gid(aggregate.type_name, event.aggregate_id), []).append(event)
        for key, of_row in of_rows.items():
            _check_state(aggregate, stored.get(key), of_row)
        shown = await _histories(story.administrator, aggregate, "EXCLUDE", list(stored))
        trash = await _histories(story.administrator, aggregate, "ONLY", list(stored))
        deleted = {key for key, row in stored.items() if getattr(row, "deleted_at", None) is not None}
        assert (set(shown), set(trash)) == (set(stored) - deleted, deleted), aggregate.name
        for key in stored:
            assert {**shown, **trash}[key] == [str(event.id) for event in reversed(of_rows[key])], aggregate.name


def _check_state(aggregate: Aggregate, row: Any, events: list[Any]) -> None:
    """A row is deleted or gone if the last of its events says so. Its version is the number of its changes.

    Several events of one unit of work are one change. Rows of factories have no event of their creation.
    """
    kinds = [_KINDS[event.event_type] for event in events if event.event_type in _KINDS]
    last = kinds[-1] if kinds else Created
    is_gone = last is Purged or (last is Deleted and not aggregate.is_soft_deleted)
    assert (row is None) is is_gone, (aggregate.name, events)
    if row is None:
        return
    if aggregate.is_soft_deleted:
        assert (row.deleted_at is not None) is (last is Deleted), (aggregate.name, events)
    if aggregate.is_versioned:
        changes = {event.timestamp for event in events if event.event_type not in UNCHANGED}
        is_new = bool(events) and events[0].event_type in _NEW
        assert row.version == len(changes) + (not is_new), (row, events)


_NEW = {name for name, kind in _KINDS.items() if kind is Created} | {"UserSignedUp", "ReferralSubmitted"}


async def _histories(client: Client, aggregate: Aggregate, deleted: str, keys: list[str]) -> dict[str, list[str]]:
    """The ids of the events of the rows with these ids, newest first, by the id of the row."""
    selection = "id history(first: 100) { nodes { id } }"
    if deleted == "ONLY" and not aggregate.is_soft_deleted:
        return {}
    if aggregate.row is UserPreferences:
        one = f"query($id: ID!) {{ node(id: $id) {{ ... on UserPreferences {{ {selection} }} }} }}"
        nodes = [(await client.data(one, id=key))["node"] for key in keys]
    else:
        arguments = ["first: 500", "filter: {id: {in: $keys}}"]
        arguments += [f"deleted: {deleted}"] if aggregate.is_soft_deleted else []
        name = to_camel_case(aggregate.plural)
        document = f"query($keys: [ID]) {{ {name}({', '.join(arguments)}) {{ nodes {{ {selection} }} }} }}"
        nodes = (await client.data(document, keys=keys))[name]["nodes"]
    return {node["id"]: [entry["id"] for entry in node["history"]["nodes"]] for node in nodes}


def _changes_of(aggregate: Aggregate) -> str:
    one = to_camel_case(aggregate.name)
    return f"subscription {{ change: {one}Changed {{ eventType key: {one}Id }} }}"


async def _tell(database: Database, steps: list[tuple[str, int]]) -> None:
    """Live events are those of all aggregates in the order of their commits, in the feed and in `xChanged`."""
    admin = await make_user(database, role=UserRole.ADMIN)
    gateway = Gateway(database, payments=PAYMENTS, settings=Settings(cost_per_minute=0))
    story = Story(gateway, admin)
    story.others = {key for name, rows in (await story.rows()).items() if name != "Role" for key in rows} - {admin.id}
    await make_session(database, admin)
    await make_user(database, role=UserRole.ADMIN)  # an owner of partners must have a role
    await make_points(database, admin, 1_000_000)
    process = SubscribingProcess(database)
    types = ", ".join(f'"{aggregate.name}"' for aggregate in WITH_EVENTS)
    document = f"subscription {{ domainEvents(aggregateTypes: [{types}]) {{ eventType aggregateId }} }}"
    before = len(await stored_events(database))
    async with process.feed.run(), process.subscribe(admin, document) as deliveries, AsyncExitStack() as subscribed:
        changes = {
            aggregate.name: await subscribed.enter_async_context(process.subscribe(admin, _changes_of(aggregate)))
            for aggregate in WITH_EVENTS
        }
        for mutation, pick in steps:
            await story.run(mutation, pick)
        expected = (await stored_events(database))[before:]
        delivered: list[tuple[str, str]] = []
        async with asyncio.timeout(60):
            while len(delivered) < len(expected):
                data = (await anext(deliveries)).result.data
                assert data is not None
                event = data["domainEvents"]
                delivered.append((event["eventType"], event["aggregateId"]))
            for aggregate in WITH_EVENTS:
                of_rows = [
                    event
                    for event in expected
                    if event.aggregate_type == aggregate.name
                    and (not aggregate.has_owner or event.event_data["owner_id"] == str(admin.id))
                ]
                received = [(await anext(changes[aggregate.name])).result.data for _ in of_rows]
                assert [data and data["change"] for data in received] == [
                    {"eventType": event.event_type, "key": gid(aggregate.type_name, event.aggregate_id)}
                    for event in of_rows
                ]
    assert delivered == [(event.event_type, str(event.aggregate_id)) for event in expected]
    await _check(database, story, before)
    await gateway.http.aclose()
    if steps is EVERY:
        assert set(MUTATIONS) - story.succeeded == set()


@examples(8)
@example(steps=EVERY)
@given(steps=st.lists(st.tuples(st.sampled_from(MUTATIONS), st.integers(0, 7)), min_size=5, max_size=25))
def _tell_all(shared: SharedDatabase, steps: list[tuple[str, int]]) -> None:
    shared.run(_tell(shared.database, steps))


@pytest.mark.usefixtures("cheap_passwords")
def test_versions_histories_trash_and_live_events_agree(options: DatabaseOptions) -> None:
    shared = SharedDatabase(options)
    try:
        _tell_all(shared)
    finally:
        shared.close()
