"""The handlers of commands, derived from the declaration of an aggregate.

A handler takes ``(work, command)`` and returns rows. A domain replaces a derived handler by a function of the same
name, and adds to all of them with :class:`Rules`. Every handler checks what it can before it raises, so that all errors
of an input are reported together.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, get_type_hints
from uuid import UUID

from repositories.aggregates.derived import repository_of
from repositories.aggregates.repository import Repository
from repositories.aggregates.unit_of_work import UnitOfWork
from repositories.core.errors import (
    Conflict,
    DanglingReference,
    InputError,
    NotFound,
    Path,
    StaleVersion,
    ValidationError,
)
from repositories.sql.aggregate import Aggregate, Commands, Reference
from repositories.sql.table import Table, Writer, declared
from resolvers.aggregates import derived_inputs as inputs
from resolvers.validation.command import (
    Command,
    changed_fields,
    check_version,
    locate_taken_id,
    raise_all,
)
from resolvers.validation.valid_parts import Handler, registered_check, reports

R = TypeVar("R", bound=Table)
T = TypeVar("T")
Values = Mapping[str, Any]


async def _no_errors(work: UnitOfWork, before: Any, values: Values) -> Sequence[InputError]:
    return ()


def _no_values(work: UnitOfWork, before: Any, values: Values) -> Values:
    return {}


def _no_events(work: UnitOfWork, before: Any, after: Any) -> None: ...


@dataclass(frozen=True, slots=True)
class Rules(Generic[R]):
    """What a domain adds to the commands that create and change rows of an aggregate.

    - ``check`` returns errors of new values. ``before`` is the row, or None for a new one. An invalid value is missing.
    - ``complete`` returns the values that follow from new values and that no client writes.
    - ``record`` records events in addition to the derived one. ``before`` is None for a new row.
    """

    check: Callable[[UnitOfWork, R | None, Values], Awaitable[Sequence[InputError]]] = _no_errors
    complete: Callable[[UnitOfWork, R | None, Values], Values] = _no_values
    record: Callable[[UnitOfWork, R | None, R], None] = _no_events


_rules: dict[type[Table], Rules[Any]] = {}
_NO_RULES: Rules[Any] = Rules()


def add_rules(row: type[R], rules: Rules[R]) -> None:
    """Adds rules to the commands of an aggregate."""
    _rules[row] = rules


@dataclass(frozen=True, slots=True)
class Derived:
    """A derived command: its handler, and whether it returns several rows."""

    handler: Callable[[UnitOfWork, Any], Awaitable[Any]]
    many: bool = False


def derive_commands(aggregate: Aggregate, custom: Mapping[str, Callable[..., Any]]) -> dict[str, Derived]:
    """The commands of an aggregate by name, without those that the domain replaces.

    ``custom`` are the domain's own handlers by name. A bulk command calls them for each row.
    """
    name, plural = aggregate.name, aggregate.plural
    single = {
        f"create_{name}": (Commands.CREATE, _create),
        f"update_{name}": (Commands.UPDATE, _update),
        f"delete_{name}": (Commands.DELETE, _delete),
        f"restore_{name}": (Commands.RESTORE, _restore),
        f"purge_{name}": (Commands.PURGE, _purge),
    }
    derived: dict[str, Derived] = {}
    for key, (command, derive) in single.items():
        if command in aggregate.commands and key not in custom:
            derived[key] = Derived(_named(derive(aggregate), key))
    bulk = {
        f"create_{plural}": (Commands.CREATE, _create_many),
        f"update_{plural}": (Commands.UPDATE, _update_many),
        f"delete_{plural}": (Commands.DELETE, _delete_many),
        f"restore_{plural}": (Commands.RESTORE, _restore_many),
    }
    for key, (command, derive_bulk) in bulk.items():
        own = custom.get(f"{key.partition('_')[0]}_{name}")
        if command in aggregate.commands and key not in custom:
            derived[key] = Derived(_named(derive_bulk(aggregate, own), key), many=True)
    return derived


def _named(handler: Handler, name: str) -> Handler:
    handler.__name__ = handler.__qualname__ = name
    return handler


def takes(command: type[Command]) -> Callable[[Handler], Handler]:
    """Declares the input of a domain's handler if it is derived: a variable, which annotations cannot name."""

    def annotate(handler: Handler) -> Handler:
        handler.__annotations__["command"] = command
        return handler

    return annotate


def _handler(command: type[Command], doc: str) -> Callable[[Handler], Handler]:
    """Gives a handler the annotation and the docstring from which its mutation is made."""

    def describe(handler: Handler) -> Handler:
        handler.__annotations__ = {"work": UnitOfWork, "command": command, "return": Any}
        handler.__doc__ = doc
        return handler

    return describe


# new rows


def _create(aggregate: Aggregate) -> Callable[[UnitOfWork, Any], Awaitable[Any]]:
    columns = aggregate.written(Writer.ON_CREATE)

    async def errors(work: UnitOfWork, command: Any) -> list[InputError]:
        return await _errors_of_new(work, aggregate, [inputs.values_of(command, columns)], [()])

    @reports(errors)
    @_handler(inputs.create_input(aggregate), _create_text(aggregate))
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
        _rules.get(aggregate.row, _NO_RULES).record(work, None, added)
        return added

    return create


def _reference_checked_by_database(aggregate: Aggregate, values: Values) -> str | None:
    """The only reference of a new row whose foreign key contains the owner. Inserting the row needs no check of it."""
    owned = [
        name
        for name, reference in aggregate.references.items()
        if reference.shares is not None and values.get(name) is not None
    ]
    return owned[0] if len(owned) == 1 else None


def _create_many(aggregate: Aggregate, own: Callable[..., Any] | None) -> Callable[[UnitOfWork, Any], Awaitable[Any]]:
    columns, plural = aggregate.written(Writer.ON_CREATE), aggregate.plural
    doc = f"New {plural.replace('_', ' ')}, all or none."
    if own is not None:
        return _create_each(aggregate, own, doc)
    model = inputs.list_input(aggregate, inputs.create_input(aggregate), "create", doc, aggregate.batch)

    async def errors(work: UnitOfWork, command: Any) -> list[InputError]:
        items = getattr(command, plural) or []
        places: list[Path] = [(plural, index) for index in range(len(items))]
        twins = _duplicates([(*place, "database_id") for place in places], [item.database_id for item in items])
        values = [inputs.values_of(item, columns) for item in items]
        return [*twins, *await _errors_of_new(work, aggregate, values, places)]

    @reports(errors)
    @_handler(model, f"Creates {plural.replace('_', ' ')}, all or none. The errors name each of them by its index.")
    async def create_many(work: UnitOfWork, command: Any) -> Any:
        raise_all(await errors(work, command))
        items = getattr(command, plural)
        rows = [_new_row(work, aggregate, item, inputs.values_of(item, columns)) for item in items]
        with _locate_conflict(plural), locate_taken_id(plural):
            added = await work.repository(repository_of(aggregate.row)).add_many(rows)
        await work.load_owners(added)
        for row in added:
            work.record_added([row])
            _rules.get(aggregate.row, _NO_RULES).record(work, None, row)
        return added

    return create_many


def _create_each(
    aggregate: Aggregate, own: Callable[..., Any], doc: str
) -> Callable[[UnitOfWork, Any], Awaitable[Any]]:
    """Creates several rows with the domain's own handler for one row."""
    plural, item, check = aggregate.plural, get_type_hints(own)["command"], registered_check(own)
    model = inputs.list_input(aggregate, item, "create", doc, aggregate.batch)

    def duplicates(items: Sequence[Any]) -> list[InputError]:
        places = [(plural, index, "database_id") for index in range(len(items))]
        return _duplicates(places, [each.database_id for each in items])

    async def errors(work: UnitOfWork, command: Any) -> list[InputError]:
        items = getattr(command, plural) or []
        found = duplicates(items)
        for index, each in enumerate(items):
            found += [error.prefix_path(plural, index) for error in await check(work, each)] if check else []
        return found

    @reports(errors)
    @_handler(model, f"Creates {plural.replace('_', ' ')}, all or none. The errors name each of them by its index.")
    async def create_each(work: UnitOfWork, command: Any) -> Any:
        items = getattr(command, plural)
        if duplicates(items):
            raise_all(await errors(work, command))
        return await _each(work, own, items, [(plural, index) for index in range(len(items))])

    return create_each


def _new_row(work: UnitOfWork, aggregate: Aggregate, command: Any, values: Values) -> dict[str, Any]:
    completed = _rules.get(aggregate.row, _NO_RULES).complete(work, None, values)
    row = {**values, **completed, "id": command.database_id, "created_at": work.now}
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
    check = _rules.get(aggregate.row, _NO_RULES).check
    errors = await _missing_references(work, aggregate, rows, places, checked=checked)
    for values, place in zip(rows, places, strict=True):
        errors += [error.prefix_path(*place) for error in await check(work, None, values)]
    return errors


# changes


def _update(aggregate: Aggregate) -> Callable[[UnitOfWork, Any], Awaitable[Any]]:
    async def errors(work: UnitOfWork, command: Any) -> list[InputError]:
        return await _errors_of_changes(work, aggregate, [command], [()], await _lock(work, aggregate, [command.id]))

    @reports(errors)
    @_handler(inputs.update_input(aggregate), _update_text(aggregate))
    async def update(work: UnitOfWork, command: Any) -> Any:
        (row,) = await _apply_changes(work, aggregate, [command], [()])
        return row

    return update


def _update_many(aggregate: Aggregate, own: Callable[..., Any] | None) -> Callable[[UnitOfWork, Any], Awaitable[Any]]:
    plural = aggregate.plural
    doc = f"Changes of several {plural.replace('_', ' ')}, all or none."
    model = inputs.list_input(aggregate, inputs.update_input(aggregate), "update", doc, aggregate.batch)

    def duplicates(items: Sequence[Any]) -> list[InputError]:
        return _duplicates([(plural, index, "id") for index in range(len(items))], [item.id for item in items])

    async def errors(work: UnitOfWork, command: Any) -> list[InputError]:
        items = getattr(command, plural) or []
        places: list[Path] = [(plural, index) for index in range(len(items))]
        rows = await _lock(work, aggregate, [item.id for item in items])
        return [*duplicates(items), *await _errors_of_changes(work, aggregate, items, places, rows)]

    @reports(errors)
    @_handler(model, f"Changes {plural.replace('_', ' ')}, all or none. The errors name each of them by its index.")
    async def update_many(work: UnitOfWork, command: Any) -> Any:
        items = getattr(command, plural)
        places: list[Path] = [(plural, index) for index in range(len(items))]
        with _locate_conflict(plural):
            return await _apply_changes(work, aggregate, items, places, duplicates(items))

    return update_many


@contextmanager
def _locate_conflict(plural: str) -> Iterator[None]:
    """Locates a unique value that is taken. The database does not tell which row of several has it."""
    try:
        yield
    except Conflict as error:
        if error.path[:1] != (plural,):
            error.path = (plural,)
        raise


async def _lock(work: UnitOfWork, aggregate: Aggregate, keys: Sequence[UUID | None]) -> Mapping[UUID, Any]:
    wanted = dict.fromkeys(key for key in keys if key is not None)
    return await work.repository(repository_of(aggregate.row)).lock_many(list(wanted)) if wanted else {}


async def _apply_changes(
    work: UnitOfWork,
    aggregate: Aggregate,
    commands: Sequence[Any],
    places: Sequence[Path],
    errors: Sequence[InputError] = (),
) -> list[Any]:
    rows = await _lock(work, aggregate, [command.id for command in commands])
    raise_all([*errors, *await _errors_of_changes(work, aggregate, commands, places, rows)])
    pairs = [(rows[command.id], _changes(work, aggregate, rows[command.id], command)) for command in commands]
    effective = [(row, values) for row, values in pairs if values]
    changed = await work.repository(repository_of(aggregate.row)).change_many(effective) if effective else []
    await work.load_owners(changed)
    done = {row.id: row for row in changed}
    record = _rules.get(aggregate.row, _NO_RULES).record
    for before, _ in effective:
        work.record_changed(before, done[before.id])
        record(work, before, done[before.id])
    return [done.get(row.id, row) for row, _ in pairs]


def _changes(work: UnitOfWork, aggregate: Aggregate, row: Any, command: Any) -> dict[str, Any]:
    """The columns that get another value, with those that follow from them."""
    values = changed_fields(work, row, inputs.provided_values(command, aggregate.written(Writer.ON_UPDATE)))
    return {**values, **_rules.get(aggregate.row, _NO_RULES).complete(work, row, values)} if values else {}


async def _errors_of_changes(
    work: UnitOfWork,
    aggregate: Aggregate,
    commands: Sequence[Any],
    places: Sequence[Path],
    rows: Mapping[UUID, Any],
) -> list[InputError]:
    """Missing and stale rows, missing references, and errors by the rules of the domain."""
    errors: list[InputError] = []
    wanted: list[Values] = []
    columns = aggregate.written(Writer.ON_UPDATE)
    check = _rules.get(aggregate.row, _NO_RULES).check
    for command, place in zip(commands, places, strict=True):
        row = rows.get(command.id)
        provided = inputs.provided_values(command, columns)
        if row is None:
            errors += [NotFound.of(aggregate.noun, path=(*place, "id"))] if command.id is not None else []
            wanted.append({name: value for name, value in provided.items() if name in aggregate.references})
            continue
        expected = getattr(command, "version", None)
        if expected is not None and row.version != expected:
            errors.append(StaleVersion(row, path=(*place, "version")))
        values = changed_fields(work, row, provided)
        wanted.append(values)
        errors += [error.prefix_path(*place) for error in await check(work, row, values)]
    return [*errors, *await _missing_references(work, aggregate, wanted, places)]


# references


async def _missing_references(
    work: UnitOfWork,
    aggregate: Aggregate,
    rows: Sequence[Values],
    places: Sequence[Path],
    *,
    checked: str | None = None,
) -> list[InputError]:
    """An error for each reference to a row that the viewer may not see, or that belongs to another owner.

    One statement for each column that refers to something, none if no row does. The rows cannot be deleted until the
    transaction ends.
    """
    errors: list[InputError] = []
    for name, reference in aggregate.references.items():
        if name == checked:
            continue
        keys = {values[name] for values in rows if values.get(name) is not None}
        known = await _referenced(work, reference, sorted(keys)) if keys else {}
        errors += [
            NotFound.of(repository_of(reference.target).noun, path=(*place, name))
            for values, place in zip(rows, places, strict=True)
            if values.get(name) is not None and values[name] not in known
        ]
    return errors


async def _referenced(work: UnitOfWork, reference: Reference, keys: Sequence[UUID]) -> Mapping[UUID, Any]:
    """The rows that a row of the viewer may refer to."""
    known: Mapping[UUID, Any] = await work.repository(repository_of(reference.target)).lock_for_reference(keys)
    if reference.shares is None:
        return known
    owner = reference.shares[1]
    return {key: row for key, row in known.items() if getattr(row, owner) == work.viewer_id}


def _duplicates(places: Sequence[Path], keys: Sequence[UUID | None]) -> list[InputError]:
    """An error for every key that is in the list before."""
    seen: set[UUID] = set()
    errors: list[InputError] = []
    for place, key in zip(places, keys, strict=True):
        if key in seen:
            errors.append(ValidationError("This one is in the list twice.", path=place))
        elif key is not None:
            seen.add(key)
    return errors


# deletion


def _delete(aggregate: Aggregate) -> Callable[[UnitOfWork, Any], Awaitable[Any]]:
    noun = aggregate.noun
    what = "It can be restored." if aggregate.is_soft_deleted else "It cannot be restored."

    @_handler(inputs.row_input(aggregate, "delete", f"The {noun} to delete."), f"Deletes {aggregate.a_noun}. {what}")
    async def delete(work: UnitOfWork, command: Any) -> Any:
        row = await work.repository(repository_of(aggregate.row)).lock(command.id)
        return await _in_use(work.delete(check_version(row, getattr(command, "version", None))), aggregate)

    return delete


def _restore(aggregate: Aggregate) -> Callable[[UnitOfWork, Any], Awaitable[Any]]:
    noun = aggregate.noun

    @_handler(inputs.row_input(aggregate, "restore", f"The deleted {noun} to restore."), f"Restores a deleted {noun}.")
    async def restore(work: UnitOfWork, command: Any) -> Any:
        row = await work.repository(repository_of(aggregate.row)).lock_deleted(command.id)
        return await work.restore(check_version(row, getattr(command, "version", None)))

    return restore


def _purge(aggregate: Aggregate) -> Callable[[UnitOfWork, Any], Awaitable[Any]]:
    noun = aggregate.noun
    doc = (
        f"Deletes {aggregate.a_noun} permanently that was deleted before. Its events remain in the audit log. "
        f"Returns the {noun} as it was. Returns the error CONFLICT if other objects refer to it."
    )

    @_handler(inputs.row_input(aggregate, "purge", f"The deleted {noun} to delete permanently."), doc)
    async def purge(work: UnitOfWork, command: Any) -> Any:
        row = await work.repository(repository_of(aggregate.row)).lock_deleted(command.id)
        check_version(row, getattr(command, "version", None))
        await _in_use(work.purge(row), aggregate)
        return row

    return purge


async def _in_use(deletion: Awaitable[T], aggregate: Aggregate) -> T:
    try:
        return await deletion
    except DanglingReference:
        raise Conflict(f"Other objects still refer to this {aggregate.noun}.", path=("id",)) from None


def _delete_many(aggregate: Aggregate, own: Callable[..., Any] | None) -> Callable[[UnitOfWork, Any], Awaitable[Any]]:
    plural = aggregate.plural.replace("_", " ")
    model = inputs.bulk_input(aggregate, "delete", f"The {plural} to delete, all or none.")

    @_handler(model, f"Deletes {plural}, all or none. The errors name each of them by its index.")
    async def delete_many(work: UnitOfWork, command: Any) -> Any:
        _check_ids(command.ids)
        if own is not None or not aggregate.is_soft_deleted:
            single = own or _delete(aggregate)
            return await _one_by_one(work, single, "delete", aggregate, command.ids)
        rows = await work.repository(repository_of(aggregate.row)).lock_many(command.ids)
        return await _mark(work, aggregate, rows, command.ids, work.record_deleted, deleted_at=work.now)

    return delete_many


def _restore_many(aggregate: Aggregate, own: Callable[..., Any] | None) -> Callable[[UnitOfWork, Any], Awaitable[Any]]:
    plural = aggregate.plural.replace("_", " ")
    model = inputs.bulk_input(aggregate, "restore", f"The deleted {plural} to restore, all or none.")

    @_handler(model, f"Restores deleted {plural}, all or none. The errors name each of them by its index.")
    async def restore_many(work: UnitOfWork, command: Any) -> Any:
        _check_ids(command.ids)
        if own is not None:
            return await _one_by_one(work, own, "restore", aggregate, command.ids)
        rows = await work.repository(repository_of(aggregate.row)).lock_many_deleted(command.ids)
        return await _mark(work, aggregate, rows, command.ids, work.record_restored, deleted_at=None)

    return restore_many


def _check_ids(ids: Sequence[UUID]) -> None:
    raise_all(_duplicates([("ids", index) for index in range(len(ids))], ids))


async def _mark(
    work: UnitOfWork,
    aggregate: Aggregate,
    rows: Mapping[UUID, Any],
    ids: Sequence[UUID],
    record: Callable[[Any], None],
    **values: Any,
) -> list[Any]:
    """Changes the same values of all rows."""
    raise_all([NotFound.of(aggregate.noun, path=("ids", at)) for at, key in enumerate(ids) if key not in rows])
    repository: Repository[Any] = work.repository(repository_of(aggregate.row))
    changed = await repository.change_many([(rows[key], values) for key in ids])
    await work.load_owners(changed)
    for row in changed:
        record(row)
    return changed


async def _one_by_one(
    work: UnitOfWork, single: Callable[..., Any], verb: str, aggregate: Aggregate, ids: Sequence[UUID]
) -> list[Any]:
    """Runs a command for each row in the order of their ids, so that concurrent commands do not wait for each other."""
    command: Any = inputs.row_input(aggregate, verb, "")
    order = sorted(range(len(ids)), key=ids.__getitem__)
    places: list[Path] = [("ids", index) for index in order]
    rows = await _each(work, single, [command(id=ids[index]) for index in order], places, names_fields=False)
    return [row for _, row in sorted(zip(order, rows, strict=True))]


async def _each(
    work: UnitOfWork,
    single: Callable[..., Any],
    commands: Sequence[Any],
    places: Sequence[Path],
    *,
    names_fields: bool = True,
) -> list[Any]:
    """Runs several commands, and raises the errors of all of them together, in the order of their places.

    Each runs in a savepoint, because PostgreSQL executes no statement after one that failed.
    """
    done: list[Any] = []
    errors: list[InputError] = []
    for command, place in zip(commands, places, strict=True):
        try:
            async with work.savepoint():
                done.append(await single(work, command))
        except InputError as error:
            for part in error.parts:
                part.path = (*place, *part.path) if names_fields else place
                errors.append(part)
    raise_all(sorted(errors, key=lambda error: error.path[:2]))
    return done


# descriptions


def _create_text(aggregate: Aggregate) -> str:
    owner = None if aggregate.owner is None else aggregate.table.c[aggregate.owner]
    owned = " of the viewer" if owner is not None and declared(owner).writer is Writer.GATEWAY else ""
    return f"Creates {aggregate.a_noun}{owned}. {_errors_text(aggregate, Writer.ON_CREATE)}"


def _update_text(aggregate: Aggregate) -> str:
    stale = "Returns the error STALE_VERSION if it was changed since. " if aggregate.is_versioned else ""
    return f"Changes {aggregate.a_noun}. {stale}{_errors_text(aggregate, Writer.ON_UPDATE)}"


def _errors_text(aggregate: Aggregate, writer: Writer) -> str:
    written = {column.name for column in aggregate.written(writer)}
    missing = [reference.field.replace("_", " ") for name, reference in aggregate.references.items() if name in written]
    found = f"NOT_FOUND if the {' or the '.join(missing)} does not exist, " if missing else ""
    return f"Possible errors: VALIDATION_ERROR, {found}CONFLICT if a unique value is taken, QUOTA_EXCEEDED."
