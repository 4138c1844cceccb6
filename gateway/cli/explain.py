"""`siso explain`: prints the declaration of an aggregate and everything that is derived from it."""

import difflib
from collections.abc import Iterable, Iterator
from typing import Any
from uuid import UUID

from graphql import GraphQLInputObjectType, GraphQLObjectType, get_named_type
from graphql.utilities.print_schema import print_input_value

from gateway.cli.console import CommandError, print_result
from repositories.aggregates.derived import repository_of
from repositories.core.event import all_event_types
from repositories.core.viewer import Viewer
from repositories.permissions import RoleName
from repositories.sql.aggregate import Aggregate, aggregates
from repositories.sql.constraints import describe_constraints
from repositories.sql.filters import NO_FILTER, Compare, Filter, Op
from repositories.sql.lists import build_page
from repositories.sql.policy import compile_for_ddl, policies
from repositories.sql.statements import Engine, Statement, scope_of
from repositories.sql.table import Format, Writer, declared
from resolvers.aggregates.derived_inputs import bounds_text
from schema import schema


def explain(name: str) -> None:
    """Prints the facts of one aggregate, in sections."""
    print_result("\n".join(explanation(_find(name))))


def _find(name: str) -> Aggregate:
    by_name = {found.type_name: found for found in aggregates.values()}
    for known, found in by_name.items():
        if name.lower() in {known.lower(), found.plural}:
            return found
    near = difflib.get_close_matches(name, by_name, n=1)
    hint = f"Did you mean {near[0]}?" if near else f"There are {', '.join(sorted(by_name))}."
    raise CommandError(f"There is no aggregate {name}. {hint}")


def explanation(found: Aggregate) -> Iterator[str]:
    """The lines about an aggregate."""
    policy = policies[found.table]
    yield f"{found.type_name}  {found.table.schema}.{found.table.name}"
    yield from _section("Columns", _columns(found))
    owner = f"the column {found.owner}" if found.owner else "the viewer who acts"
    if found.owner_reference:
        owner = f"the owner of the row in the column {found.owner_reference}"
    yield from _section(
        "Policy",
        [
            f"read   {compile_for_ddl(policy.read)}",
            f"write  {compile_for_ddl(policy.write)}",
            f"roles that may read: {_roles(found.readers)}; that may write: {_roles(found.writers)}",
            f"owner of the events: {owner}",
        ],
    )
    yield from _section("Constraints", describe_constraints(found.table))
    yield from _section("Filters", _filters(found))
    yield from _section("Search", [", ".join(found.searched) or "none"])
    yield from _section("Sort keys", [*_names(column for column in found.table.columns if declared(column).sorted)])
    default = ", ".join(f"{key.column} {key.direction.value}" for key in found.order) or "id"
    yield from _section("Default order", [default])
    yield from _section("Groups", [*_names(found.grouped)])
    for title, root in (("Queries", "Query"), ("Mutations", "Mutation"), ("Subscriptions", "Subscription")):
        yield from _section(title, _root_fields(found, root))
    yield from _section("Events", sorted({kind.__name__ for kind in all_event_types() if kind.aggregate == found.name}))
    yield from _section("Statements", _statements(found))


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    """A title and its lines; nothing without lines."""
    shown = [f"  {line}" for line in lines]
    if shown:
        yield from ("", title, *shown)


def _columns(found: Aggregate) -> Iterator[str]:
    width = max(len(column.name) for column in found.table.columns)
    for column in found.table.columns:
        facts = declared(column)
        kind = getattr(facts.kind, "__name__", str(facts.kind)) + ("?" if column.nullable else "")
        yield f"{column.name:{width}}  {kind:12}  {', '.join(_facts(found, column))}".rstrip()
        if facts.description:
            yield f"{'':{width}}  {facts.description}"


def _facts(found: Aggregate, column: Any) -> Iterator[str]:
    """What the declaration of a column says, in words."""
    facts, reference = declared(column), found.references.get(column.name)
    if reference is not None:
        yield f"a {reference.target.__name__}"
    if bounds := bounds_text(column):
        yield bounds
    if facts.format is not None:
        yield facts.format.value if isinstance(facts.format, Format) else facts.format.regex
    if facts.input_default is not None:
        yield f"default {facts.input_default}"
    if facts.writer is not Writer.GATEWAY:
        yield {Writer.CLIENT: "written", Writer.ON_CREATE: "written once", Writer.ON_UPDATE: "changed"}[facts.writer]
    flags = ("single_line", "searched", "filtered", "sorted", "history", "encrypted", "secret")
    yield from (flag.replace("_", " ") for flag in flags if getattr(facts, flag))
    if not facts.description and column.name != "id":
        yield "hidden"
    for before, after in (facts.transitions or {}).items():
        yield f"{before.name} to {' or '.join(each.name for each in after) or 'nothing'}"


def _filters(found: Aggregate) -> Iterator[str]:
    """The conditions of the filter, with those on related rows."""
    kind = schema._schema.type_map.get(f"{found.type_name}Filter")  # noqa: SLF001 (Strawberry's only way to it)
    if isinstance(kind, GraphQLInputObjectType):
        others = {"and", "or", "not", "search"}
        yield from (f"{name}: {field.type}" for name, field in kind.fields.items() if name not in others)


def _names(columns: Iterable[Any]) -> Iterator[str]:
    yield ", ".join(column.name for column in columns) or "none"


def _roles(roles: Iterable[RoleName]) -> str:
    return ", ".join(sorted(role.value for role in roles)) or "none"


def _root_fields(found: Aggregate, root: str) -> Iterator[str]:
    """The root fields that return the type, its connection, or a payload with it."""
    kind = schema._schema.type_map[root]  # noqa: SLF001 (Strawberry's only way to graphql-core's schema)
    assert isinstance(kind, GraphQLObjectType)  # noqa: S101 (the root types are objects)
    wanted = {found.type_name, f"{found.type_name}Connection", f"{found.type_name}Change"}
    for name, field in kind.fields.items():
        returned = get_named_type(field.type)
        inner = (
            {get_named_type(each.type).name for each in returned.fields.values()}
            if isinstance(returned, GraphQLObjectType) and returned.name.endswith("Payload")
            else set()
        )
        if returned.name in wanted or found.type_name in inner:
            arguments = ", ".join(print_input_value(argument, given) for argument, given in field.args.items())
            yield f"{name}({arguments}): {field.type}" if arguments else f"{name}: {field.type}"


def _statements(found: Aggregate) -> Iterator[str]:
    """The SQL of a viewer without further roles, on PostgreSQL."""
    scope = scope_of(Engine.POSTGRESQL, Viewer(roles=frozenset({RoleName.USER})))
    repository = repository_of(found.row)
    own: Filter = NO_FILTER if found.assignee is None else Compare(str(found.owner), Op.EQ, UUID(int=0))
    named: dict[str, Statement[Any]] = {
        "rows by id": repository._statements.by_ids,  # noqa: SLF001 (shown, not run)
        "a page": build_page(found.row, None, own, repository.default_order, None, backwards=False),
    }
    for name, statement in named.items():
        yield f"{name}: {' '.join(statement.compile_for(scope).text.split())}"
