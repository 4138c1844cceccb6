"""Global ids: what was made is read, and what was not made is refused."""

import base64
from uuid import UUID

import pytest

from resolvers.validation.global_ids import global_id, parse_global_id

_KEY = "01a1f989-dd92-73ca-b69c-189f7fbfe336"


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_a_key_equals_any_other_uuid_of_its_value() -> None:
    """Whatever class it is of: as a key of a dict, too."""
    type_name, key = parse_global_id(global_id("Task", UUID(_KEY)))
    assert (type_name, key, str(key)) == ("Task", UUID(_KEY), _KEY)
    assert {UUID(_KEY): "found"}[key] == "found"
    assert isinstance(key, UUID)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Task",
        _KEY,
        _encoded("Task"),
        _encoded("Task:"),
        _encoded(_KEY),
        _encoded(f"Task:{_KEY[:-1]}"),
        _encoded(f"Task:{_KEY}0"),
        _encoded(f"Task:{_KEY[:-1]}g"),
        _encoded(f"Task: {_KEY}"),
        _encoded(f"Task:{_KEY}\0"),
        _encoded("Task:" + "0" * 16),
        _encoded("Task:" + "٣" * 32),
        _encoded(f"Task:{_KEY}")[:-1],
        _encoded(f"Task:{_KEY}") + "\n",
        " " + _encoded(f"Task:{_KEY}"),
        base64.b64encode(b"Task:\xff" + b"0" * 31).decode(),
        "é",
        "\ud800",
        "0" * 1_000_000,
    ],
    ids=lambda text: ascii(text[:20]),
)
def test_what_is_no_id_is_refused(text: str) -> None:
    """With what to do, and nothing else."""
    with pytest.raises(ValueError, match=r"^This is not an id; take one from the `id` field of an object\.$"):
        parse_global_id(text)
