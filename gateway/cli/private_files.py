"""Files with data of the database, such as exports and reports. Only their owner can read them."""

import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gateway.cli.console import CommandError


@contextmanager
def append_privately(file: Path) -> Iterator[Callable[[bytes], object]]:
    """Empties the file and writes each call's bytes to it at once, so that it is useful if the command is interrupted.

    A new file has mode 0600 from the start. Raises CommandError if the file cannot be written.
    """
    with _explain_errors(file):
        number = _open(file, os.O_TRUNC)
    with os.fdopen(number, "wb", buffering=0) as output:
        yield lambda data: _write(file, output.write, data)
        _synchronise(number)


@contextmanager
def replace_privately(file: Path) -> Iterator[Callable[[bytes], object]]:
    """Writes to a new file beside the file, which replaces the file at the end of the block.

    If an error leaves the block, the file is as it was before. The new file has mode 0600. A pipe or a device, such as
    /dev/stdout, is written directly. Raises CommandError if the file cannot be written.
    """
    if file.exists() and not file.is_file():
        with append_privately(file) as write:
            yield write
        return
    target = Path(os.path.realpath(file))
    new = target.with_name(f".{target.name[:200]}.{secrets.token_hex(4)}.new")
    with _explain_errors(file):
        number = _open(new, os.O_EXCL)
    output = os.fdopen(number, "wb")
    try:
        yield lambda data: _write(file, output.write, data)
        with _explain_errors(file):
            output.flush()
            _synchronise(number)
            new.replace(target)
    finally:
        with suppress(OSError):
            output.close()
        with suppress(OSError):
            new.unlink(missing_ok=True)


def _open(file: Path, flags: int) -> int:
    """The mode of a pipe or a device does not change."""
    number = os.open(file, os.O_WRONLY | os.O_CREAT | flags, 0o600)
    if stat.S_ISREG(os.fstat(number).st_mode):
        os.fchmod(number, 0o600)
    return number


def _write(file: Path, write: Callable[[bytes], object], data: bytes) -> None:
    with _explain_errors(file):
        write(data)


def _synchronise(number: int) -> None:
    if stat.S_ISREG(os.fstat(number).st_mode):
        os.fsync(number)


@contextmanager
def _explain_errors(file: Path) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise CommandError(f"{file} cannot be written: {error.strerror}.") from error
