"""The descriptions of the derived commands, for frontend developers: what they do, and which errors they can have."""

import inspect
from collections.abc import Sequence
from typing import Any

from strawberry.utils.str_converters import to_camel_case

from repositories.aggregates.derived import repository_of
from repositories.sql.aggregate import Aggregate, Commands
from repositories.sql.constraints import unique_keys
from repositories.sql.table import Writer, declared
from resolvers.aggregates.rules import Dependents, rules_of


def create_text(aggregate: Aggregate) -> str:
    owned = " of the viewer" if _is_of_viewer(aggregate) else ""
    return f"Creates {aggregate.a_noun}{owned}. {_errors_text(aggregate, Writer.ON_CREATE)}"


def create_many_text(aggregate: Aggregate) -> str:
    errors = _errors_text(aggregate, Writer.ON_CREATE, many=True)
    return f"Creates {_words(aggregate)}, all or none. {errors}"


def update_text(aggregate: Aggregate) -> str:
    return f"Changes {aggregate.a_noun}. {_change_errors_text(aggregate)}"


def update_many_text(aggregate: Aggregate) -> str:
    text = f"Changes {_words(aggregate)}, all or none. {_change_errors_text(aggregate, many=True)}"
    fields = _unique_names(aggregate, Writer.ON_UPDATE)
    return (
        f"{text} Two {_words(aggregate)} cannot swap their {' or '.join(fields)}: this is a CONFLICT."
        if fields
        else text
    )


def _change_errors_text(aggregate: Aggregate, *, many: bool = False) -> str:
    missing = [aggregate.noun]
    if aggregate.owner_reference is not None:
        missing.append(repository_of(aggregate.references[aggregate.owner_reference].target).noun)
    more = ["STALE_VERSION if it was changed since"] if aggregate.is_versioned else []
    if rules := rules_of(aggregate.row).errors:
        more.append(rules)
    return _errors_text(aggregate, Writer.ON_UPDATE, missing=missing, more=more, many=many)


def delete_text(aggregate: Aggregate) -> str:
    what = "It can be restored." if aggregate.is_soft_deleted else "It cannot be restored."
    return _lines(f"Deletes {aggregate.a_noun}. {what}", rules_of(aggregate.row).delete, _row_errors_text(aggregate))


def delete_many_text(aggregate: Aggregate) -> str:
    return _many_text("Deletes", aggregate, Commands.DELETE, delete_text(aggregate))


def restore_text(aggregate: Aggregate) -> str:
    kept = [
        key.field for key in unique_keys(aggregate.table) if key.field not in rules_of(aggregate.row).values_of_deleted
    ]
    taken = [f"the `{to_camel_case(name)}` is taken by now" for name in kept]
    if aggregate.parent is not None:
        taken.append(f"the {repository_of(aggregate.references[aggregate.parent].target).noun} is deleted")
    errors = _row_errors_text(aggregate, *([f"CONFLICT if {' or if '.join(taken)}"] if taken else []))
    return _lines(f"Restores a deleted {aggregate.noun}.", rules_of(aggregate.row).restore, errors)


def restore_many_text(aggregate: Aggregate) -> str:
    return _many_text("Restores deleted", aggregate, Commands.RESTORE, restore_text(aggregate))


def _many_text(what: str, aggregate: Aggregate, command: Commands, single: str) -> str:
    """``single`` is the description of the command on one row."""
    name = f"`{to_camel_case(f'{aggregate.verb(command)}_{aggregate.name}')}`"
    conflict = [f"CONFLICT as for {name}"] if "CONFLICT" in single else []
    return (
        f"{what} {_words(aggregate)} as {name} does, all or none. {_row_errors_text(aggregate, *conflict, many=True)}"
    )


def each_text(aggregate: Aggregate, single: str) -> str:
    """For a bulk command that creates each row as the domain's own command does."""
    verb = aggregate.verb(Commands.CREATE).capitalize()
    what = f"{verb}s {_words(aggregate)} as `{single}` does, all or none."
    return f"{what} Possible errors: those of `{single}`, with the index in `field`."


def purge_text(aggregate: Aggregate) -> str:
    text = (
        f"Permanently deletes {aggregate.a_noun} that is in the trash. Its events remain in the audit log. "
        f"Returns the {aggregate.noun} as it was."
    )
    errors = _row_errors_text(aggregate, "CONFLICT if other objects refer to it")
    return _lines(text, rules_of(aggregate.row).purge, errors)


def transition_text(aggregate: Aggregate, doc: str, errors: str) -> str:
    """``errors`` are the codes of the errors of the domain with their causes."""
    return f"{' '.join(doc.split())} {_row_errors_text(aggregate, *([errors] if errors else []))}"


def _lines(text: str, dependents: Dependents[Any], errors: str) -> str:
    return " ".join(" ".join(part.split()) for part in (text, inspect.getdoc(dependents) or "", errors) if part)


def _row_errors_text(aggregate: Aggregate, *more: str, many: bool = False) -> str:
    stale = ["STALE_VERSION"] if aggregate.is_versioned and not many else []
    missing = "NOT_FOUND"
    if aggregate.owner_reference is not None:
        target = repository_of(aggregate.references[aggregate.owner_reference].target)
        missing += f" if the {aggregate.noun} or its {target.noun} does not exist"
    return _possible(["VALIDATION_ERROR"] * many + [missing, *stale, *more], many=many)


def _possible(errors: Sequence[str], of_account: Sequence[str] = (), *, many: bool = False) -> str:
    """``errors`` of a command on ``many`` rows have the index of the row in their paths, ``of_account`` have not."""
    if many:
        indexed = f"{', '.join(errors)}, with the index in `field`"
        return f"Possible errors: {'; '.join([indexed, *of_account])}."
    every = [*errors, *of_account]
    return f"Possible error{'s' if len(every) > 1 else ''}: {', '.join(every)}."


def _words(aggregate: Aggregate) -> str:
    return aggregate.plural.replace("_", " ")


def _unique_names(aggregate: Aggregate, writer: Writer) -> list[str]:
    """The names of the unique fields that clients write, as code."""
    written = {column.name for column in aggregate.written(writer)}
    return [f"`{to_camel_case(name)}`" for name, _, _ in unique_keys(aggregate.table) if name in written]


def _is_of_viewer(aggregate: Aggregate) -> bool:
    """Whether the rows belong to the viewer who creates them. Only these count towards the quota of an account."""
    owner = None if aggregate.owner is None else aggregate.table.c[aggregate.owner]
    return owner is not None and declared(owner).writer is Writer.GATEWAY


def _errors_text(
    aggregate: Aggregate,
    writer: Writer,
    *,
    missing: Sequence[str] = (),
    more: Sequence[str] = (),
    many: bool = False,
) -> str:
    """The codes of the errors that a command can have, with their causes.

    ``missing`` are nouns of rows that may not exist, ``more`` are errors, in addition to what the columns declare.
    """
    written = {column.name for column in aggregate.written(writer)}
    references = {name: each for name, each in aggregate.references.items() if name in written}
    nouns = [*missing, *(reference.field.replace("_", " ") for reference in references.values())]
    taken = [*_unique_names(aggregate, writer), *(["`databaseId`"] if writer is Writer.ON_CREATE else [])]
    checks = rules_of(aggregate.row).references
    rejected = [(inspect.getdoc(checks[name]) or "").rstrip(".") for name in references if name in checks]
    return _possible(
        [
            "VALIDATION_ERROR",
            *([f"NOT_FOUND if the {' or the '.join(nouns)} does not exist"] if nouns else []),
            *more,
            *rejected,
            *([f"CONFLICT if the {' or the '.join(taken)} is taken"] if taken else []),
        ],
        ["QUOTA_EXCEEDED"] if _is_of_viewer(aggregate) else [],
        many=many,
    )
