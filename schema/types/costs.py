"""Declares what fields cost, with the directives of IBM's GraphQL Cost Directives specification.

The functions that make fields (view.py, connections.py, mutation.py) add the directives to connections, plain lists
with ``first``, dashboard fields and mutations. Other plain lists take ``size=``, expensive fields take ``weight=``.
gateway/execution/cost.py computes the cost of an operation from these directives.
"""

from collections.abc import Mapping
from typing import Any

import strawberry
from strawberry.schema_directive import Location

from repositories.sql.page import DEFAULT_SIZE

MUTATION = 10
"""A unit of work: a transaction with its events and reactions."""

AGGREGATE = 5
"""A statement that reads many rows and returns few, such as a count."""

PATTERN = 20
"""A condition that looks for a text inside of texts, which no index answers. Other conditions cost 1."""

RANKING = 50
"""A statement that reads the rows of all users and returns few."""

REFRESH = 100
"""A statement that reads the rows of all users and writes its results."""


@strawberry.schema_directive(
    locations=[Location.FIELD_DEFINITION, Location.INPUT_FIELD_DEFINITION, Location.OBJECT],
    name="cost",
    description="On a field: the cost of a call in addition to the cost of its objects, 0 by default. On a type: the "
    "cost of each object, 1 by default. On a condition of a filter: its cost, 1 by default. See IBM's GraphQL Cost "
    "Directives specification.",
)
class Cost:
    weight: str = strawberry.directive_field(name="weight")


@strawberry.schema_directive(
    locations=[Location.FIELD_DEFINITION],
    name="listSize",
    description="List size that the cost is computed with: the greatest of the given slicing arguments (of a "
    "list, its length), otherwise the assumed size. With `sizedFields`, these fields of the returned object hold the "
    "list. See IBM's GraphQL Cost Directives specification.",
)
class ListSize:
    assumed_size: int | None = strawberry.directive_field(name="assumedSize", default=strawberry.UNSET)
    slicing_arguments: list[str] | None = strawberry.directive_field(name="slicingArguments", default=strawberry.UNSET)
    sized_fields: list[str] | None = strawberry.directive_field(name="sizedFields", default=strawberry.UNSET)
    require_one_slicing_argument: bool | None = strawberry.directive_field(
        name="requireOneSlicingArgument", default=True
    )


def cost(weight: int) -> Cost:
    return Cost(weight=str(weight))


NO_COST = cost(0)
"""For types that only wrap rows, which have a cost of their own."""

CONNECTION_SIZE = ListSize(
    assumed_size=DEFAULT_SIZE,
    slicing_arguments=["first", "last"],
    sized_fields=["edges", "nodes"],
    require_one_slicing_argument=False,
)


def assumed_size(size: int) -> ListSize:
    """The size of a list that no argument limits."""
    return ListSize(assumed_size=size, require_one_slicing_argument=strawberry.UNSET)


def sized_by(argument: str, sized_field: Any = strawberry.UNSET) -> ListSize:
    """The size of a list, or of the list in ``sized_field``, that an argument gives."""
    sized = sized_field and [sized_field]
    return ListSize(slicing_arguments=[argument], sized_fields=sized, require_one_slicing_argument=strawberry.UNSET)


def cost_directives(arguments: Mapping[str, Any], *, size: int | str | None = None, weight: int = 0) -> list[Any]:
    """The directives of a field.

    ``size`` is the size of its list or the name of the argument that gives it. Without ``size``, the argument is
    ``first`` if there is one. ``weight`` is the cost of a call.
    """
    directives: list[Any] = [cost(weight)] if weight else []
    if size is None and "first" in arguments:
        size = "first"
    if isinstance(size, str):
        directives.append(sized_by(size))
    elif size is not None:
        directives.append(assumed_size(size))
    return directives
