"""Both executors pass the same arguments to resolvers, whether the values are literals or variables."""

import datetime as dt
import json
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any

import pytest
import strawberry
import strawberry.pydantic
from pydantic import BaseModel, Field
from strawberry import Maybe
from strawberry.relay import GlobalID
from strawberry.schema.config import StrawberryConfig

from schema.types.view import Argument, resolver
from tests.execution.comparison import run_both


@strawberry.enum
class Kind(Enum):
    """An enum whose values are not strings."""

    ONE = 1
    MANY = (2, 3)


@strawberry.input(one_of=True)
class Wanted:
    """A oneOf input."""

    name: Maybe[str]
    kind: Maybe[Kind]


@strawberry.input
class Leaf:
    """An input with fields of many types."""

    kind: Kind
    amount: Decimal | None = None
    day: dt.date | None = None
    tags: list[list[str] | None] = strawberry.field(default_factory=lambda: [["a"]])
    changed: Maybe[int | None] = None
    title: Maybe[str] = None


@strawberry.input
class Tree:
    """An input that contains itself."""

    leaf: Leaf | None
    trees: "list[Annotated[Tree, strawberry.lazy('tests.execution.test_inputs')] | None] | None" = None
    odd_name: int = 5
    wanted: Wanted | None = strawberry.UNSET


class Model(BaseModel):
    """A Pydantic input with a default factory."""

    count: int = Field(gt=0)
    names: list[str] = Field(default_factory=list)


@strawberry.input
class Point:
    """A dataclass input inside a model."""

    x: int


class Outer(BaseModel):
    """A model with models, a dataclass input and ``Maybe`` inside."""

    model: Model
    models: list[list[Model] | None] = Field(default_factory=list)
    point: Point | None
    pair: tuple[int, int] = (0, 0)
    odd_name: Maybe[str | None] = Field(default=None, alias="another")


_MAYBE: Any = Maybe  # type checkers accept Maybe in annotations only
PublishedModel: Any = strawberry.pydantic.input(Model)
PublishedOuter: Any = strawberry.pydantic.input(Outer)


@strawberry.input
class Holder:
    """A dataclass input with Pydantic inputs."""

    models: list[PublishedModel]


@strawberry.input
class First:
    """A cycle of two inputs, of which the other one contains a model."""

    second: "Annotated[Second, strawberry.lazy('tests.execution.test_inputs')]"


@strawberry.input
class Second:
    """The other input of the cycle."""

    models: list[PublishedModel]
    back: First | None = None


@strawberry.input
class Hooked:
    """An input with a ``from_input`` hook of its own, which reads the location of the value and the info."""

    text: str


def _from_input(kind: Any, value: Any, context: Any) -> Any:
    return kind(text=f"{value['text']} at {context.path} of {context.info.field_name}")


Hooked.__strawberry_definition__.from_input = _from_input  # type: ignore[attr-defined]


async def _show(_: Any, root: Any, **arguments: Any) -> str:
    return "; ".join(f"{name}={value!r}" for name, value in sorted(arguments.items()))


def _to_upper(text: str) -> str:
    if text == "bad":
        message = "this is bad"
        raise ValueError(message)
    return text.upper()


def _field(**kinds: Any) -> Any:
    arguments = {name: Argument(kind, name, strawberry.UNSET) for name, kind in kinds.items()}
    return strawberry.field(resolver=resolver(_show, arguments), graphql_type=str)


async def _show_many(_: Any, roots: list[Any], **arguments: Any) -> list[Any]:
    return [await _show(_, root, **arguments) for root in roots]


@strawberry.type
class Item:
    """An item of a list, whose field is resolved for all items at once."""

    shown: str = strawberry.field(
        resolver=resolver(_show, {"tree": Argument(Tree | None, "A tree.", None)}, resolve_many=_show_many),
        graphql_type=str,
    )


@strawberry.type
class Query:
    """A field for each type of argument, which returns the text of its arguments."""

    leaf: str = _field(leaf=Leaf)
    tree: str = _field(tree=Tree, trees=list[Tree | None] | None)
    model: str = _field(model=PublishedModel)
    holder: str = _field(holder=Holder | None)
    outer: str = _field(outer=PublishedOuter)
    first: str = _field(first=First)
    hooked: str = _field(hooked=list[Hooked | None])
    ids: str = _field(ids=list[GlobalID | None])
    wanted: str = _field(wanted=Wanted)
    kinds: str = _field(kinds=list[list[Kind] | None])
    maybe: str = _field(some=_MAYBE[int], nothing=_MAYBE[str | None])
    scalars: str = strawberry.field(
        resolver=resolver(
            _show,
            {
                "text": Argument(str, "A text.", "x", convert=_to_upper),
                "moment": Argument(dt.datetime | None, "A time.", None, name="at"),
                "identity": Argument(strawberry.ID, "An id.", "1"),
                "number": Argument(float, "A number.", 1.5),
            },
        ),
        graphql_type=str,
    )

    @strawberry.field
    def plain(self, info: strawberry.Info, leaf: Leaf | None = None, kind: Kind = Kind.MANY) -> str:
        """A plain Strawberry resolver, which the executor calls as graphql-core does."""
        return f"{info.field_name} {leaf} {kind}"

    @strawberry.field
    def items(self) -> list[Item]:
        return [Item(), Item(), Item()]


SCHEMA = strawberry.Schema(query=Query, config=StrawberryConfig(), types=[Tree])


def _literal(value: Any) -> str:
    """The GraphQL literal of a JSON value. The names of ``Kind`` are enum values."""
    match value:
        case dict():
            return "{" + ", ".join(f"{name}: {_literal(entry)}" for name, entry in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(_literal, value)) + "]"
        case str() if value in Kind.__members__:
            return value
    return json.dumps(value)


LEAF = {"kind": "MANY", "amount": "1.50", "day": "2026-02-03", "tags": [["x", "y"], None, []], "changed": None}


@pytest.mark.parametrize(
    ("field", "argument", "kind", "value", "shown"),
    [
        (
            "leaf",
            "leaf",
            "Leaf!",
            LEAF,
            (
                "leaf=Leaf(kind=<Kind.MANY: (2, 3)>, amount=Decimal('1.50'), day=datetime.date(2026, 2, 3),"
                " tags=[['x', 'y'], None, []], changed=Some(None), title=None)"
            ),
        ),
        (
            "leaf",
            "leaf",
            "Leaf!",
            {"kind": "ONE", "title": "t", "changed": 3},
            "leaf=Leaf(kind=<Kind.ONE: 1>, amount=None, day=None, tags=[['a']], changed=Some(3), title=Some('t'))",
        ),
        (
            "tree",
            "tree",
            "Tree!",
            {"leaf": None, "oddName": 7, "trees": [None, {"leaf": {"kind": "ONE"}, "wanted": {"kind": "ONE"}}]},
            (
                "tree=Tree(leaf=None, trees=[None, Tree(leaf=Leaf(kind=<Kind.ONE: 1>, amount=None, day=None,"
                " tags=[['a']], changed=None, title=None), trees=None, odd_name=5,"
                " wanted=Wanted(name=None, kind=Some(<Kind.ONE: 1>)))], odd_name=7, wanted=UNSET)"
            ),
        ),
        ("wanted", "wanted", "Wanted!", {"name": "n"}, "wanted=Wanted(name=Some('n'), kind=None)"),
        (
            "kinds",
            "kinds",
            "[[Kind!]]!",
            [["ONE"], ["MANY", "ONE"]],
            "kinds=[[<Kind.ONE: 1>], [<Kind.MANY: (2, 3)>, <Kind.ONE: 1>]]",
        ),
        ("kinds", "kinds", "[[Kind!]!]!", "ONE", "kinds=[[<Kind.ONE: 1>]]"),
        ("maybe", "nothing", "String", None, "nothing=Some(None)"),
        ("maybe", "some", "Int", 4, "some=Some(4)"),
        ("model", "model", "Model!", {"count": 1}, "model=Model(count=1, names=[])"),
        (
            "holder",
            "holder",
            "Holder",
            {"models": [{"count": 3, "names": ["a"]}]},
            "holder=Holder(models=[Model(count=3, names=['a'])])",
        ),
        ("holder", "holder", "Holder", None, "holder=None"),
        (
            "first",
            "first",
            "First!",
            {"second": {"models": [{"count": 2}], "back": {"second": {"models": []}}}},
            (
                "first=First(second=Second(models=[Model(count=2, names=[])],"
                " back=First(second=Second(models=[], back=None))))"
            ),
        ),
        (
            "outer",
            "outer",
            "Outer!",
            {"model": {"count": 1}, "models": [None, [{"count": 2, "names": ["a"]}]], "pair": [1, 2], "oddName": None},
            (
                "outer=Outer(model=Model(count=1, names=[]), models=[None, [Model(count=2, names=['a'])]],"
                " point=None, pair=(1, 2), odd_name=Some(None))"
            ),
        ),
        (
            "outer",
            "outer",
            "Outer!",
            {"model": {"count": 1}, "point": {"x": 4}},
            "outer=Outer(model=Model(count=1, names=[]), models=[], point=Point(x=4), pair=(0, 0), odd_name=None)",
        ),
        (
            "hooked",
            "hooked",
            "[Hooked]!",
            [None, {"text": "a"}],
            "hooked=[None, Hooked(text=\"a at ('hooked', 1) of hooked\")]",
        ),
        ("ids", "ids", "[ID]!", ["VGFzazox"], "ids=[GlobalID(type_name='Task', node_id='1')]"),
        ("ids", "ids", "[ID]!", [None], "ids=[None]"),
        ("scalars", "text", "String!", "a", "identity='1'; moment=None; number=1.5; text='A'"),
        (
            "scalars",
            "at",
            "DateTime",
            "2026-01-02T03:04:05Z",
            ("identity='1'; moment=datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=tzutc()); number=1.5; text='X'"),
        ),
        ("scalars", "identity", "ID!", 12, "identity='12'; moment=None; number=1.5; text='X'"),
        ("scalars", "number", "Float!", 2, "identity='1'; moment=None; number=2.0; text='X'"),
        ("plain", "kind", "Kind!", "ONE", "plain None Kind.ONE"),
        (
            "plain",
            "leaf",
            "Leaf",
            {"kind": "ONE", "tags": []},
            "plain Leaf(kind=<Kind.ONE: 1>, amount=None, day=None, tags=[], changed=None, title=None) Kind.MANY",
        ),
    ],
)
async def test_literals_and_variables_give_the_same_value(
    field: str, argument: str, kind: str, value: Any, shown: str
) -> None:
    result = await run_both(SCHEMA, f"{{ {field}({argument}: {_literal(value)}) }}")
    assert result == ({field: shown}, [])
    text = f"query($value: {kind}) {{ {field}({argument}: $value) }}"
    assert await run_both(SCHEMA, text, variable_values={"value": value}) == result


@pytest.mark.parametrize(
    ("text", "variables", "errors"),
    [
        ("query($n: Float) { scalars(number: $n) }", {"n": None}, ["scalars"]),
        ("query($t: String) { scalars(text: $t) }", {"t": None}, ["scalars"]),
        ("query($t: String!) { scalars(text: $t) }", {"t": "bad"}, ["scalars"]),
        ('{ scalars(text: "bad") }', {}, ["scalars"]),
        ('{ scalars(at: "never") }', {}, ["scalars"]),
        ("query($n: String) { wanted(wanted: {name: $n}) }", {}, ["wanted"]),
        ("query($n: String) { wanted(wanted: {name: $n}) }", {"n": None}, ["wanted"]),
        ("query($n: String!) { wanted(wanted: {name: $n}) }", {"n": "x"}, []),
        ("{ wanted(wanted: {name: null}) }", {}, ["wanted"]),
        ("{ maybe(some: null) }", {}, ["maybe"]),
        ("query($n: Int) { maybe(some: $n) }", {"n": None}, ["maybe"]),
        ("query($n: Int) { maybe(some: $n) }", {}, []),
        ("query($k: Kind) { leaf(leaf: {kind: $k}) }", {}, ["leaf"]),
        ("query($k: Kind!, $n: Int = 4) { leaf(leaf: {kind: $k, changed: $n}) }", {"k": "ONE"}, []),
        ("query($c: Int!) { model(model: {count: $c}) a: model(model: {count: 2}) }", {"c": -1}, ["model"]),
        ("query($c: Int!) { holder(holder: {models: [{count: 1}, {count: $c}]}) }", {"c": 0}, ["holder"]),
        ("query($c: Int!) { outer(outer: {model: {count: 1}, models: [[{count: $c}]]}) }", {"c": 0}, ["outer"]),
        ("query($x: Int) { outer(outer: {model: {count: 1}, point: {x: $x}}) }", {"x": None}, ["outer"]),
        ('{ ids(ids: ["no id"]) }', {}, ["ids"]),
        ("query($k: [[Kind!]]!) { kinds(kinds: $k) plain(kind: null) }", {"k": [None]}, ["plain"]),
        ("query($d: Date) { plain(leaf: {kind: ONE, day: $d}) }", {"d": "2026-02-30"}, [None]),
    ],
)
async def test_errors_are_the_same(text: str, variables: dict[str, Any], errors: list[str | None]) -> None:
    """This includes documents that validation would reject; they are not validated here."""
    _, actual = await run_both(SCHEMA, text, variable_values=variables)
    assert [path and path[0] for _, path in actual] == errors


async def test_many_objects_share_their_arguments() -> None:
    """Literals are converted once per document, variables once for all objects."""
    tree = "tree=Tree(leaf=None, trees=None, odd_name={}, wanted=UNSET)"
    text = "query($n: Int!) { items { shown a: shown(tree: {leaf: null}) b: shown(tree: {leaf: null, oddName: $n}) } }"
    (items, errors) = await run_both(SCHEMA, text, variable_values={"n": 9})
    assert items == {"items": [{"shown": "tree=None", "a": tree.format(5), "b": tree.format(9)}] * 3}
    assert errors == []
    _, errors = await run_both(SCHEMA, "query($n: Int) { items { shown(tree: {leaf: null, oddName: $n}) } }")
    assert errors == []
    text = "query($n: Int) { items { shown(tree: {leaf: null, oddName: $n}) } }"
    _, errors = await run_both(SCHEMA, text, variable_values={"n": None})
    assert [path for _, path in errors] == [["items", 0, "shown"]]


async def test_every_call_gets_its_own_models() -> None:
    """A model may make something new, such as an id, so an argument with a model in it is converted in every call."""
    calls: list[Any] = []

    async def record(_: Any, root: Any, **arguments: Any) -> str:
        calls.append(arguments)
        return "recorded"

    arguments = {
        "names": Argument(list[str], "Names.", strawberry.UNSET),
        "model": Argument(PublishedModel, "A model."),
        "second": Argument(Second, "An input with models."),
    }
    query = type("Query", (), {"__annotations__": {"field": str}})
    query.field = strawberry.field(resolver=resolver(record, arguments))  # type: ignore[attr-defined]
    schema = strawberry.Schema(query=strawberry.type(query))
    second = "{models: [], back: {second: {models: [{count: 2}]}}}"
    for _ in range(2):
        await run_both(schema, f'{{ field(names: ["a"], model: {{count: 1}}, second: {second}) }}')
    assert all(call == calls[0] for call in calls)
    assert len({id(call["model"]) for call in calls}) == len(calls) == 4
    assert len({id(call["second"].back.second.models[0]) for call in calls}) == len(calls)
