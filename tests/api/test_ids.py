"""Global ids: encoding, decoding, and the rejection of other texts."""

import base64
from typing import Annotated
from uuid import UUID

import pytest
from pydantic import TypeAdapter, ValidationError

from repositories.core.ids import new_id
from resolvers.validation.global_ids import GlobalKey, global_id, parse_global_id

_KEY = "01a1f989-dd92-73ca-b69c-189f7fbfe336"


def _encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_a_decoded_key_equals_any_uuid_with_its_value() -> None:
    """This holds for any class of UUID, also as the key of a dict."""
    type_name, key = parse_global_id(global_id("Task", UUID(_KEY)))
    assert (type_name, key, str(key)) == ("Task", UUID(_KEY), _KEY)
    assert {UUID(_KEY): "found"}[key] == "found"
    assert isinstance(key, UUID)


def test_a_global_id_is_decoded() -> None:
    key = new_id()
    assert parse_global_id(global_id("Task", key)) == ("Task", key)
    adapter: TypeAdapter[UUID] = TypeAdapter(Annotated[UUID, GlobalKey("Achievement")])
    assert adapter.validate_python(key) == adapter.validate_python(global_id("Achievement", key)) == key
    with pytest.raises(ValidationError, match="This is not the id of an Achievement"):
        adapter.validate_python(global_id("Task", key))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Task",
        _KEY,
        _encode("Task"),
        _encode("Task:"),
        _encode(_KEY),
        _encode(f"Task:{_KEY[:-1]}"),
        _encode(f"Task:{_KEY}0"),
        _encode(f"Task:{_KEY[:-1]}g"),
        _encode(f"Task: {_KEY}"),
        _encode(f"Task:{_KEY}\0"),
        _encode("Task:" + "0" * 16),
        _encode("Task:" + "٣" * 32),
        _encode(f"Task:{_KEY}")[:-1],
        _encode(f"Task:{_KEY}") + "\n",
        " " + _encode(f"Task:{_KEY}"),
        base64.b64encode(b"Task:\xff" + b"0" * 31).decode(),
        "é",
        "\ud800",
        "0" * 1_000_000,
    ],
    ids=lambda text: ascii(text[:20]),
)
def test_other_texts_are_rejected(text: str) -> None:
    """The message says what to do, and does not repeat the text."""
    with pytest.raises(ValueError, match=r"^This is not an id; take one from the `id` field of an object\.$"):
        parse_global_id(text)
