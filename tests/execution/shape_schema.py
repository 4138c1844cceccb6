"""A small schema with every kind of field that the executor treats differently."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated, Any

import strawberry


@dataclass
class Log:
    """The context of an operation: records the calls of resolvers, and lets one of them wait."""

    calls: list[str] = field(default_factory=list)
    started: asyncio.Event = field(default_factory=asyncio.Event)
    never: asyncio.Event = field(default_factory=asyncio.Event)


class Size(Enum):
    """An enum whose values are not strings."""

    SMALL = (0, 1)
    LARGE = ("x",)


strawberry.enum(Size)


@strawberry.interface
class Shape:
    name: str
    size: Size | None = None

    @classmethod
    def resolve_type(cls, value: Any, _info: Any, _type: Any) -> str:
        return str(type(value).__name__)


@strawberry.type
class Circle(Shape):
    radius: float = 1.5


@strawberry.type
class Square(Shape):
    side: int = 2

    @strawberry.field
    async def inner(self) -> Annotated["Square", strawberry.lazy("tests.execution.shape_schema")]:
        """Awaited for each object alone."""
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
    @strawberry.field
    def shapes(self) -> list[Shape | None]:
        """Objects of several types, and null."""
        return some_shapes()

    @strawberry.field
    def pairs(self) -> list[list[Annotated[Circle | Square, strawberry.union("Form")] | None] | None]:
        """Nested lists of objects."""
        first, nothing, *rest = some_shapes()
        return [[first, nothing], None, [], rest]

    @strawberry.field
    def numbers(self) -> list[list[list[int] | None]]:
        """Nested lists of leaf values."""
        return [[[1, 2], None, []], []]

    @strawberry.field
    def sizes(self) -> list[Size]:
        return [Size.LARGE, Size.SMALL]

    @strawberry.field
    async def failing(self, info: strawberry.Info[Log]) -> int:
        """Makes all data null."""
        info.context.calls.append("failing")
        await asyncio.sleep(0)
        message = "no number"
        raise ValueError(message)

    @strawberry.field
    async def hanging(self, info: strawberry.Info[Log]) -> str | None:
        """Waits until it is cancelled."""
        info.context.calls.append("hanging")
        info.context.started.set()
        try:
            await info.context.never.wait()
        except asyncio.CancelledError:
            info.context.calls.append("cancelled")
            raise
        return "never"

    @strawberry.field
    def square(self) -> Square:
        return Square(name="s", side=2)

    @strawberry.field
    def plain() -> str:
        """A function without parameters."""
        return "plain"

    broken: str | None = strawberry.field(resolver=lambda: dict[str, str]()["key"])


def _step(name: str, *, fails: bool = False, awaits: bool = False) -> Any:
    def resolve(info: strawberry.Info[Log]) -> str:
        info.context.calls.append(f"{name} starts")
        if fails:
            message = f"{name} failed"
            raise ValueError(message)
        return name

    async def resolve_later(info: strawberry.Info[Log]) -> str:
        info.context.calls.append(f"{name} waits")
        await asyncio.sleep(0)
        return resolve(info)

    return strawberry.mutation(resolver=resolve_later if awaits else resolve)


@strawberry.type
class Mutation:
    first: str = _step("first")
    second: str | None = _step("second", fails=True)
    third: str = _step("third", awaits=True)
    fourth: str = _step("fourth", fails=True)
    fifth: str = _step("fifth", fails=True, awaits=True)
    sixth: str = _step("sixth")


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def count(self, to: int = 2) -> AsyncGenerator[int, None]:
        """Counts, but the second event is not a number."""
        for number in range(to):
            yield "none" if number == 1 else number  # type: ignore[misc]

    @strawberry.subscription
    def squares(self) -> AsyncGenerator[Square, None]:
        """Returns an async generator instead of being one."""
        return _squares()

    @strawberry.subscription
    async def maybe(self) -> AsyncGenerator[Shape | None, None]:
        """Objects of several types, and null."""
        for shape in some_shapes():
            yield shape


async def _squares() -> AsyncGenerator[Square, None]:
    for side in (1, 2, 4):
        yield Square(name=str(side), side=side)


SCHEMA = strawberry.Schema(query=Query, mutation=Mutation, subscription=Subscription, types=[Circle, Square])
