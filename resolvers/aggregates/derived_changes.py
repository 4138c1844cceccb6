"""The handlers that create and change rows, derived from the declaration of an aggregate.

A domain adds to them with rules (rules.py). Every handler checks what it can before it raises, so that all errors of an
input are reported together.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, get_type_hints
from uuid import UUID

from strawberry.utils.str_converters import to_camel_case

from repositories.aggregates.derived import repository_of
from repositories.aggregates.unit_of_work import UnitOfWork
from repositories.core.errors import Conflict, DanglingReference, InputError, NotFound, Path, StaleVersion
from repositories.sql.aggregate import Aggregate, Commands, Reference
from repositories.sql.constraints import unique_keys
from repositories.sql.table import Writer
from resolvers.aggregates import derived_inputs as inputs
from resolvers.aggregates.command_descriptions import (
    create_many_text,
    create_text,
    each_text,
    update_many_text,
    update_text,
)
from resolvers.aggregates.handlers import (
    CommandHandler,
    describe_handler,
    find_duplicates,
    find_unique_duplicates,
    run_each,
    try_each,
)
from resolvers.aggregates.rules import Values, rules_of
from resolvers.validation.command import changed_fields, locate_taken_id, provided_fields, raise_all
from resolvers.validation.valid_parts import registered_check

# new rows


def create_handler(aggregate: Aggregate) -> CommandHandler:
    columns = aggregate.written(Writer.ON_CREATE)

    async def errors(work: UnitOfWork, command: Any) -> list[InputError]:
        return await _errors_of_new(work, aggregate, [inputs.values_of(command, columns)], [()])

    @describe_handler(inputs.create_input(aggregate), create_text(aggregate), errors)
    async def create(work: UnitOfWork, command: Any) -> Any:
        values = inputs.values_of(command, columns)
        checked_by_database = _reference_checked_by_database(aggregate, values)
        raise_all(await _errors_of_new(work, aggregate, [values], [()], checked=checked_by_database))
        try:
            with locate_taken_id("database_id"):
                added = await work.add(aggregate.row, **_new_row(work, aggregate, command, values))
        except DanglingReference:
            if checked_by_database is None:
                raise
            noun = repository_of(aggregate.references[checked_by_database].target).noun
            raise NotFound.of(noun, path=(checked_by_database,)) from None
        rules_of(aggregate.row).record(work, None, added)
        return added

    return create


def _reference_checked_by_database(aggregate: Aggregate, values: Values) -> str | None:
    """The only reference of a new row whose foreign key contains the owner. Inserting the row needs no check of it."""
    owned = [
        name
        for name, reference in aggregate.references.items()
        if reference.shares is not None and values.get(name) is not None
        if name not in rules_of(aggregate.row).references
    ]
    return owned[0] if len(owned) == 1 else None


def create_many_handler(aggregate: Aggregate, own: Callable[..., Any] | None) -> CommandHandler:
    columns, plural = aggregate.written(Writer.ON_CREATE), aggregate.plural
    doc = f"New {plural.replace('_', ' ')}, all or none."
    if own is not None:
        return _create_each(aggregate, own, doc)
    model = inputs.list_input(
        aggregate, inputs.create_input(aggregate), aggregate.verb(Commands.CREATE), doc, aggregate.batch
    )

    single = create_handler(aggregate)

    async def errors(work: UnitOfWork, items: Sequence[Any]) -> list[InputError]:
        places: list[Path] = [(plural, index) for index in range(len(items))]
        values = [inputs.values_of(item, columns) for item in items]
        rows = [_new_row(work, aggregate, item, each) for item, each in zip(items, values, strict=True)]
        return [
            *find_duplicates([(*place, "database_id") for place in places], [item.database_id for item in items]),
            *find_unique_duplicates(aggregate.row, rows, places),
            *await _errors_of_new(work, aggregate, values, places),
        ]

    def may_conflict(items: Sequence[Any]) -> bool:
        return bool(unique_keys(aggregate.table)) or any(item.database_id is not None for item in items)

    async def check(work: UnitOfWork, command: Any) -> list[InputError]:
        items = getattr(command, plural) or []
        found = await errors(work, items)
        return await _with_taken(work, plural, single, items, found) if may_conflict(items) else found

    async def create_rows(work: UnitOfWork, items: Sequence[Any]) -> list[Any]:
        rows = [_new_row(work, aggregate, item, inputs.values_of(item, columns)) for item in items]
        added = await work.repository(repository_of(aggregate.row)).add_many(rows)
        await work.load_owners(added)
        for row in added:
            work.record_added([row])
            rules_of(aggregate.row).record(work, None, row)
        return added

    @describe_handler(model, create_many_text(aggregate), check)
    async def create_many(work: UnitOfWork, command: Any) -> Any:
        items = getattr(command, plural)
        found = await errors(work, items)
        if not may_conflict(items):
            raise_all(found)
            return await create_rows(work, items)
        raise_all(await _with_taken(work, plural, single, items, found) if found else [])
        with suppress(Conflict):
            async with work.savepoint():
                return await create_rows(work, items)
        return await run_each(work, single, items, [(plural, index) for index in range(len(items))])

    return create_many


async def _with_taken(
    work: UnitOfWork,
    plural: str,
    single: Callable[..., Any],
    items: Sequence[Any],
    errors: Sequence[InputError],
) -> list[InputError]:
    """The errors of items, with those that are only found when an item is stored, such as a value that is taken.

    They are in the order of the items. The items without errors are stored one by one. The caller rolls this back.
    """
    wrong = {part.path[:2] for error in errors for part in error.parts}
    places: list[Path] = [(plural, index) for index in range(len(items))]
    right = [
        (item, place) for item, place in zip(items, places, strict=True) if place not in wrong and not item.is_partial
    ]
    _, taken = await try_each(work, single, [item for item, _ in right], [place for _, place in right])
    parts = [part for error in [*errors, *taken] for part in error.parts]
    return sorted(parts, key=lambda error: error.path[:2])


def _create_each(aggregate: Aggregate, own: Callable[..., Any], doc: str) -> CommandHandler:
    """Creates several rows as the domain creates one row.

    The rules of the domain can create them together. If that fails, the domain's own handler runs for each row, to find
    out which of them are wrong.
    """
    plural, item, check = aggregate.plural, get_type_hints(own)["command"], registered_check(own)
    model = inputs.list_input(aggregate, item, aggregate.verb(Commands.CREATE), doc, aggregate.batch)

    async def duplicates(work: UnitOfWork, items: Sequence[Any]) -> list[InputError]:
        places: list[Path] = [(plural, index) for index in range(len(items))]
        ids = [each.database_id for each in items]
        others = await rules_of(aggregate.row).duplicates(work, items)
        return [
            *find_duplicates([(*place, "database_id") for place in places], ids),
            *find_unique_duplicates(aggregate.row, [dict(each) for each in items], places),
            *(error.prefix_path(plural) for error in others),
        ]

    async def errors(work: UnitOfWork, command: Any) -> list[InputError]:
        items = getattr(command, plural) or []
        found = await duplicates(work, items)
        known = {error.path for error in found}
        twins = {path[:2] for path in known}
        for index, each in enumerate(items):
            if check and ((plural, index) in twins or each.is_partial):
                own_errors = [error.prefix_path(plural, index) for error in await check(work, each)]
                found += [error for error in own_errors if error.path not in known]
        return await _with_taken(work, plural, own, items, found)

    @describe_handler(model, each_text(aggregate, to_camel_case(own.__name__)), errors)
    async def create_each(work: UnitOfWork, command: Any) -> Any:
        items = getattr(command, plural)
        if await duplicates(work, items):
            raise_all(await errors(work, command))
        together = rules_of(aggregate.row).create
        if together is not None:
            with suppress(InputError):
                async with work.savepoint():
                    return await together(work, items)
        return await run_each(work, own, items, [(plural, index) for index in range(len(items))])

    return create_each


def _new_row(work: UnitOfWork, aggregate: Aggregate, command: Any, values: Values) -> dict[str, Any]:
    completed = rules_of(aggregate.row).complete(work, None, values)
    row = {**values, **completed, "id": command.database_id, "created_at": work.now, "updated_at": work.now}
    if aggregate.owner is not None and row.get(aggregate.owner) is None:
        row[aggregate.owner] = work.viewer_id
    return row


async def _errors_of_new(
    work: UnitOfWork,
    aggregate: Aggregate,
    rows: Sequence[Values],
    places: Sequence[Path],
    *,
    checked: str | None = None,
) -> list[InputError]:
    """Errors of the values of new rows. The reference ``checked`` is checked by the database."""
    check = rules_of(aggregate.row).check
    errors = await _reference_errors(work, aggregate, rows, places, checked=checked)
    for values, place in zip(rows, places, strict=True):
        errors += [error.prefix_path(*place) for error in await check(work, None, values)]
    return errors


# changes


def update_handler(aggregate: Aggregate) -> CommandHandler:
    async def errors(work: UnitOfWork, command: Any) -> list[InputError]:
        return await _errors_of_changes(work, aggregate, [command], [()], await _lock(work, aggregate, [command.id]))

    @describe_handler(inputs.update_input(aggregate), update_text(aggregate), errors)
    async def update(work: UnitOfWork, command: Any) -> Any:
        rows = await _lock(work, aggregate, [command.id])
        raise_all(await _errors_of_changes(work, aggregate, [command], [()], rows))
        (row,) = await _apply_changes(work, aggregate, [command], rows)
        return row

    return update


def update_many_handler(aggregate: Aggregate, own: Callable[..., Any] | None) -> CommandHandler:
    plural = aggregate.plural
    doc = f"Changes of several {plural.replace('_', ' ')}, all or none."
    model = inputs.list_input(aggregate, inputs.update_input(aggregate), "update", doc, aggregate.batch)

    single, written = update_handler(aggregate), {column.name for column in aggregate.written(Writer.ON_UPDATE)}
    unique = [key.field for key in unique_keys(aggregate.table) if key.field in written]

    async def find_rows(work: UnitOfWork, items: Sequence[Any]) -> tuple[Mapping[UUID, Any], list[InputError]]:
        rows = await _lock(work, aggregate, [item.id for item in items])
        places: list[Path] = [(plural, index) for index in range(len(items))]
        return rows, await _errors_of_changes(work, aggregate, items, places, rows)

    def may_conflict(items: Sequence[Any]) -> bool:
        return any(provided_fields(item, *unique) for item in items)

    async def with_taken(work: UnitOfWork, items: Sequence[Any], errors: list[InputError]) -> list[InputError]:
        return await _with_taken(work, plural, single, items, errors) if may_conflict(items) else errors

    async def check(work: UnitOfWork, command: Any) -> list[InputError]:
        items = getattr(command, plural) or []
        return await with_taken(work, items, (await find_rows(work, items))[1])

    @describe_handler(model, update_many_text(aggregate), check)
    async def update_many(work: UnitOfWork, command: Any) -> Any:
        items = getattr(command, plural)
        rows, found = await find_rows(work, items)
        raise_all(await with_taken(work, items, found) if found else [])
        if not may_conflict(items):
            return await _apply_changes(work, aggregate, items, rows)
        with suppress(Conflict):
            async with work.savepoint():
                return await _apply_changes(work, aggregate, items, rows)
        return await run_each(work, single, items, [(plural, index) for index in range(len(items))])

    return update_many


async def _lock(work: UnitOfWork, aggregate: Aggregate, keys: Sequence[UUID | None]) -> Mapping[UUID, Any]:
    wanted = dict.fromkeys(key for key in keys if key is not None)
    return await work.repository(repository_of(aggregate.row)).lock_many(list(wanted)) if wanted else {}


async def _apply_changes(
    work: UnitOfWork, aggregate: Aggregate, commands: Sequence[Any], rows: Mapping[UUID, Any]
) -> list[Any]:
    pairs = [(rows[command.id], changed_columns(work, aggregate, rows[command.id], command)) for command in commands]
    effective = [(row, values) for row, values in pairs if values]
    changed = await work.repository(repository_of(aggregate.row)).change_many(effective) if effective else []
    await work.load_owners(changed)
    done = {row.id: row for row in changed}
    record = rules_of(aggregate.row).record
    for before, _ in effective:
        work.record_changed(before, done[before.id])
        record(work, before, done[before.id])
    return [done.get(row.id, row) for row, _ in pairs]


def changed_columns(work: UnitOfWork, aggregate: Aggregate, row: Any, command: Any) -> dict[str, Any]:
    """The columns to which a command gives another value, with those that follow from them."""
    values = changed_fields(work, row, inputs.provided_values(command, aggregate.written(Writer.ON_UPDATE)))
    return {**values, **rules_of(aggregate.row).complete(work, row, values)} if values else {}


async def _errors_of_changes(
    work: UnitOfWork,
    aggregate: Aggregate,
    commands: Sequence[Any],
    places: Sequence[Path],
    rows: Mapping[UUID, Any],
) -> list[InputError]:
    """The errors of the rows, their references and their unique values, and errors by the rules of the domain."""
    errors = find_duplicates([(*place, "id") for place in places], [command.id for command in commands])
    keys = {name for key in unique_keys(aggregate.table) for name in key.columns if name != key.field}
    unique: list[Values] = []
    wanted: list[Values] = []
    columns = aggregate.written(Writer.ON_UPDATE)
    check = rules_of(aggregate.row).check
    for command, place in zip(commands, places, strict=True):
        row = rows.get(command.id)
        provided = inputs.provided_values(command, columns)
        if row is None:
            errors += [NotFound.of(aggregate.noun, path=(*place, "id"))] if command.id is not None else []
            wanted.append({name: value for name, value in provided.items() if name in aggregate.references})
            unique.append({})
            continue
        expected = getattr(command, "version", None)
        if expected is not None and row.version != expected:
            errors.append(StaleVersion(row, path=(*place, "version")))
        values = changed_fields(work, row, provided)
        wanted.append(values)
        unique.append({name: getattr(row, name) for name in keys} | values)
        errors += [error.prefix_path(*place) for error in await check(work, row, values)]
    errors += find_unique_duplicates(aggregate.row, unique, places)
    errors += await _missing_owners(work, aggregate, commands, places, rows)
    return [*errors, *await _reference_errors(work, aggregate, wanted, places)]


async def _missing_owners(
    work: UnitOfWork, aggregate: Aggregate, commands: Sequence[Any], places: Sequence[Path], rows: Mapping[UUID, Any]
) -> list[InputError]:
    """An error for each row that belongs to a row that is deleted."""
    if aggregate.owner_reference is None:
        return []
    name, missing = aggregate.owner_reference, await work.find_missing_owners(list(rows.values()))
    noun = repository_of(aggregate.references[name].target).noun
    return [
        NotFound.of(noun, path=(*place, "id"))
        for command, place in zip(commands, places, strict=True)
        if command.id in rows and getattr(rows[command.id], name) in missing
    ]


# references


async def _reference_errors(
    work: UnitOfWork,
    aggregate: Aggregate,
    rows: Sequence[Values],
    places: Sequence[Path],
    *,
    checked: str | None = None,
) -> list[InputError]:
    """An error for each reference to a row that the viewer may not see, that has another owner, or that rules reject.

    One statement for each column that refers to something, none if no row does, and those of the rules. The rows cannot
    be deleted until the transaction ends.
    """
    checks = rules_of(aggregate.row).references
    errors: list[InputError] = []
    for name, reference in aggregate.references.items():
        if name == checked:
            continue
        keys = {values[name] for values in rows if values.get(name) is not None}
        known = await _referenced(work, reference, sorted(keys)) if keys else {}
        rejected = await checks[name](work, list(known.values())) if known and name in checks else {}
        for values, place in zip(rows, places, strict=True):
            key = values.get(name)
            if key is not None and key in rejected:
                errors.append(Conflict(rejected[key], path=(*place, name)))
            elif key is not None and key not in known:
                errors.append(NotFound.of(repository_of(reference.target).noun, path=(*place, name)))
    return errors


async def _referenced(work: UnitOfWork, reference: Reference, keys: Sequence[UUID]) -> Mapping[UUID, Any]:
    """The rows that a row of the viewer may refer to."""
    known: Mapping[UUID, Any] = await work.repository(repository_of(reference.target)).lock_for_reference(keys)
    if reference.shares is None:
        return known
    owner = reference.shares[1]
    return {key: row for key, row in known.items() if getattr(row, owner) == work.viewer_id}
