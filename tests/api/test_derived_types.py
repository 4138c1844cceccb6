"""Types, arguments and fields that are derived from functions, named tuples and dashboards."""

import datetime as dt
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple
from uuid import UUID

import pytest
import strawberry

from repositories.core.errors import ValidationError
from repositories.described_enum import DescribedEnum
from repositories.tables.identity import AccountUsage
from resolvers.request.annotations import EachField, First, TimeZone
from resolvers.validation.global_ids import GlobalKey, global_id
from schema.types.derived_types import arguments_of, described_fields, publish_dashboard, query, result_view
from schema.types.scalars import SCALARS


class Paper(DescribedEnum):
    """The paper of notes."""

    YELLOW = "yellow", "Yellow paper."
    GREEN = "green", "Green paper."


class PaperTotal(NamedTuple):
    """The number of notes on one paper."""

    secret: int
    paper: Annotated[Paper | None, "The paper. Null for notes without one."]
    total: Annotated[int, "The number of notes."]


class NoteTally(NamedTuple):
    """Not published itself."""

    notes: Annotated[int, "The number of notes."]
    next_due: dt.datetime | None
    mean_length: Annotated[float | None, "The mean length. Null without notes."]


@dataclass(frozen=True, slots=True)
class NoteBoard:
    """Numbers about notes.

    They are computed
    when they are selected.
    """

    calls: list[str]

    async def tally(self) -> EachField[NoteTally]:
        self.calls.append("tally")
        return NoteTally(3, None, 1.5)

    async def papers(self, first: First = 5) -> list[PaperTotal]:
        """The papers."""
        return [PaperTotal(7, Paper.GREEN, 2), PaperTotal(7, None, 1)][:first]

    async def _hidden(self) -> int:
        return 1

    def also_hidden(self) -> int:
        """Not async."""
        return 1


async def note_board(
    context: Any, from_: Annotated[dt.date, "The first day."], time_zone: TimeZone = None
) -> NoteBoard:
    """The board."""
    return NoteBoard(context["calls"])


EXPECTED = '''"""
Numbers about notes.

They are computed when they are selected.
"""
type NoteBoard {
  """The number of notes."""
  notes: Int! @cost(weight: "50")

  """The mean length. Null without notes."""
  meanLength: Float @cost(weight: "5")

  """The papers."""
  papers(
    """Maximum number of items, 1 to 500."""
    first: Int! = 5
  ): [PaperTotal!]! @cost(weight: "5") @listSize(slicingArguments: ["first"])
}

"""The paper of notes."""
enum Paper {
  """Yellow paper."""
  YELLOW

  """Green paper."""
  GREEN
}

"""The number of notes on one paper."""
type PaperTotal {
  """The paper. Null for notes without one."""
  paper: Paper

  """The number of notes."""
  total: Int!
}

type Query {
  """The board."""
  noteBoard(
    """The first day."""
    from: Date!

    """
    The IANA time zone in which days begin and end, such as Europe/Vienna. By default the viewer's time zone.
    """
    timeZone: String
  ): NoteBoard
}'''


async def test_a_query_publishes_its_dashboard_and_results() -> None:
    publish_dashboard(NoteBoard, notes=50)

    @strawberry.type
    class Query:
        note_board = query(note_board)

    schema = strawberry.Schema(query=Query, scalar_overrides=SCALARS)
    assert EXPECTED in schema.as_str()
    document = """{ noteBoard(from: "2026-01-01") { notes meanLength papers { paper total }
        one: papers(first: 1) { paper } } }"""
    calls: list[str] = []
    result = await schema.execute(document, context_value={"calls": calls})
    assert result.data == {
        "noteBoard": {
            "notes": 3,
            "meanLength": 1.5,
            "papers": [{"paper": "GREEN", "total": 2}, {"paper": None, "total": 1}],
            "one": [{"paper": "GREEN"}],
        }
    }
    assert calls == ["tally", "tally"]  # one per field: @cached shares the result
    document = '{ noteBoard(from: "2026-01-01") { papers(first: 501) { total } } }'
    errors = (await schema.execute(document, context_value={"calls": []})).errors or []
    (error,) = [each.original_error for each in errors]
    assert isinstance(error, ValidationError)
    assert (str(error), error.path) == ("`first` must be between 1 and 500.", ("first",))
    with pytest.raises(TypeError, match="NoteBoard is published already"):
        publish_dashboard(NoteBoard, notes=50)


def test_a_dashboard_has_the_fields_that_have_weights() -> None:
    @dataclass(frozen=True, slots=True)
    class Empty:
        """Nothing."""

    with pytest.raises(TypeError, match="or has no rank"):
        publish_dashboard(Empty, rank=50)


def test_every_parameter_of_a_query_has_a_description() -> None:
    async def search(context: Any, text: Annotated[str, "The text."], limit: int, page: int = 1) -> int:
        """The number of results."""
        return 0

    assert list(arguments_of(search)) == ["text"]
    with pytest.raises(TypeError, match=r"The parameters limit, page of .*search have no description"):
        query(search)


def test_a_global_key_is_an_id_and_reaches_the_function_as_a_uuid() -> None:
    async def note(context: Any, id_: Annotated[UUID, GlobalKey("Note"), "The id of the note."]) -> int:
        """A note."""
        return 0

    argument = arguments_of(note)["id_"]
    key = UUID(int=5)
    assert (argument.type, argument.name, argument.description) == (strawberry.ID, "id", "The id of the note.")
    assert argument.convert(global_id("Note", key)) == key


def test_only_the_described_columns_of_the_class_itself_are_fields() -> None:
    """Its ``id``, which a base class declares, and ``byte_count``, which has no description, are left out."""
    assert list(described_fields(AccountUsage)) == [("row_count", int, "The number of stored objects.")]


def test_a_class_replaces_and_adds_fields() -> None:
    class Total(NamedTuple):
        """The number of notes on one paper."""

        paper: Annotated[Paper | None, "The paper. Null for notes without one."]
        total: Annotated[int, "The number of notes."]

    @result_view(Total)
    class OwnTotal:
        """Another description."""

        share: float = strawberry.field(resolver=lambda: 1.0, description="The share.")
        total: str = strawberry.field(resolver=lambda root: str(root.total), description="The number as a text.")

    definition = OwnTotal.__strawberry_definition__  # type: ignore[attr-defined]
    assert definition.description == "Another description."
    assert [(field.python_name, field.description) for field in definition.fields] == [
        ("share", "The share."),
        ("paper", "The paper. Null for notes without one."),
        ("total", "The number as a text."),
    ]
