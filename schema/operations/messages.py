"""Messages about invalid inputs for users. Pydantic finds what is invalid, but words it for programmers."""

import re

_NULL = "This must not be null."
_MESSAGES = {
    "string_type": _NULL,
    "int_type": _NULL,
    "bool_type": _NULL,
    "decimal_type": _NULL,
    "uuid_type": _NULL,
    "date_type": _NULL,
    "datetime_type": _NULL,
    "list_type": _NULL,
    "enum": _NULL,
    "model_type": _NULL,
    "string_too_short": "This must have at least {0} characters.",
    "string_too_long": "This must have at most {0} characters.",
    "string_unicode": "Text must not contain NUL or half of a surrogate pair.",
    "greater_than_equal": "This must be {0} or more.",
    "less_than_equal": "This must be {0} or less.",
    "decimal_max_digits": "This must have at most {0} digits.",
    "decimal_max_places": "This must have at most {0} digits after the point.",
    "decimal_whole_digits": "This must have at most {0} digits before the point.",
    "too_short": "This list must have at least {0} items.",
    "too_long": "This list must have at most {0} items.",
}
"""By Pydantic's type of error; {0} is the first number in Pydantic's message.

A value of a wrong type can only be null, because GraphQL rejects all others before.
"""
_SINGULAR = {
    "This must have at least 1 characters.": "This must not be empty.",
    "This list must have at least 1 items.": "This list must not be empty.",
}


def message_for(error_type: str, message: str) -> str:
    """The message for a user about an error of Pydantic. Messages of the commands' own validators stay as they are."""
    template = _MESSAGES.get(error_type)
    if template is None:
        return message.rstrip(".") + "."
    text = template.format(*(f"{int(number):,}" for number in re.findall(r"-?\d+", message)))
    return _SINGULAR.get(text, text)
