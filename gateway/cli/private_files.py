"""Files with data of the database, such as exports and reports. Only their owner can read them."""

import os
import stat
from pathlib import Path

from gateway.cli.console import CommandError


def open_private(file: Path) -> int:
    """A file descriptor for writing. A new file has mode 0600 from the start; an existing file is emptied first.

    The mode of a pipe or a device, such as /dev/stdout, does not change. Raises CommandError if it cannot be written.
    """
    try:
        number = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        if stat.S_ISREG(os.fstat(number).st_mode):
            os.fchmod(number, 0o600)
    except OSError as error:
        raise CommandError(f"{file} cannot be written: {error.strerror}.") from error
    return number
