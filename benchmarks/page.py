"""Writes results into docs/performance.md."""

import datetime as dt
import platform
import re
import subprocess
from pathlib import Path

PAGE = Path("docs/performance.md")


def describe_environment() -> str:
    """Returns the date, the machine and the commit of the gateway."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    processor = model[1] if model else platform.machine()
    version = run_command("git", "describe", "--always", "--dirty")
    return f"{dt.datetime.now(dt.UTC):%Y-%m-%d}, {processor}, Linux {platform.release()}; gateway at {version}."


def run_command(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def replace_section(page: Path, name: str, text: str) -> None:
    """Replaces the text between the page's markers of that name."""
    start, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, marker, after = page.read_text(encoding="utf-8").partition(start)
    assert marker, f"{page} does not contain {start}"
    page.write_text(f"{before}{start}\n\n{text}\n\n{end}{after.partition(end)[2]}", encoding="utf-8")
    print(f"Written into {page}.")
