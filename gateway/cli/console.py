"""How commands talk to a person: results on standard output, everything else on standard error, one line per error."""

import logging
import os
import re
import sys
from typing import TYPE_CHECKING, NoReturn
from uuid import uuid4

import typer

if TYPE_CHECKING:
    from rich.progress import Progress

logger = logging.getLogger("gateway.cli")

_PASSWORD = re.compile(r"(://[^:/@\s]*:)[^@\s]*@")
_WRONG = 2
_INTERRUPTED = 130


class CommandError(Exception):
    """What a person can put right; the message is one line that says how."""


def redacted(text: str) -> str:
    """The text without the passwords of URLs in it."""
    return _PASSWORD.sub(r"\1***@", text)


def say(text: str = "") -> None:
    """A result."""
    print(text, flush=True)  # noqa: T201 (this is the command line)


def note(text: str) -> None:
    """Something about how it went, which must not get into a result that is piped on."""
    print(redacted(text), file=sys.stderr, flush=True)  # noqa: T201 (this is the command line)


def progress_bar() -> "Progress":
    """A bar on standard error, for a person who is watching."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def run(app: typer.Typer) -> NoReturn:
    """Runs the command that was asked for and ends the process."""
    try:
        code = app(standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        code = _INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = _INTERRUPTED
    except Exception as error:  # noqa: BLE001 (the last resort: nobody shall see a stack trace)
        is_help = type(error).__name__ == "NoArgsIsHelpError"  # its message is the help, with line breaks
        note(str(error) if is_help else f"siso: {_told(error)}")
        code = _WRONG
    sys.exit(code if isinstance(code, int) else 0)


def _told(error: Exception) -> str:
    """What a person is told of an error, on one line."""
    known = " ".join(_known(error).split())
    if known:
        return known
    number = uuid4().hex[:12]
    details = "see the log above" if logger.isEnabledFor(logging.DEBUG) else "run it with `siso --debug` to see details"
    logger.debug("error %s", number, exc_info=_without_passwords(error))
    return f"something unexpected happened (error {number}); {details}."


def _known(error: Exception) -> str:
    """The message of an error that is not ours to mend, or nothing."""
    if isinstance(error, CommandError):
        return str(error)
    if hasattr(error, "format_message"):
        context = getattr(error, "ctx", None)
        path = context.command_path if context else "siso"
        return f"{error.format_message()} See `{path} --help`."
    if isinstance(error, ImportError):
        return f"A part of the gateway is missing ({error}). Install it anew: `make run` does."
    from gateway.settings import SettingsError
    from repositories.core.encryption import MissingKeysError
    from repositories.core.errors import Forbidden, ServiceUnavailable

    if isinstance(error, SettingsError):
        return str(error)
    if isinstance(error, MissingKeysError):
        return "Encrypted columns need GATEWAY_ENCRYPTION_KEYS and GATEWAY_INDEX_KEY. See docs/settings.md."
    if isinstance(error, Forbidden):
        return "The database login may not do this. `siso doctor` says which role it lacks."
    if isinstance(error, ServiceUnavailable):
        cause = f" ({error.__cause__})" if error.__cause__ else ""
        return f"The database cannot be reached{cause}. `siso doctor` looks into it."
    return ""


def _without_passwords(error: BaseException) -> BaseException:
    """The same error and its causes, their texts fit for a log."""
    found: BaseException | None = error
    while found is not None:
        found.args = tuple(redacted(part) if isinstance(part, str) else part for part in found.args)
        found = found.__cause__ or found.__context__
    return error
