"""The keys of encrypted columns: from the settings or, on SQLite, from files beside the database file."""

import base64
import os
import secrets
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from gateway.settings import Settings, SettingsError
from gateway.settings.value_types import parse_key, parse_keys
from repositories.core.encryption import KEY_BYTES
from repositories.engines.database import DatabaseOptions


def read_or_create_file(path: Path, generate: Callable[[], str]) -> str:
    """The content of a file that only its owner can read. A missing file is created with generated content.

    Several processes may call this at the same time: the first one creates the file, and none reads half of it.
    """
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        number, draft = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(number, "w", encoding="ascii") as file:
                file.write(generate())
            path.hardlink_to(draft)
        except FileExistsError:
            pass
        finally:
            Path(draft).unlink()
    return path.read_text(encoding="ascii").strip()


ENCRYPTION_KEYS, INDEX_KEY = "encryption_keys", "index_key"
"""The names of the files."""


def database_options(settings: Settings) -> DatabaseOptions:
    """The options of the database, with the keys of encrypted columns.

    On SQLite, missing keys are generated. On PostgreSQL they are not, because several processes and machines need the
    same keys; without keys, encrypted columns cannot be used.
    """
    options = settings.database_options()
    if settings.database_url is not None:
        if bool(options.encryption_keys) != bool(options.index_key):
            message = "GATEWAY_ENCRYPTION_KEYS and GATEWAY_INDEX_KEY are needed together on PostgreSQL."
            raise SettingsError(message)
        return options
    folder = settings.database_path.parent
    try:
        keys = options.encryption_keys or parse_keys(
            read_or_create_file(folder / ENCRYPTION_KEYS, lambda: f"first:{new_key()}")
        )
        index_key = options.index_key or parse_key(read_or_create_file(folder / INDEX_KEY, new_key))
    except ValueError as error:
        raise SettingsError(f"encryption_keys or index_key in {folder}: {error}.") from None
    return replace(options, encryption_keys=keys, index_key=index_key)


def new_key() -> str:
    """A random key, in base64."""
    return base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()
