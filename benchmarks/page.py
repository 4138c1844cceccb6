"""The page that tells of the figures."""

import datetime as dt
import platform
import re
import subprocess
from pathlib import Path

PAGE = Path("docs/performance.md")


def circumstances() -> str:
    """When, on what machine, and of which state of the gateway."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    processor = model[1] if model else platform.machine()
    version = output("git", "describe", "--always", "--dirty")
    return f"{dt.datetime.now(dt.UTC):%Y-%m-%d}, {processor}, Linux {platform.release()}; gateway at {version}."


def output(*command: str) -> str:
    """What a command says."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def replace_part(page: Path, name: str, text: str) -> None:
    """Puts ``text`` between the page's markers of that name."""
    start, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, found, rest = page.read_text(encoding="utf-8").partition(start)
    assert found, f"{page} has no {start}"
    page.write_text(f"{before}{start}\n\n{text}\n\n{end}{rest.partition(end)[2]}", encoding="utf-8")
    print(f"Written into {page}.")
