"""Random commands on all aggregates: versions, histories, trash and live changes of every row agree."""

import asyncio
import json
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import hypothesis.strategies as st
import sqlalchemy as sa
from hypothesis import given
from strawberry.utils.str_converters import to_camel_case

from repositories.core.viewer import SERVICE
from repositories.engines.database import Database, DatabaseOptions
from repositories.sql.aggregate import Aggregate, Commands, aggregates
from repositories.sql.statements import Statement
from repositories.sql.table import Writer
from repositories.tables.identity import UserRole
from resolvers.aggregates.derived_inputs import plural_type
from tests.api.client import Client, Gateway, gid
from tests.api.stored_rows import stored_events
from tests.api.subscribing import SubscribingProcess
from tests.derived import make_row, sample
from tests.factories import make_user
from tests.repositories.support import SharedDatabase, examples

CHANGING = [each for each in aggregates.values() if Commands.CREATE | Commands.UPDATE in each.commands]
_COMMANDS = ("create", "update", "update", "delete", "restore", "purge", "delete many", "restore many")

stories = st.lists(
    st.tuples(st.sampled_from(CHANGING), st.sampled_from(_COMMANDS), st.integers(0, 7)),
    min_size=5,
    max_size=25,
)


@dataclass
class Model:
    """What the rows of one aggregate must look like."""

    live: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)


class Story:
    """Runs commands and remembers what they must have done."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.models = {aggregate.name: Model() for aggregate in CHANGING}
        self.number = 0

    async def run(self, aggregate: Aggregate, command: str, pick: int) -> None:
        """Runs the command on one of the rows for which it succeeds, or nothing without such a row."""
        model = self.models[aggregate.name]
        self.number += 1
        can_delete, can_restore = (each in aggregate.commands for each in (Commands.DELETE, Commands.RESTORE))
        match command:
            case "create":
                model.live.append(await make_row(self.client, aggregate, self.number))
            case "update" if model.live:
                await self._update(aggregate, model.live[pick % len(model.live)])
            case "delete" if model.live and can_delete:
                key = model.live.pop(pick % len(model.live))
                await self._do(aggregate, "delete", id=key)
                model.deleted += [key] if can_restore else []
            case "restore" if model.deleted:
                key = model.deleted.pop(pick % len(model.deleted))
                await self._do(aggregate, "restore", id=key)
                model.live.append(key)
            case "purge" if model.deleted:
                await self._do(aggregate, "purge", id=model.deleted.pop(pick % len(model.deleted)))
            case "delete many" if model.live and can_delete:
                await self._do(aggregate, "delete", ids=model.live)
                model.deleted += model.live if can_restore else []
                model.live = []
            case "restore many" if model.deleted:
                await self._do(aggregate, "restore", ids=model.deleted)
                model.live, model.deleted = model.live + model.deleted, []

    async def _update(self, aggregate: Aggregate, key: str) -> None:
        one = to_camel_case(aggregate.name)
        version = {}
        if aggregate.is_versioned:
            read = await self.client.data(f"query($id: ID!) {{ {one}(id: $id) {{ version }} }}", id=key)
            version = {"version": read[one]["version"]}
        values = sample(aggregate, {}, self.number, writer=Writer.ON_UPDATE)
        await self._do(aggregate, "update", id=key, **version, **values)

    async def _do(self, aggregate: Aggregate, verb: str, **values: Any) -> None:
        many = "ids" in values
        mutation = verb + (plural_type(aggregate) if many else aggregate.type_name)
        field_name = to_camel_case(aggregate.plural if many else aggregate.name)
        payload = await self.client.do(mutation, f"{field_name} {{ id }}", **values)
        assert payload["userErrors"] == [], (mutation, payload)


def _changes_the_version(event: Any) -> bool:
    """Whether an event stands for one change of its row. Events beside it, such as TaskCompleted, have no fields."""
    return event.event_type.endswith(("Created", "Deleted", "Restored")) or bool(event.event_data.get("fields"))


async def _check(database: Database, story: Story) -> None:
    """Compares lists, histories and versions with the commands and with the stored events."""
    events = await stored_events(database)
    for aggregate in CHANGING:
        model = story.models[aggregate.name]
        keys = [*model.live, *model.deleted]
        shown = await _histories(story.client, aggregate, "EXCLUDE", keys)
        trash = await _histories(story.client, aggregate, "ONLY", keys) if aggregate.is_soft_deleted else {}
        if aggregate.owner is not None:
            assert (set(shown), set(trash)) == (set(model.live), set(model.deleted))
        rows = Statement(sa.select(*aggregate.table.c), aggregate.row)
        async with database.transaction(SERVICE) as write:
            stored: dict[str, Any] = {gid(aggregate.type_name, row.id): row for row in await write.rows(rows)}
        for key in keys:
            of_row = [event for event in events if gid(aggregate.type_name, event.aggregate_id) == key]
            assert {**shown, **trash}[key] == [str(event.id) for event in reversed(of_row)]
            if aggregate.is_versioned:
                assert stored[key].version == sum(map(_changes_the_version, of_row)), key


async def _histories(client: Client, aggregate: Aggregate, deleted: str, keys: list[str]) -> dict[str, list[str]]:
    """The ids of the events of each row of the viewer, newest first, by the id of the row.

    Rows without an owner are those with the ids ``keys``.
    """
    arguments = ["first: 100"]
    arguments += [f"deleted: {deleted}"] if aggregate.is_soft_deleted else []
    arguments += ["scope: MINE" if aggregate.owner is not None else f"filter: {{id: {{in: {json.dumps(keys)}}}}}"]
    name = to_camel_case(aggregate.plural)
    selection = "nodes { id history(first: 100) { nodes { id } } }"
    nodes = (await client.data(f"{{ {name}({', '.join(arguments)}) {{ {selection} }} }}"))[name]["nodes"]
    return {node["id"]: [entry["id"] for entry in node["history"]["nodes"]] for node in nodes}


def _changes_of(aggregate: Aggregate) -> str:
    one = to_camel_case(aggregate.name)
    return f"subscription {{ change: {one}Changed {{ eventType key: {one}Id }} }}"


async def _tell(database: Database, steps: list[tuple[Aggregate, str, int]]) -> None:
    """Live events are those of all aggregates in the order of their commits, in the feed and in `xChanged`."""
    admin = await make_user(database, role=UserRole.ADMIN)
    gateway = Gateway(database)
    story = Story(gateway.client(admin))
    process = SubscribingProcess(database)
    types = ", ".join(f'"{aggregate.name}"' for aggregate in CHANGING)
    document = f"subscription {{ domainEvents(aggregateTypes: [{types}]) {{ eventType aggregateId }} }}"
    before = len(await stored_events(database))
    async with process.feed.run(), process.subscribe(admin, document) as deliveries, AsyncExitStack() as subscribed:
        changes = {
            aggregate.name: await subscribed.enter_async_context(process.subscribe(admin, _changes_of(aggregate)))
            for aggregate in CHANGING
        }
        for aggregate, command, pick in steps:
            await story.run(aggregate, command, pick)
        expected = [event for event in (await stored_events(database))[before:] if event.aggregate_type in story.models]
        delivered: list[tuple[str, str]] = []
        async with asyncio.timeout(60):
            while len(delivered) < len(expected):
                data = (await anext(deliveries)).result.data
                assert data is not None
                event = data["domainEvents"]
                delivered.append((event["eventType"], event["aggregateId"]))
            for aggregate in CHANGING:
                of_rows = [event for event in expected if event.aggregate_type == aggregate.name]
                received = [(await anext(changes[aggregate.name])).result.data for _ in of_rows]
                assert [data and data["change"] for data in received] == [
                    {"eventType": event.event_type, "key": gid(aggregate.type_name, event.aggregate_id)}
                    for event in of_rows
                ]
    assert delivered == [(event.event_type, str(event.aggregate_id)) for event in expected]
    await _check(database, story)
    await gateway.http.aclose()


@examples(12)
@given(steps=stories)
def _tell_all(shared: SharedDatabase, steps: list[tuple[Aggregate, str, int]]) -> None:
    shared.run(_tell(shared.database, steps))


def test_versions_histories_trash_and_live_events_agree(options: DatabaseOptions) -> None:
    shared = SharedDatabase(options)
    try:
        _tell_all(shared)
    finally:
        shared.close()
