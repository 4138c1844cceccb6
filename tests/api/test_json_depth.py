"""The depth of JSON that clients send, compared with a plain computation."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.transport.error_responses import RequestRejected
from gateway.transport.requests import parse_json

TEXTS = st.text(alphabet=st.sampled_from('[]{}"\\n/ü,: '), max_size=12)
VALUES = st.recursive(
    st.none() | st.integers(0, 9) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=30,
)


def depth_of(value: Any) -> int:
    """The number of nested lists and objects."""
    if isinstance(value, list | dict):
        return 1 + max(map(depth_of, value.values() if isinstance(value, dict) else value), default=0)
    return 0


@given(VALUES, st.integers(50, 66), st.booleans(), TEXTS)
def test_values_of_at_most_64_levels_are_accepted(value: Any, levels: int, ascii_only: bool, key: str) -> None:  # noqa: FBT001 (generated)
    for level in range(levels):
        value = [value, key] if level % 2 else {key: value}
    text = json.dumps(value, ensure_ascii=ascii_only)
    if depth_of(value) <= 64:
        assert parse_json(text, "It") == value
        return
    with pytest.raises(RequestRejected, match=r"^It is nested more than 64 levels deep\.$"):
        parse_json(text.encode(), "It")
