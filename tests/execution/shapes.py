"""A small schema of everything that an operation can meet."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated, Any

import strawberry


@dataclass
class Log:
    """The context: what was called, in order, and what some fields wait for."""

    told: list[str] = field(default_factory=list)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    never: asyncio.Event = field(default_factory=asyncio.Event)


class Size(Enum):
    """Values that are no names."""

    SMALL = (0, 1)
    LARGE = ("x",)


strawberry.enum(Size)


@strawberry.interface
class Shape:
    """Has a name and a size."""

    name: str
    size: Size | None = None

    @classmethod
    def resolve_type(cls, value: Any, _info: Any, _type: Any) -> str:
        """By the name of its class."""
        return str(type(value).__name__)


@strawberry.type
class Circle(Shape):
    """Round."""

    radius: float = 1.5


@strawberry.type
class Square(Shape):
    """Not round."""

    side: int = 2

    @strawberry.field
    async def inner(self) -> Annotated["Square", strawberry.lazy("tests.execution.shapes")]:
        """Awaited, for each by itself."""
        await asyncio.sleep(0)
        if self.side > 3:
            message = f"{self.name} has none"
            raise ValueError(message)
        return Square(name=f"in {self.name}", side=self.side + 1)


def some_shapes() -> list[Any]:
    return [
        Circle(name="a", size=Size.SMALL),
        None,
        Square(name="b", size=Size.LARGE, side=3),
        Circle(name="c", radius=0.0),
    ]


@strawberry.type
class Query:
    """The root of what is read."""

    @strawberry.field
    def shapes(self) -> list[Shape | None]:
        """Of several types, and none."""
        return some_shapes()

    @strawberry.field
    def pairs(self) -> list[list[Annotated[Circle | Square, strawberry.union("Form")] | None] | None]:
        """Lists of lists of objects."""
        first, nothing, *rest = some_shapes()
        return [[first, nothing], None, [], rest]

    @strawberry.field
    def numbers(self) -> list[list[list[int] | None]]:
        """Lists of lists of leaves."""
        return [[[1, 2], None, []], []]

    @strawberry.field
    def sizes(self) -> list[Size]:
        """An enum."""
        return [Size.LARGE, Size.SMALL]

    @strawberry.field
    async def failing(self, info: strawberry.Info[Log]) -> int:
        """Makes all data null."""
        info.context.told.append("failing")
        await asyncio.sleep(0)
        message = "no number"
        raise ValueError(message)

    @strawberry.field
    async def hanging(self, info: strawberry.Info[Log]) -> str | None:
        """Waits for what never comes."""
        info.context.told.append("hanging")
        info.context.begun.set()
        try:
            await info.context.never.wait()
        except asyncio.CancelledError:
            info.context.told.append("cancelled")
            raise
        return "never"

    @strawberry.field
    def square(self) -> Square:
        """One object."""
        return Square(name="s", side=2)

    @strawberry.field
    def plain() -> str:
        """A function of nothing."""
        return "plain"

    broken: str | None = strawberry.field(resolver=lambda: dict[str, str]()["key"])


def _step(name: str, *, fails: bool = False, awaits: bool = False) -> Any:
    def told(info: strawberry.Info[Log]) -> str:
        info.context.told.append(f"{name} begins")
        if fails:
            message = f"{name} failed"
            raise ValueError(message)
        return name

    async def awaited(info: strawberry.Info[Log]) -> str:
        info.context.told.append(f"{name} waits")
        await asyncio.sleep(0)
        return told(info)

    return strawberry.mutation(resolver=awaited if awaits else told)


@strawberry.type
class Mutation:
    """The root of what is done, one after another."""

    first: str = _step("first")
    second: str | None = _step("second", fails=True)
    third: str = _step("third", awaits=True)
    fourth: str = _step("fourth", fails=True)
    fifth: str = _step("fifth", fails=True, awaits=True)
    sixth: str = _step("sixth")


@strawberry.type
class Subscription:
    """The root of what happens."""

    @strawberry.subscription
    async def count(self, to: int = 2) -> AsyncGenerator[int, None]:
        """Counts; half of the way an event is no number."""
        for number in range(to):
            yield "none" if number == 1 else number  # type: ignore[misc]

    @strawberry.subscription
    def squares(self) -> AsyncGenerator[Square, None]:
        """A function that returns a stream, rather than being one."""
        return _squares()

    @strawberry.subscription
    async def maybe(self) -> AsyncGenerator[Shape | None, None]:
        """Objects of several types."""
        for shape in some_shapes():
            yield shape


async def _squares() -> AsyncGenerator[Square, None]:
    for side in (1, 2, 4):
        yield Square(name=str(side), side=side)


SCHEMA = strawberry.Schema(query=Query, mutation=Mutation, subscription=Subscription, types=[Circle, Square])
