"""The command line `siso`.

``main.py`` declares the commands and their help texts. Each command imports what it needs when it runs, so that the
others start fast. An error that the user can correct is one line on standard error and exit code 2, never a traceback.
"""

from gateway.cli.console import run
from gateway.cli.main import app


def main() -> None:
    run(app)
