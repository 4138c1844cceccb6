"""Console output: results on standard output, everything else on standard error, one line per error."""

import errno
import logging
import os
import re
import signal
import sys
from typing import TYPE_CHECKING, NoReturn
from uuid import uuid4

import typer

if TYPE_CHECKING:
    from rich.progress import Progress

logger = logging.getLogger("gateway.cli")

_PASSWORD = re.compile(r"(?<=://)([^:/@\s]*:)\S+(?=@)|([?&]password=)[^&\s]+")
"""The password of a URL, before the host or as a parameter."""
_ERROR_CODE = 2
_INTERRUPTED_CODE = 130


class CommandError(Exception):
    """An error that the user can correct; the message is one line that says how."""


def redact_passwords(text: str) -> str:
    """Replaces the passwords of URLs in the text with asterisks."""
    return _PASSWORD.sub(r"\1\2***", text)


def contains_password(url: str) -> bool:
    return _PASSWORD.search(url) is not None


def print_result(text: str = "") -> None:
    print(text, flush=True)  # noqa: T201 (this is the command line)


def print_notice(text: str) -> None:
    """Prints to standard error, so that a notice never becomes part of a piped result."""
    print(redact_passwords(text), file=sys.stderr, flush=True)  # noqa: T201 (this is the command line)


def progress_bar() -> "Progress":
    """A progress bar on standard error, hidden if that is not a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def run(app: typer.Typer) -> NoReturn:
    """Runs the command given in ``sys.argv`` and exits the process."""
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()
    except (KeyboardInterrupt, typer.Abort):
        code = _INTERRUPTED_CODE
    except BrokenPipeError:
        code = _INTERRUPTED_CODE
    except Exception as error:  # noqa: BLE001 (the last resort: users must not see a traceback)
        is_help = type(error).__name__ == "NoArgsIsHelpError"  # its message is the help, with line breaks
        print_notice(str(error) if is_help else f"siso: {_error_line(error)}")
        code = _ERROR_CODE
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # nothing is left to interrupt, and Python's exit would print a traceback
    _discard_unwritten_output()
    sys.exit(code if isinstance(code, int) else 0)


def _discard_unwritten_output() -> None:
    """Discards what cannot be written. Python's exit would try again, print a traceback and change the exit code."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _error_line(error: Exception) -> str:
    """The error as one line. An unexpected error gets an id that is also in the debug log."""
    message = " ".join(_known_message(error).split())
    if message:
        return message
    error_id = uuid4().hex[:12]
    is_debug = logger.isEnabledFor(logging.DEBUG)
    details = "See the log above." if is_debug else "Run the command with `siso --debug` to see details."
    logger.debug("error %s", error_id, exc_info=_redact_error(error))
    return f"An unexpected error occurred (error {error_id}). {details}"


def _known_message(error: Exception) -> str:
    """The message of an error that the user can correct; empty for any other error."""
    if isinstance(error, CommandError):
        return str(error)
    if hasattr(error, "format_message"):
        context = getattr(error, "ctx", None)
        path = context.command_path if context else "siso"
        return f"{error.format_message().rstrip('.')}. See `{path} --help`."
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return f"{error.filename or 'The output'} cannot be written: {error.strerror}."
    if isinstance(error, ImportError):
        return f"A required package cannot be imported ({error}). Run `make run` to install the requirements."
    from gateway.settings import SettingsError
    from repositories.core.encryption import MissingKeysError
    from repositories.core.errors import Forbidden, ServiceUnavailable
    from repositories.sql.declarations import DeclarationError

    if isinstance(error, SettingsError):
        return str(error)
    if isinstance(error, DeclarationError):
        return f"{error}. Correct the declaration."
    if isinstance(error, MissingKeysError):
        return "Encrypted columns need GATEWAY_ENCRYPTION_KEYS and GATEWAY_INDEX_KEY. See docs/settings.md."
    if isinstance(error, Forbidden):
        return "The database login lacks a permission. Run `siso doctor` to see which role it needs."
    if isinstance(error, ServiceUnavailable):
        cause = f" ({error.__cause__})" if error.__cause__ else ""
        return f"The database cannot be reached{cause}. Run `siso doctor` to find the cause."
    return ""


def _redact_error(error: BaseException) -> BaseException:
    """Removes passwords from the messages of the error and its causes, so that it can be logged."""
    current: BaseException | None = error
    while current is not None:
        current.args = tuple(redact_passwords(part) if isinstance(part, str) else part for part in current.args)
        current = current.__cause__ or current.__context__
    return error
