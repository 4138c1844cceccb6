"""Idempotency keys of requests: in the header ``Idempotency-Key``, or in ``extensions.idempotencyKey``.

draft-ietf-httpapi-idempotency-key-header names the header and the status 422. docs/idempotency.md is the guide for
clients.
"""

import datetime as dt
import hmac
import re
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.execution.processor import OperationProcessor, PreparedOperation
from gateway.execution.request_errors import RequestError
from gateway.transport.requests import Headers, Parameters
from repositories.core.errors import IdempotencyKeyReused, Unauthenticated
from repositories.core.viewer import Viewer
from repositories.tables.idempotency import MAX_KEY_LENGTH
from resolvers.request.key_claims import Idempotency
from schema.operations.mutation import accepts_no_key

HEADER = "Idempotency-Key"
REPLAYED_HEADER = "Idempotency-Replayed"
_HEADER_NAME = HEADER.lower().encode()
_EXTENSION = "idempotencyKey"
_KEY = re.compile(rf"[\x20-\x7e]{{1,{MAX_KEY_LENGTH}}}")


@dataclass(frozen=True, slots=True)
class IdempotencyOptions:
    """``secret`` is the key of the fingerprints, the same in all processes. ``lifetime`` is that of outcomes."""

    secret: bytes
    lifetime: dt.timedelta


def requested_key(parameters: Parameters, headers: Headers | None = None) -> str | None:
    """The key of a request; RequestError if it is invalid."""
    key: Any = parameters.extensions.get(_EXTENSION)
    place = f"`extensions.{_EXTENSION}`"
    if headers is not None and _HEADER_NAME in headers:
        sent = headers[_HEADER_NAME].decode("latin-1")
        if key is not None and key != sent:
            raise _invalid(f"The request has two different keys, in `{HEADER}` and in {place}. Send one.")
        key, place = sent, f"`{HEADER}`"
    if key is not None and (not isinstance(key, str) or not _KEY.fullmatch(key)):
        raise _invalid(f"{place} must be a string of 1 to {MAX_KEY_LENGTH} printable ASCII characters, such as a UUID.")
    return key


def _invalid(message: str) -> RequestError:
    return RequestError.of(message, "BAD_REQUEST")


def open_idempotency(
    processor: OperationProcessor, prepared: PreparedOperation, viewer: Viewer, key: str, options: IdempotencyOptions
) -> Idempotency:
    """The idempotency of a mutation with a key; RequestError if it cannot have one.

    The fingerprint is an HMAC, so that passwords in the variables cannot be guessed from it.
    """
    if viewer.id is None:
        raise RequestError.of("Idempotency keys are for signed-in users: sign in first.", Unauthenticated.code, 401)
    names = processor.operation(prepared).field_names
    fields = processor.schema.mutation_type.fields if processor.schema.mutation_type else {}
    for response_key, name in names.items():
        if name in fields and accepts_no_key(fields[name]):
            raise _invalid(f"`{name}` accepts no idempotency key, because it returns secrets, which are not stored.")
        if len(response_key) > MAX_KEY_LENGTH:
            raise _invalid(f"With an idempotency key, an alias may have at most {MAX_KEY_LENGTH} characters.")
    operation = prepared.operation.name
    identity = [operation.value if operation is not None else None, prepared.variables]
    variables = orjson.dumps(identity, option=orjson.OPT_SORT_KEYS)
    fingerprint = hmac.digest(options.secret, prepared.document.digest + variables, "sha256").hex()
    several = len(names) > 1
    return Idempotency(viewer.id, key, fingerprint, lifetime=options.lifetime, reads_first=several)


def reject_reused(idempotency: Idempotency | None) -> None:
    """Raises RequestError if the key belongs to another operation."""
    if idempotency is not None and idempotency.is_reused:
        error = IdempotencyKeyReused()
        raise RequestError.of(error.message, error.code, error.status)


def mark_replayed(parameters: Parameters, response: dict[str, Any], headers: dict[str, str] | None = None) -> None:
    """Tells the client that the response repeats that of an earlier request.

    The header does, and so do the extensions if they had the key.
    """
    if headers is not None:
        headers[REPLAYED_HEADER] = "true"
    if _EXTENSION in parameters.extensions:
        response.setdefault("extensions", {})["idempotencyReplayed"] = True
