"""Global ids: ``base64("Note:<uuid>")``. Opaque to clients, unique across all types, constant for the life of a row."""

import binascii
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from repositories.core.ids import as_uuid


def global_id(type_name: str, key: UUID) -> str:
    """The global id of a row, by the name of its GraphQL type and its primary key."""
    return binascii.b2a_base64(f"{type_name}:{key}".encode(), newline=False).decode()


def parse_global_id(text: str) -> tuple[str, UUID]:
    """The type name and the key in a global id. Raises ValueError if the text is not a global id."""
    try:
        type_name, _, key = binascii.a2b_base64(text, strict_mode=True).decode().partition(":")
        return type_name, as_uuid(key)
    except (binascii.Error, UnicodeDecodeError, ValueError) as error:
        message = "This is not an id; take one from the `id` field of an object."
        raise ValueError(message) from error


@dataclass(frozen=True, slots=True)
class GlobalKey:
    """Marks a UUID in a command that clients give as a global id, an ``ID`` in the GraphQL schema.

    ``NoteKey = Annotated[UUID, GlobalKey("Note")]``
    """

    type_name: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Accepts a global id of the right type from clients, and a UUID from Python code."""
        return core_schema.no_info_before_validator_function(self._decode, handler(source))

    def _decode(self, value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            type_name, key = parse_global_id(value)
        except ValueError as error:
            raise PydanticCustomError("global_id", "{reason}", {"reason": str(error)}) from None
        if type_name != self.type_name:
            article = "an" if self.type_name[0] in "AEIO" else "a"  # a User
            text = "This is not the id of {article} {type_name}."
            raise PydanticCustomError("global_id", text, {"article": article, "type_name": self.type_name})
        return key
