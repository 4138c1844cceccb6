"""Formats of texts that need more than a regular expression, or that several layers check."""

import re

from pydantic import AnyHttpUrl, TypeAdapter, ValidationError

E164 = re.compile(r"\+[1-9][0-9]{6,14}")
"""A phone number with the code of its country."""
_URL = TypeAdapter(AnyHttpUrl)


def is_web_address(text: str) -> bool:
    """Whether the text is an absolute http or https URL without a user name."""
    try:
        address = _URL.validate_python(text)
    except ValidationError:
        return False
    return not address.username and text.isprintable() and " " not in text
