"""Contradictions in the declaration of a column. The first one raises DeclarationError when the table is declared."""

import datetime as dt
import re
import sys
from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.types import NullType

from repositories.core.clock import time_zone
from repositories.core.email_address import parse_email
from repositories.core.errors import ValidationError
from repositories.core.formats import E164, is_web_address
from repositories.core.money import currency_digits
from repositories.sql import types
from repositories.sql.declarations import (
    LINE_BREAKS,
    DeclarationError,
    Declared,
    Format,
    Pattern,
    Writer,
    declared,
    place_of,
    reference_keys,
)

Rules = Mapping[str, bool]
"""Reasons for an error, and whether the declaration gives them."""


def check_column(column: sa.Column[Any]) -> None:
    """Raises DeclarationError if the declaration of a column of a table contradicts itself."""
    facts = declared(column)
    for rules in (_rules_of_types, _rules_of_bounds, _rules_of_use, _rules_of_inputs):
        _check(column, rules(column, facts))
    for default in (facts.default, facts.input_default):
        if default is not None:
            _check(column, _rules_of_kinds_of_defaults(facts, default))
            _check(column, _rules_of_defaults(column, facts, default))


def check_references(tables: Mapping[str, sa.Table]) -> None:
    """Raises DeclarationError for a foreign key to a column that does not exist. ``tables`` are all tables."""
    for table in tables.values():
        for key in sorted(table.foreign_keys, key=lambda key: str(key.parent.name)):
            target, _, name = key.target_fullname.rpartition(".")
            exists = target in tables and name in tables[target].c
            _check(key.parent, {f"it references {key.target_fullname}, which does not exist": not exists})


def _check(column: sa.Column[Any], rules: Rules) -> None:
    for reason, is_broken in rules.items():
        if is_broken:
            raise DeclarationError(place_of(column), reason)


def _rules_of_types(column: sa.Column[Any], facts: Declared) -> Rules:
    """Properties that only columns of some types have."""
    is_text, is_choice = facts.kind is str, isinstance(column.type, types.Choice)
    kind = getattr(facts.kind, "__name__", facts.kind)
    return {
        f"no SQL type is known for {kind}; use another type or `sql_type`": isinstance(column.type, NullType),
        "only texts can be encrypted": facts.encrypted and not is_text,
        "only texts can be searched": facts.searched and not is_text,
        "only texts have a length, a format or a single line": not is_text
        and bool(facts.length or facts.format or facts.single_line),
        "only numbers have a range": facts.range is not None and facts.kind not in {int, Decimal},
        "only enums have transitions": facts.transitions is not None and not is_choice,
        "only a column that references a table has an inverse": facts.inverse is not None
        and not reference_keys(column),
        "a JSON value cannot be filtered or sorted": isinstance(column.type, types.Json)
        and (facts.filtered or facts.sorted),
    }


def _rules_of_bounds(column: sa.Column[Any], facts: Declared) -> Rules:
    """Lengths, ranges and transitions that no value can have."""
    limits = [limit for limit in facts.range or () if limit is not None]
    return {
        "a length or a range must not end before it starts": any(
            bounds is not None and None not in bounds and bounds[0] > bounds[1]  # type: ignore[operator]
            for bounds in (facts.length, facts.range)
        ),
        "a length must not be negative": facts.length is not None and facts.length[0] < 0,
        "the range has numbers with more digits than the column": isinstance(column.type, types.Fixed)
        and not all(column.type.fits(Decimal(limit)) for limit in limits),
        **_rules_of_transitions(column, facts),
    }


def _rules_of_transitions(column: sa.Column[Any], facts: Declared) -> Rules:
    if facts.transitions is None or not isinstance(column.type, types.Choice):
        return {}
    known = {member.value for member in column.type.choices}
    starts = {str(value) for value in facts.transitions}
    ends = {str(value) for following in facts.transitions.values() for value in following}
    unknown, missing = sorted((starts | ends) - known), sorted(known - starts)
    return {
        f"the transitions name {', '.join(unknown)}, which is none of its values": bool(unknown),
        f"the transitions do not say what may follow {', '.join(missing)}": bool(missing),
        "clients cannot change a column with transitions directly; use `writer=Writer.GATEWAY`": facts.writer
        in {Writer.CLIENT, Writer.ON_UPDATE},
    }


def _rules_of_use(column: sa.Column[Any], facts: Declared) -> Rules:
    """What must not be done with encrypted and secret values."""
    return {
        "an encrypted column cannot be searched, filtered or sorted": facts.encrypted
        and (facts.searched or facts.filtered or facts.sorted),
        "an encrypted column cannot be unique, because equal values have different ciphertexts": facts.encrypted
        and _is_unique(column),
        "an encrypted column cannot have a default, which the database would store as plain text": facts.encrypted
        and facts.default is not None,
        "a secret column cannot be published": facts.secret and not facts.encrypted and bool(facts.description),
        "the history must not contain texts and secret values": facts.history and (facts.kind is str or facts.secret),
    }


def _is_unique(column: sa.Column[Any]) -> bool:
    unique: list[sa.UniqueConstraint | sa.Index] = [each for each in column.table.indexes if each.unique]
    unique += [each for each in column.table.constraints if isinstance(each, sa.UniqueConstraint)]
    return any(column.name in each.columns for each in unique)


def _rules_of_inputs(column: sa.Column[Any], facts: Declared) -> Rules:
    """Columns that clients cannot see or cannot write as they are declared."""
    return {
        "a column that clients write, filter, sort or search needs a description": not facts.description
        and (facts.writer is not Writer.GATEWAY or facts.searched or facts.filtered or facts.sorted),
        "a required column that the input of new rows lacks needs a default": facts.writer is Writer.ON_UPDATE
        and not column.nullable
        and facts.default is None,
    }


_TYPES_OF_DEFAULTS: Mapping[Any, tuple[type, ...]] = {
    str: (str,),
    int: (int,),
    bool: (bool,),
    Decimal: (int, Decimal),
    UUID: (UUID,),
    dt.datetime: (dt.datetime,),
    dt.date: (dt.date,),
    dict: (dict,),
    list: (list,),
}


def _rules_of_kinds_of_defaults(facts: Declared, default: Any) -> Rules:
    known = _TYPES_OF_DEFAULTS.get(facts.kind, (type(default),))
    return {f"the default {default!r} is of another type": type(default) not in known}


def _rules_of_defaults(column: sa.Column[Any], facts: Declared, default: Any) -> Rules:
    """Why a default of the right type cannot be a value of the column."""
    low, high = facts.range or (None, None)
    shortest, longest = facts.length or (0, sys.maxsize)
    is_text = facts.kind is str
    rules = {
        "is not in its range": (low is not None and default < low) or (high is not None and default > high),
        "has more digits than the column": isinstance(column.type, types.Fixed)
        and not column.type.fits(Decimal(default)),
        "has another length": is_text and not shortest <= len(default) <= longest,
        "has another format": is_text and not _has_format(default, facts.format),
        "is not a single line": facts.single_line and re.search(LINE_BREAKS, default) is not None,
        "is none of its values": isinstance(column.type, types.Choice)
        and str(default) not in {member.value for member in column.type.choices},
    }
    return {f"the default {default!r} {reason}": is_broken for reason, is_broken in rules.items()}


def _has_format(text: str, wanted: Format | Pattern | None) -> bool:
    """Whether a text is stored as it is by a column of the format."""
    try:
        match wanted:
            case Pattern(regex=regex):
                return re.fullmatch(regex, text) is not None
            case Format.EMAIL:
                return parse_email(text) == text
            case Format.PHONE:
                return E164.fullmatch(text) is not None
            case Format.WEB_ADDRESS:
                return is_web_address(text)
            case Format.TIME_ZONE:
                return time_zone(text).key == text
            case Format.CURRENCY:
                currency_digits(text)
                return True
            case None:
                return True
    except (ValueError, ValidationError):
        return False
