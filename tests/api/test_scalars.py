"""Scalars follow their specifications to the letter; enums have descriptions."""

import datetime as dt
import json
import re
from contextlib import suppress
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

import orjson
import pytest
import strawberry
from graphql import GraphQLError
from hypothesis import example, given
from hypothesis import strategies as st
from strawberry.scalars import JSON
from strawberry.schema.config import StrawberryConfig

from gateway.execution.executor import NativeExecutor
from schema.types.enums import describe_enum
from schema.types.scalars import SCALARS
from tests.execution.comparison import run, run_both

DATE_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt]([01]\d|2[0-3]):([0-5]\d):([0-5]\d)(\.\d{1,9})?([Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
)
"""RFC 3339's ``date-time``, with the two limits that the description states: no leap seconds, nine digits."""


def parse(kind: object, value: object) -> Any:
    """The value of an input, None if it is rejected."""
    function = SCALARS[kind].parse_value
    assert function is not None
    try:
        return function(value)
    except GraphQLError:
        return None


def serialize(kind: object, value: object) -> str:
    """The text in a response, which is the same with all executors."""
    function = SCALARS[kind].serialize
    assert function is not None
    return str(function(value))


def expected_time(text: str) -> dt.datetime | None:
    """The moment that a text names by RFC 3339, computed with integers."""
    match = DATE_TIME.fullmatch(text)
    if match is None:
        return None
    *numbers, fraction, offset = match.groups()
    try:
        year, month, day, hour, minute, second = map(int, numbers)
        moment = dt.datetime(year, month, day, hour, minute, second, tzinfo=dt.UTC)
        moment += dt.timedelta(microseconds=int((fraction or ".0")[1:].ljust(6, "0")[:6]))
        if offset not in "Zz":
            shift = dt.timedelta(hours=int(offset[1:3]), minutes=int(offset[4:]))
            moment = moment - shift if offset[0] == "+" else moment + shift
    except (ValueError, OverflowError):
        return None
    return moment


def _digits(count: int) -> st.SearchStrategy[str]:
    return st.text("0123456789", min_size=count, max_size=count)


NEARLY_TIMES = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(["2026", "0000", "0001", "1600", "9999", "20261", "٢٠٢٦"]) | _digits(4),
        st.sampled_from(["-", "-", "-", "", "–"]),
        st.sampled_from(["01", "02", "06", "12", "00", "13", "W2"]),
        st.sampled_from(["-", "-", "-", ""]),
        st.sampled_from(["01", "28", "29", "30", "31", "32", "00"]),
        st.sampled_from(["T", "t", "T", "t", "x", " ", "_", ""]),
        st.sampled_from(["00", "12", "23", "24", "1"]),
        st.sampled_from([":00", ":59", ":60", "00", ""]),
        st.sampled_from([":00", ":59", ":60", ":61", "", "00"]),
        st.sampled_from(["", "", ".0", ".123456", ".1234567", ".000000001", ".1234567890", ",5", "."]),
        st.sampled_from(["Z", "z", "+00:00", "-00:00", "+23:59", "-23:59", "+24:00", "+0100", "+01", "+01:02:03", ""]),
        st.sampled_from(["", "", "", "", " ", "\n"]),
    ),
)
ISSUE_TIMES = ("2026-06-15x12:00:00Z", "2026-W25-1T12:00Z", "2026-06-15T12:00:00+01:00:30", "2026-06-15 12:00:00Z")


@given(NEARLY_TIMES | st.text(max_size=40) | st.from_regex(DATE_TIME, fullmatch=True))
@example(ISSUE_TIMES[0])
@example(ISSUE_TIMES[1])
@example(ISSUE_TIMES[2])
@example(ISSUE_TIMES[3])
@example("2026-06-15t12:00:00z")
@example("0001-01-01T00:00:00+00:01")
@example("9999-12-31T23:59:59-00:01")
def test_a_date_time_is_that_of_rfc_3339(text: str) -> None:
    parsed = parse(dt.datetime, text)
    assert parsed == expected_time(text)
    if parsed is not None:
        assert parsed.tzinfo is dt.UTC
        assert parse(dt.datetime, serialize(dt.datetime, parsed)) == parsed


@pytest.mark.parametrize("text", ISSUE_TIMES)
def test_these_are_no_date_times(text: str) -> None:
    assert parse(dt.datetime, text) is None


OFFSETS = st.timedeltas(-dt.timedelta(hours=23), dt.timedelta(hours=23)).map(dt.timezone)
MOMENTS = st.datetimes(dt.datetime(1, 1, 3), dt.datetime(9999, 12, 29), timezones=OFFSETS | st.just(dt.UTC))  # noqa: DTZ001 (bounds)


@given(MOMENTS)
@example(dt.datetime(1880, 1, 1, tzinfo=dt.timezone(dt.timedelta(seconds=3_501))))
def test_a_date_time_in_a_response_is_in_utc(moment: dt.datetime) -> None:
    text = serialize(dt.datetime, moment)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?\+00:00", text, re.ASCII)
    assert parse(dt.datetime, text) == moment


@given(
    st.dates().map(str)
    | st.builds("{}-{}-{}".format, _digits(4), _digits(2), _digits(2))
    | st.text(max_size=12)
    | st.from_regex(r"\d{4}-\d\d-\d\d", fullmatch=True)
)
@example("20260615")
@example("2026-W25-1")
@example("2026-166")
@example("2026-06-15T00:00:00Z")
@example("2026-06-15 ")
def test_a_date_is_the_full_date_of_rfc_3339(text: str) -> None:
    expected = None
    if re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII):
        with suppress(ValueError):
            expected = dt.date(*map(int, text.split("-")))
    parsed = parse(dt.date, text)
    assert parsed == expected
    if parsed is not None:
        assert serialize(dt.date, parsed) == text


DECIMAL = re.compile(r"(?=.{1,100}\Z)([+-]?)(?:(\d+)(?:\.(\d*))?|\.(\d+))", re.ASCII)


@given(
    st.builds(
        "".join,
        st.tuples(
            st.sampled_from(["", "-", "+", "--", " "]),
            st.sampled_from(["", "0", "00", "12", "1_000", "1,000", "٣", "9" * 98, "9" * 101]),
            st.sampled_from(["", ".", ".0", ".50", ".1.2", "."]),
            st.sampled_from(["", "", "", "e5", "E-3", "e999999", " ", "\n"]),
        ),
    )
    | st.text(max_size=20)
    | st.from_regex(DECIMAL, fullmatch=True)
    | st.sampled_from(["NaN", "sNaN", "Infinity", "-inf", "0x10", "½"])
)
@example("1_000")
@example(" 12 ")
@example("٠١٢")
@example("0e999999")
def test_a_decimal_is_that_of_xml_schema(text: str) -> None:
    parsed = parse(Decimal, text)
    match = DECIMAL.fullmatch(text)
    assert (parsed is None) == (match is None)
    if parsed is not None and match is not None:
        sign, whole, fraction, only_fraction = match.groups()
        digits = fraction or only_fraction or ""
        number = int((whole or "0") + digits)
        assert parsed * 10 ** len(digits) == (-number if sign == "-" else number) or len(text) > 20
        assert parse(Decimal, serialize(Decimal, parsed)) == parsed


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20))
@example(Decimal("1E+10"))
@example(Decimal("0E-8"))
def test_a_decimal_in_a_response_has_no_exponent(number: Decimal) -> None:
    text = serialize(Decimal, number)
    assert re.fullmatch(r"-?\d+(\.\d+)?", text, re.ASCII)
    assert Decimal(text) == number


def test_a_decimal_is_a_string_or_an_integer() -> None:
    """Never a float, which may have lost digits."""
    assert [parse(Decimal, value) for value in ("12.50", "-0.1", 5)] == [Decimal("12.50"), Decimal("-0.1"), Decimal(5)]
    for wrong in (12.5, "twelve", "NaN", "Infinity", 10**100):
        assert parse(Decimal, wrong) is None


@given(st.uuids().map(str) | st.uuids().map(lambda key: str(key).upper()) | st.text(max_size=40))
def test_a_uuid_has_its_canonical_form(text: str) -> None:
    is_canonical = re.fullmatch("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", text, re.ASCII | re.IGNORECASE)
    parsed = parse(UUID, text)
    assert (parsed is None) == (is_canonical is None)
    if parsed is not None:
        assert serialize(UUID, parsed) == text.lower()


@pytest.mark.parametrize("template", ["{%s}", "urn:uuid:%s", "%s ", " %s", "%s\n"])
def test_other_forms_of_a_uuid_are_rejected(template: str) -> None:
    text = "0195c3a4-7b1e-7c55-9d1a-2f6b1c0a9e11"
    assert parse(UUID, text) == UUID(text)
    assert parse(UUID, template % text) is None
    assert parse(UUID, text.replace("-", "")) is None


@pytest.mark.parametrize("kind", [dt.datetime, dt.date, Decimal, UUID])
@pytest.mark.parametrize("value", [None, True, 1.5, [], {}, b"2026-06-15"])
def test_values_of_other_types_are_rejected(kind: object, value: object) -> None:
    assert parse(kind, value) is None


@strawberry.type
class Query:
    """Fields that return what they get, and a row with a value of each scalar."""

    @strawberry.field
    def echo(self, value: JSON) -> JSON:
        return value

    @strawberry.field
    def rows(self, info: strawberry.Info[list["Row"]]) -> "list[Row]":
        return info.context


@strawberry.type
class Row:
    time: dt.datetime
    day: dt.date
    number: Decimal
    key: UUID
    maybe: dt.datetime | None = None


SCHEMA = strawberry.Schema(query=Query, config=StrawberryConfig(scalar_map=SCALARS))
ROWS = st.lists(
    st.builds(
        Row,
        time=MOMENTS,
        day=st.dates(),
        number=st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20),
        key=st.uuids(),
        maybe=st.none() | MOMENTS,
    ),
    max_size=5,
)


@given(ROWS)
async def test_the_executors_write_the_same_texts(rows: list[Row]) -> None:
    text = "{ rows { time day number key maybe } }"
    data, errors = await run_both(SCHEMA, text, context_value=rows)
    assert errors == []
    assert data == {
        "rows": [
            {
                "time": serialize(dt.datetime, row.time),
                "day": serialize(dt.date, row.day),
                "number": serialize(Decimal, row.number),
                "key": serialize(UUID, row.key),
                "maybe": None if row.maybe is None else serialize(dt.datetime, row.maybe),
            }
            for row in rows
        ]
    }
    native = await run(SCHEMA, text, NativeExecutor, context_value=rows)
    assert json.loads(orjson.dumps(native.data)) == data


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("time", dt.datetime(2026, 1, 1)),  # noqa: DTZ001 (the error)
        ("time", "2026-01-01"),
        ("day", dt.datetime(2026, 1, 1, tzinfo=dt.UTC)),
        ("number", Decimal("NaN")),
        ("number", 1.5),
        ("key", "0195c3a4-7b1e-7c55-9d1a-2f6b1c0a9e11"),
    ],
)
async def test_no_other_text_is_ever_written(name: str, value: object) -> None:
    """A value of the wrong kind is an error of the field."""
    row = Row(time=dt.datetime.now(dt.UTC), day=dt.date(2026, 1, 1), number=Decimal(1), key=UUID(int=1))
    setattr(row, name, value)
    data, errors = await run_both(SCHEMA, f"{{ rows {{ {name} }} }}", context_value=[row])
    assert data is None
    assert [path for _, path in errors] == [["rows", 0, name]]


@pytest.mark.parametrize(
    ("literal", "value"),
    [
        ('{a: [1, 2.5, null, true, "x", {b: []}], c: 18446744073709551615}', None),
        ("-9223372036854775808", -(2**63)),
    ],
)
async def test_a_json_literal_is_any_json_value(literal: str, value: Any) -> None:
    data, errors = await run_both(SCHEMA, f"{{ echo(value: {literal}) }}")
    assert errors == []
    assert data["echo"] == (value or {"a": [1, 2.5, None, True, "x", {"b": []}], "c": 2**64 - 1})
    assert orjson.loads(orjson.dumps(data)) == data


@pytest.mark.parametrize("number", ["18446744073709551616", "-9223372036854775809", "1e400", "9" * 400])
@pytest.mark.parametrize("template", ["%s", "[%s]", "{a: {b: [1, %s]}}"])
async def test_a_json_literal_has_no_number_that_json_cannot_have(number: str, template: str) -> None:
    _, errors = await run_both(SCHEMA, f"{{ echo(value: {template % number}) }}")
    assert [message for message, _ in errors] == [
        "Argument 'value' has invalid value: A number in a JSON value must have at most 64 bits."
    ]


def test_every_value_of_an_enum_is_described() -> None:
    """A missing or surplus description raises an error at import."""

    class Colour(StrEnum):
        RED = "red"

    with pytest.raises(KeyError, match="RED"):
        describe_enum(Colour, "A colour.")
    with pytest.raises(TypeError, match="Colour has no GREEN"):
        describe_enum(Colour, "A colour.", RED="Red.", GREEN="Green.")
