"""Declares aggregates, which are the tables whose rows clients read and change.

    aggregate(Note, read=owner(Note.user_id) | role(RoleName.ADMIN), write=owner(Note.user_id))

declares the policy of the table and makes it an aggregate. From this declaration and those of the columns
(``column`` in table.py), the layers derive the following. `siso explain Note` prints it for one aggregate.

| derived                                                              | by                                |
|----------------------------------------------------------------------|-----------------------------------|
| CHECK constraints, row-level security                                | repositories/sql                  |
| the repository, and events with the fields that changed              | repositories/aggregates           |
| inputs and handlers of commands, and their errors                    | resolvers/aggregates              |
| GraphQL type, filter, order and groups, root fields, mutations       | schema/aggregates                 |

Custom behaviour is a function of the domain with the name of the derived one, which it replaces.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa

from repositories.permissions import RoleName
from repositories.sql import types
from repositories.sql.aggregate_contradictions import check_aggregate
from repositories.sql.aggregate_options import ACTOR, Actor, Commands, Through, through
from repositories.sql.declarations import reference_keys
from repositories.sql.filters import SortKey
from repositories.sql.policy import SERVICE_ONLY, Policy, Roles, Rule, policies, policy
from repositories.sql.table import DeclarationError, Inverse, Table, Writer, declared

__all__ = [
    "ACTOR",
    "Aggregate",
    "Commands",
    "Reference",
    "Through",
    "aggregate",
    "aggregates",
    "inverses_of",
    "through",
]


@dataclass(frozen=True, slots=True)
class Reference:
    """A column that refers to a row of another table (or of the same one)."""

    column: sa.Column[Any]
    target: type[Table]
    inverse: Inverse | None
    shares: tuple[str, str] | None
    """A column of this row and one of the target that must be equal, by a composite foreign key: the owners."""

    @property
    def field(self) -> str:
        """The name of the edge: that of the column without ``_id``."""
        return self.column.name.removesuffix("_id")


@dataclass(frozen=True, eq=False)
class Aggregate:
    """One aggregate.

    ``owner`` is the name of the column with the owner's id. If it is None, ``owner_reference`` is the name of the
    column that refers to the row with the same owner. If both are None, the viewer who acts owns the events.
    """

    row: type[Table]
    noun: str
    plural: str
    owner: str | None
    order: tuple[SortKey, ...]
    order_text: str
    rows_text: str
    commands: Commands
    batch: int
    roots: frozenset[RoleName] | None
    """The roles whose viewers may use the root fields of queries. None: all that may see some of the rows."""
    owner_reference: str | None = None
    assignee: str | None = None
    """The column with the second user who may read a row, None if the policy names no second one."""
    parent: str | None = None
    """The name of the column that refers to the row of which the row is a part."""
    verbs: Mapping[Commands, str] = field(default_factory=dict)
    """The verbs of commands that are not named after the command."""

    def verb(self, command: Commands) -> str:
        """The verb of a command in the names of its mutations and inputs, such as create."""
        return self.verbs.get(command, str(command.name).lower())

    @property
    def a_noun(self) -> str:
        """The word for a row with its article."""
        return f"{'an' if self.noun[0] in 'aeio' else 'a'} {self.noun}"

    @property
    def has_owner(self) -> bool:
        """Whether rows have an owner, other than the viewer who acts."""
        return self.owner is not None or self.owner_reference is not None

    @property
    def table(self) -> sa.Table:
        return self.row.__table__

    @property
    def type_name(self) -> str:
        """The name of the GraphQL type."""
        return self.row.__name__

    @cached_property
    def name(self) -> str:
        """The name in snake case: the type of its events, and part of the names of its commands."""
        return re.sub("(?<!^)(?=[A-Z])", "_", self.row.__name__).lower()

    @property
    def is_versioned(self) -> bool:
        return "version" in self.table.c

    @property
    def is_soft_deleted(self) -> bool:
        return "deleted_at" in self.table.c

    @cached_property
    def published(self) -> tuple[sa.Column[Any], ...]:
        """The columns that clients see, in the order of their declaration."""
        return tuple(column for column in self.table.columns if declared(column).description and column.name != "id")

    @cached_property
    def searched(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.table.columns if declared(column).searched)

    @cached_property
    def history(self) -> frozenset[str]:
        """The columns whose values before and after a change are in the events."""
        return frozenset(column.name for column in self.table.columns if declared(column).history)

    def written(self, *writers: Writer) -> list[sa.Column[Any]]:
        """The columns in the inputs of these writers and of both."""
        return [column for column in self.published if declared(column).writer in {Writer.CLIENT, *writers}]

    @cached_property
    def references(self) -> dict[str, Reference]:
        """The references to other tables, by the name of the column."""
        return {column.name: found for column in self.table.columns if (found := _reference(column)) is not None}

    @cached_property
    def grouped(self) -> tuple[sa.Column[Any], ...]:
        """The columns by which rows are counted in groups: those that filters know and that have few values."""
        return tuple(
            column
            for column in self.published
            if declared(column).filtered
            and (isinstance(column.type, types.Choice | types.Flag) or column.name in self.references)
        )

    def reads_all(self, roles: Roles) -> bool:
        """Whether viewers with these roles may read the rows of all users."""
        return _is_always_true(policies[self.table].read, roles)

    @property
    def is_public(self) -> bool:
        """Whether callers who are not signed in may read all rows too."""
        return self.reads_all(frozenset())

    @property
    def readers(self) -> frozenset[RoleName]:
        """The roles whose viewers may see some of the rows."""
        return policies[self.table].read.roles

    @property
    def writers(self) -> frozenset[RoleName]:
        """The roles whose viewers may change some of the rows."""
        return self.readers & policies[self.table].write.roles


@cache
def _is_always_true(rule: Rule, roles: Roles) -> bool:
    """Computed once, because every list of such rows asks for it."""
    return isinstance(rule.condition(roles), sa.True_)


def _reference(column: sa.Column[Any]) -> Reference | None:
    for key in reference_keys(column):
        elements = key.constraint.elements if key.constraint is not None else []
        others = [(str(each.parent.name), str(each.column.name)) for each in elements if each is not key]
        return Reference(column, key.column.table.info["row"], declared(column).inverse, others[0] if others else None)
    return None


aggregates: dict[type[Table], Aggregate] = {}
"""All aggregates, in the order of their declaration."""


def aggregate(  # noqa: PLR0913 (the properties of an aggregate)
    row: type[Table],
    *,
    read: Rule,
    write: Rule = SERVICE_ONLY,
    order: Sequence[SortKey] = (),
    order_text: str = "",
    rows_text: str = "",
    owner: sa.Column[Any] | Through | Actor | None = None,
    commands: Commands | None = None,
    batch: int = 100,
    roots: Iterable[RoleName] | None = None,
    noun: str = "",
    plural: str = "",
    parent: sa.Column[Any] | None = None,
    verbs: Mapping[Commands, str] = MappingProxyType({}),
) -> None:
    """Declares the policy of a table and makes the table an aggregate.

    - ``order``, ``order_text``: the default order of lists, and the same in words, such as "the newest first".
    - ``rows_text``: the rows of a list in words, by default "notes that the viewer may see".
    - ``owner``: the column with the owner of a row, by default that of ``owner(...)`` in ``read``; or
      ``through(column)``, the owner of another row; or ACTOR.
    - ``commands``: the derived commands, by default all that are possible. Without ``write`` there are none.
    - ``batch``: how many rows one command can create or change.
    - ``roots``: the roles whose viewers may use the root fields of queries, by default all that may see some of the
      rows. If it is empty, there are no such fields.
    - ``noun``, ``plural``: the words for a row and for rows, by default from the names of the class and the table.
    - ``parent``: the column that refers to the row of which a row is a part. Deletions and restorations lock that row
      first, and a row cannot be restored while that row is deleted.
    - ``verbs``: verbs of mutations that differ from the names of the commands, such as "remove" for DELETE.
    """
    table = row.__table__
    owned = owner if owner is not None else read.owner
    check_aggregate(
        Policy(table, read, write), owner=owned, commands=commands, order=order, batch=batch, roots=roots, parent=parent
    )
    derived = Commands.NONE if write is SERVICE_ONLY else Commands.ALL if commands is None else commands
    if "deleted_at" not in table.c:
        derived &= ~(Commands.RESTORE | Commands.PURGE)
    found = Aggregate(
        row=row,
        noun=noun or re.sub("(?<!^)(?=[A-Z])", " ", row.__name__).lower(),
        plural=plural or table.name,
        owner=str(owned.name) if isinstance(owned, sa.Column) else None,
        order=tuple(order),
        order_text=order_text,
        rows_text=rows_text,
        commands=derived,
        batch=batch,
        owner_reference=str(owned.column.name) if isinstance(owned, Through) else None,
        assignee=next((str(column.name) for column in read.people[1:]), None),
        roots=None if roots is None else frozenset(roots),
        parent=None if parent is None else str(parent.name),
        verbs=verbs,
    )
    _check_names(found)
    policy(row, read=read, write=write)
    aggregates[row] = found


def _check_names(new: Aggregate) -> None:
    """Raises DeclarationError if root fields or types of the aggregate would replace others."""
    has_fields = bool(new.commands) or new.roots != frozenset()
    if new.name == new.plural and has_fields:
        raise DeclarationError(new.table.name, f"{new.name} is both the name and the plural; use another `plural`")
    for known in aggregates.values():
        if known.row is new.row:
            raise DeclarationError(new.table.name, "the table is an aggregate already")
        for name in sorted({new.name, new.plural} & {known.name, known.plural}):
            reason = f"{name} is also the name or the plural of {known.table.name}; use another name or `plural`"
            raise DeclarationError(new.table.name, reason)


def inverses_of(row: type[Table]) -> Iterator[tuple[Aggregate, Reference]]:
    """The references of other aggregates to this one that declare a field for the inverse."""
    for found in aggregates.values():
        for reference in found.references.values():
            if reference.target is row and reference.inverse is not None:
                yield found, reference
