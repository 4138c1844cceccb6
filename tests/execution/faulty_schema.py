"""A schema whose fields fail in every possible way, the same way each time.

The name of a field and the number of its object choose one of the values that the field's type has here, valid ones and
invalid ones.
"""

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Generator
from enum import Enum
from typing import Annotated, Any, ClassVar

import strawberry
from graphql import GraphQLError

from schema.types.view import Argument, resolver


@strawberry.enum
class Color(Enum):
    """An enum whose values are not their names."""

    RED = "r"
    GREEN = 2


class FaultyRow:
    """An object whose values all follow from a number."""

    wildness: ClassVar[int] = 0
    """The percentage of values that are invalid."""

    may_be_late: ClassVar[bool] = False
    """Whether values of attributes and items of lists may be awaitable."""

    def __init__(self, number: int) -> None:
        self.number = number

    def choose(self, name: str, values: list[Callable[[], Any]], valid: int) -> Any:
        """One of the values. Those after the first ``valid`` ones are chosen with the probability ``wildness``."""
        drawn = zlib.crc32(f"{self.number} {name}".encode())
        is_wild = drawn % 100 < self.wildness
        return values[drawn // 100 % (len(values) if is_wild else valid)]()

    def next(self, name: str) -> int:
        """The number of the object in a field."""
        return zlib.crc32(f"{self.number}/{name}".encode())


class DogRow(FaultyRow):
    pass


class CatRow(FaultyRow):
    pass


def _raise(error: BaseException) -> Any:
    raise error


def _later(value: Any) -> Any:
    return _Later(value) if FaultyRow.may_be_late else value


class _Later:
    """An awaitable without the warning of a coroutine that is never awaited."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __await__(self) -> Generator[Any, Any, Any]:
        """The value, or its error, in the next iteration of the event loop."""
        yield from asyncio.sleep(0).__await__()
        if isinstance(self.value, BaseException):
            raise self.value
        return self.value


def _leaf(*valid: Any, wrong: Any) -> list[Callable[[], Any]]:
    values: list[Callable[[], Any]] = [lambda value=value: value for value in valid]  # type: ignore[misc]
    return [
        *values,
        lambda: None,
        lambda: wrong,
        lambda: ValueError("an exception as a value"),
        lambda: _raise(KeyError("raised")),
        lambda: _raise(GraphQLError("raised", extensions={"code": "RAISED"})),
        lambda: _later(valid[0]),
        lambda: _later(RuntimeError("later")),
        lambda: _later(None),
    ]


_STRING = _leaf("text", "", "ü\U0001f600", wrong=[1])
_INT = _leaf(0, 7, -(2**31), wrong=2**31)
_FLOAT = _leaf(0.5, 3.0, 2, wrong=float("nan"))
_BOOLEAN = _leaf(True, False, 1, wrong="yes")  # noqa: FBT003 (values)
_COLOR = _leaf(Color.RED, Color.GREEN, Color.RED, wrong="BLUE")
_ID = _leaf("id", 12, "x", wrong=1.5)
_STRINGS = [
    *_leaf(["a", "b"], ("c",), [], wrong="text"),
    lambda: [None, "a"],
    lambda: ["a", _later("b"), _later(ValueError("item"))],
    lambda: [1, [2], ValueError("item")],
    lambda: iter(["a", "b"]),
    lambda: (text for text in ("g",)),
]
_MATRIX = [
    *_leaf([[1, 2], [3]], [[]], [], wrong=[1]),
    lambda: [[1, None], None],
    lambda: [[2**40]],
    lambda: {(1,)},
]


def _objects(number: int, *kinds: Callable[[int], Any]) -> list[Callable[[], Any]]:
    def one(at: int = 0) -> Any:
        return kinds[(number + at) % len(kinds)](number + at)

    return _leaf(one(), one(1), one(2), wrong=object())


def _lists(number: int, *kinds: Callable[[int], Any]) -> list[Callable[[], Any]]:
    def some(count: int) -> list[Any]:
        return [kinds[(number + at) % len(kinds)](number + at) for at in range(count)]

    return [
        *_leaf(some(3), tuple(some(1)), [], wrong=object()),
        lambda: [*some(1), None, *some(2)],
        lambda: [*some(2), ValueError("item"), *some(1)],
        lambda: [some(1)[0], _later(some(2)[1]), _later(None)],
        lambda: [_later(ValueError("awaited item")), some(1)[0]],
        lambda: [object(), *some(1)],
        lambda: iter(some(2)),
        lambda: "text",
    ]


VALUES: dict[str, list[Callable[[], Any]]] = {
    "string": _STRING,
    "required_string": _STRING,
    "integer": _INT,
    "required_integer": _INT,
    "floating": _FLOAT,
    "boolean": _BOOLEAN,
    "required_boolean": _BOOLEAN,
    "color": _COLOR,
    "required_color": _COLOR,
    "identity": _ID,
    "strings": _STRINGS,
    "required_strings": _STRINGS,
    "matrix": _MATRIX,
}

_OBJECT_VALUES: dict[str, tuple[Callable[..., Any], tuple[type[FaultyRow], ...]]] = {
    "dog": (_objects, (DogRow,)),
    "required_dog": (_objects, (DogRow,)),
    "cat": (_objects, (CatRow,)),
    "dogs": (_lists, (DogRow,)),
    "required_dogs": (_lists, (DogRow,)),
    "cats": (_lists, (CatRow,)),
    "pet": (_objects, (DogRow, CatRow)),
    "pets": (_lists, (CatRow, DogRow)),
    "required_pets": (_lists, (CatRow, DogRow)),
    "animal": (_objects, (CatRow, DogRow)),
    "animals": (_lists, (DogRow, CatRow)),
}


def value(root: FaultyRow, name: str) -> Any:
    if name in VALUES:
        return root.choose(name, VALUES[name], 3)
    make, kinds = _OBJECT_VALUES[name]
    return root.choose(name, make(root.next(name), *kinds), 3)


def _attribute(name: str) -> property:
    return property(lambda root: value(root, name))


for _name in (*VALUES, *_OBJECT_VALUES):
    setattr(FaultyRow, _name, _attribute(_name))


def _plain(name: str) -> Any:
    return strawberry.field(resolver=lambda root: value(root, name))


def _with_info(name: str) -> Any:
    def resolve(root: Any, info: strawberry.Info, times: int = 1) -> Any:
        del info
        return value(root, name) if times == 1 else value(type(root)(root.number + times), name)

    return strawberry.field(resolver=resolve)


def _awaited(name: str) -> Any:
    async def resolve(_: Any, root: Any, times: int = 1) -> Any:
        result = value(root if times == 1 else type(root)(root.number + times), name)
        return await result if isinstance(result, Awaitable) else result

    return strawberry.field(resolver=resolver(resolve, {"times": Argument(int, "A summand of the number.", 1)}))


def _many(name: str) -> Any:
    async def resolve(_: Any, root: Any) -> Any:
        result = value(root, name)
        return await result if isinstance(result, Awaitable) else result

    async def value_or_error(root: Any) -> Any:
        try:
            return await resolve(None, root)
        except Exception as error:  # noqa: BLE001 (returned like a value)
            return error

    async def resolve_many(_: Any, roots: list[Any]) -> Any:
        return [await value_or_error(root) for root in roots]

    return strawberry.field(resolver=resolver(resolve, {}, resolve_many=resolve_many))


def _type_check(row: type) -> Any:
    def is_type_of(value: Any, _: Any) -> bool:
        return isinstance(value, row)

    is_type_of.row = row  # type: ignore[attr-defined]
    return staticmethod(is_type_of)


Pet = Annotated["Dog | Cat", strawberry.union("Pet")]


@strawberry.interface
class Animal:
    identity: strawberry.ID | None
    string: str | None

    @classmethod
    def resolve_type(cls, value: Any, _info: Any, _type: Any) -> str | None:
        """The type of a row, None for other values."""
        return {DogRow: "Dog", CatRow: "Cat"}.get(type(value))


@strawberry.type
class Dog(Animal):
    """A type whose fields are attributes, like columns."""

    is_type_of = _type_check(DogRow)
    required_string: str
    integer: int | None
    required_integer: int
    floating: float | None
    boolean: bool | None
    required_boolean: bool
    color: Color | None
    required_color: Color
    strings: list[str | None] | None
    required_strings: list[str]
    matrix: list[list[int] | None] | None
    dog: "Dog | None"
    required_dog: "Dog"
    many_cat: "Cat | None" = _many("cat")
    dogs: "list[Dog | None] | None"
    required_dogs: "list[Dog]"
    cats: "list[Cat] | None" = _plain("cats")
    awaited_pet: Pet | None = _awaited("pet")
    pets: list[Pet | None] = _with_info("pets")
    animal: Animal | None
    animals: list[Animal]


@strawberry.type
class Cat(Animal):
    """A type with resolvers of all kinds."""

    is_type_of = _type_check(CatRow)
    required_string: str = _plain("required_string")
    integer: int | None = _with_info("integer")
    awaited_required_integer: int = _awaited("required_integer")
    many_color: Color | None = _many("color")
    awaited_strings: list[str | None] | None = _awaited("strings")
    required_strings: list[str] = _with_info("required_strings")
    matrix: list[list[int] | None] | None = _plain("matrix")
    many_dog: Dog | None = _many("dog")
    awaited_required_dog: Dog = _awaited("required_dog")
    cat: "Cat | None" = _plain("cat")
    many_dogs: list[Dog] = _many("dogs")
    awaited_required_dogs: list[Dog | None] = _awaited("required_dogs")
    cats: "list[Cat | None] | None" = _with_info("cats")
    pet: Pet = _plain("pet")
    many_pets: list[Pet | None] | None = _many("pets")
    awaited_required_pets: list[Pet] = _awaited("required_pets")
    awaited_animals: list[Animal | None] | None = _awaited("animals")


@strawberry.type
class Query(Cat):
    is_type_of = None


@strawberry.type
class Mutation:
    awaited_dog: Dog | None = _awaited("dog")
    required_dog: Dog = _with_info("required_dog")
    many_cats: list[Cat] | None = _many("cats")
    integer: int | None = _plain("integer")


SCHEMA = strawberry.Schema(query=Query, mutation=Mutation)
