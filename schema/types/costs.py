"""What fields cost, said in the contract by the directives of IBM's GraphQL cost directives specification.

Who writes a domain need not think of it: the functions of the kit mark connections, plain lists with `first`, tiles and
mutations. A plain list of another length takes ``size=``, what is dear takes ``weight=``. How an operation's cost is
made of them is told in gateway/execution/cost.py.
"""

from collections.abc import Mapping
from typing import Any

import strawberry
from strawberry.schema_directive import Location

from repositories.sql.page import DEFAULT_SIZE

MUTATION = 10
"""A unit of work: a transaction with its events and reactions."""

AGGREGATE = 5
"""A statement that looks at many rows to answer with few: a tile, a count."""

REFRESH = 100
"""A statement that goes over everybody's rows and writes what it finds."""


@strawberry.schema_directive(
    locations=[Location.FIELD_DEFINITION, Location.OBJECT],
    name="cost",
    description="What a call of the field costs beyond the objects it answers with, by default 0; or what an object of "
    "the type costs, by default 1. IBM's GraphQL cost directives specification.",
)
class Cost:
    """`@cost`."""

    weight: str = strawberry.directive_field(name="weight")


@strawberry.schema_directive(
    locations=[Location.FIELD_DEFINITION],
    name="listSize",
    description="How long the list is taken to be: the greatest of the slicing arguments that are given (of a list, "
    "its length), otherwise the assumed size. With `sizedFields` the list is in those fields of the object that is "
    "answered. IBM's GraphQL cost directives specification.",
)
class ListSize:
    """`@listSize`."""

    assumed_size: int | None = strawberry.directive_field(name="assumedSize", default=strawberry.UNSET)
    slicing_arguments: list[str] | None = strawberry.directive_field(name="slicingArguments", default=strawberry.UNSET)
    sized_fields: list[str] | None = strawberry.directive_field(name="sizedFields", default=strawberry.UNSET)
    require_one_slicing_argument: bool | None = strawberry.directive_field(
        name="requireOneSlicingArgument", default=True
    )


def cost(weight: int) -> Cost:
    """The cost of a call, or of an object."""
    return Cost(weight=str(weight))


FREE = cost(0)
"""Of what only wraps something that is counted."""

PAGED = ListSize(
    assumed_size=DEFAULT_SIZE,
    slicing_arguments=["first", "last"],
    sized_fields=["edges", "nodes"],
    require_one_slicing_argument=False,
)
"""Of connections."""


def list_size(size: int) -> ListSize:
    """The size of a list that no argument bounds."""
    return ListSize(assumed_size=size, require_one_slicing_argument=strawberry.UNSET)


def sliced(argument: str, sized_field: Any = strawberry.UNSET) -> ListSize:
    """A list, or the list in ``sized_field``, that is as long as an argument says."""
    sized = sized_field and [sized_field]
    return ListSize(slicing_arguments=[argument], sized_fields=sized, require_one_slicing_argument=strawberry.UNSET)


def costs(arguments: Mapping[str, Any], *, size: int | str | None = None, weight: int = 0) -> list[Any]:
    """The directives of a field: its list is as long as ``first`` or the argument named ``size`` says, or ``size``."""
    made: list[Any] = [cost(weight)] if weight else []
    if size is None and "first" in arguments:
        size = "first"
    if isinstance(size, str):
        made.append(sliced(size))
    elif size is not None:
        made.append(list_size(size))
    return made
