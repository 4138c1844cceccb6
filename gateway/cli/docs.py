"""`siso docs`: pages that are generated from the code."""

import textwrap
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from gateway.settings import PREFIX, Settings

_HEAD = """# Settings

Set a setting as an environment variable or as a line in a `.env` file in the working directory.
The gateway rejects a `GATEWAY_` name that is not in this list. Times are in seconds. A setting
without a default is optional.

`siso docs settings` generates this page from `gateway/settings/`; a test compares the two.

"""

_WIDTH = 100


def settings_page() -> str:
    """The page of all settings, in the order of the class."""
    return _HEAD + "".join(_entry(name, field) for name, field in Settings.model_fields.items())


def _entry(name: str, field: FieldInfo) -> str:
    default = [f"default {_default(field.default)}"] if field.default not in {None, ""} else []
    facts = ", ".join([*default, *_bounds(field)])
    text = f"- `{PREFIX}{name.upper()}`{f' ({facts})' if facts else ''}: {field.description}{_choices(field)}"
    return textwrap.fill(text, _WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False) + "\n"


def _default(value: Any) -> str:
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, SecretStr):  # a default is in the source, so it is no secret
        value = value.get_secret_value()
    return f"`{value.as_posix() if isinstance(value, Path) else value}`"


def _bounds(field: FieldInfo) -> list[str]:
    """The range of a number: ``0 to 65535``, ``at least 1`` or ``more than 0``."""
    bounds = {
        name: getattr(item, name) for item in field.metadata for name in ("ge", "gt", "le") if hasattr(item, name)
    }
    if "le" in bounds:
        return [f"{bounds['ge']} to {bounds['le']}"]
    return [f"{words} {bounds[name]}" for name, words in (("ge", "at least"), ("gt", "more than")) if name in bounds]


def _choices(field: FieldInfo) -> str:
    if get_origin(field.annotation) is not Literal:
        return ""
    return " One of " + ", ".join(f"`{choice}`" for choice in get_args(field.annotation)) + "."
