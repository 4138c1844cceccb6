"""Contradictions in the declaration of an aggregate. The first one raises DeclarationError when it is declared."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from repositories.permissions import RoleName
from repositories.sql import types
from repositories.sql.aggregate_options import Actor, Commands, Through
from repositories.sql.declarations import DeclarationError, declared, place_of, reference_keys
from repositories.sql.filters import SortKey
from repositories.sql.policy import Policy

Contradictions = Iterator[tuple[str, str]]
"""The place of an error, which is a table or one of its columns, and the reason."""


def check_aggregate(  # noqa: PLR0913 (the properties of an aggregate)
    policy: Policy,
    *,
    owner: sa.Column[Any] | Through | Actor | None,
    commands: Commands | None,
    order: Sequence[SortKey],
    batch: int,
    roots: Iterable[RoleName] | None,
    parent: sa.Column[Any] | None,
) -> None:
    """Raises DeclarationError if arguments of ``aggregate()`` contradict the table or each other."""
    for rules in (
        _rules_of_owners(policy.table, owner, commands),
        _rules_of_parents(policy.table, parent),
        _rules_of_orders(policy.table, order),
        _rules_of_commands(policy, commands or Commands.NONE, batch),
        _rules_of_roots(policy, frozenset(roots or ())),
    ):
        for place, reason in rules:
            raise DeclarationError(place, reason)


def _rules_of_owners(
    table: sa.Table, owner: sa.Column[Any] | Through | Actor | None, commands: Commands | None
) -> Contradictions:
    """Rows without commands can lack an owner, because the owner is that of the events of commands."""
    if owner is None:
        yield table.name, "the policy names no owner; declare `owner=`, a column, through() or ACTOR"
    if not isinstance(owner, sa.Column | Through):
        return
    column = owner.column if isinstance(owner, Through) else owner
    yield from _rules_of_own_columns(table, column, "owner", nullable=commands is Commands.NONE)
    if isinstance(owner, Through) and not reference_keys(column):
        yield place_of(column), "through() needs a column that references a table"
    if declared(column).kind is not UUID:
        yield place_of(column), "the owner must be the id of a user"


def _rules_of_parents(table: sa.Table, parent: sa.Column[Any] | None) -> Contradictions:
    if parent is None:
        return
    yield from _rules_of_own_columns(table, parent, "parent")
    if not reference_keys(parent):
        yield place_of(parent), "the parent must be a column that references a table"


def _rules_of_own_columns(
    table: sa.Table, column: sa.Column[Any], use: str, *, nullable: bool = False
) -> Contradictions:
    if column.table is not table:
        yield place_of(column), f"the {use} of {table.name} must be a column of that table"
    if column.nullable and not nullable:
        yield place_of(column), f"the {use} must not be null"


def _rules_of_orders(table: sa.Table, order: Sequence[SortKey]) -> Contradictions:
    for key in order:
        place = f"{table.name}.{key.column}"
        if key.column not in table.c:
            yield place, "the default order names a column that does not exist"
        elif declared(table.c[key.column]).secret or isinstance(table.c[key.column].type, types.Json):
            yield place, "the default order names a secret, encrypted or JSON column"


def _rules_of_commands(policy: Policy, commands: Commands, batch: int) -> Contradictions:
    table = policy.table
    if commands and not policy.write.roles:
        yield table.name, "it has commands, but the policy lets no viewer write; declare `write=`"
    if commands & (Commands.RESTORE | Commands.PURGE) and "deleted_at" not in table.c:
        yield f"{table.name}.deleted_at", "the commands RESTORE and PURGE need this column"
    if batch < 1:
        yield table.name, "`batch` must be 1 or more"


def _rules_of_roots(policy: Policy, roots: frozenset[RoleName]) -> Contradictions:
    for name in sorted(roots - policy.read.roles):
        yield policy.table.name, f"viewers with the role {name} have root fields, but may not read any row"
