"""The command line `siso`: serving, migrations, demo data, tokens, the contract, imports, and a doctor.

``app.py`` lists the commands and teaches them; each loads what it needs when it runs, so that the others start fast.
What a person can put right is one line on standard error and exit code 2; never a stack trace.
"""

from gateway.cli.console import run
from gateway.cli.main import app


def main() -> None:
    """The entry point."""
    run(app)
