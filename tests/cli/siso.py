"""Runs the installed `siso` and talks to what it serves."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

PROGRAM = Path(sys.executable).with_name("siso")
PATIENCE = 30.0


@dataclass
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str


class Served:
    """A gateway that answers requests."""

    def __init__(self, process: "subprocess.Popen[str]", url: str, said: list[str]) -> None:
        self.process = process
        self.url = url
        self.said = said

    def get(self, path: str, **headers: str) -> Any:
        """The JSON at a path."""
        return httpx.get(self.url + path, headers=headers, timeout=PATIENCE).json()

    def ask(self, document: str, token: str = "") -> Any:
        """The data of an operation."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        answer = httpx.post(f"{self.url}/graphql", json={"query": document}, headers=headers, timeout=PATIENCE)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def stop(self, number: signal.Signals = signal.SIGINT) -> Ended:
        """Asks it to end and waits for that."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=PATIENCE)
        return Ended(self.process.returncode, "".join(self.said) + out, err)


class Siso:
    """The command line with settings of its own; nothing of this machine's gets in."""

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self.folder = folder
        self.settings = dict(settings)

    def start(self, *arguments: str, **settings: str) -> "subprocess.Popen[str]":
        """A command that is running."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
        return subprocess.Popen(
            [PROGRAM, *arguments],
            cwd=self.folder,
            env=inherited | self.settings | settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, **settings: str) -> Ended:
        """A command that ends by itself."""
        with self.start(*arguments, **settings) as process:
            try:
                out, err = process.communicate(timeout=PATIENCE * 2)
            except BaseException:
                process.kill()
                raise
        assert "Traceback" not in out + err, out + err
        return Ended(process.returncode, out, err)

    def refusal(self, *arguments: str, **settings: str) -> str:
        """What a command that must be refused says: one line, and exit code 2."""
        ended = self.run(*arguments, **settings)
        assert ended.code == 2, ended
        (line,) = ended.err.splitlines()
        return line

    def result(self, *arguments: str, **settings: str) -> str:
        """What a command that must succeed prints."""
        ended = self.run(*arguments, **settings)
        assert ended.code == 0, ended
        return ended.out.rstrip("\n")

    @contextmanager
    def serving(self, *arguments: str, **settings: str) -> Iterator[Served]:
        """A gateway on a free port, which is ended at the latest with the block."""
        process = self.start("serve", "--port", "0", *arguments, **settings)
        try:
            yield _answering(process)
        finally:
            if process.poll() is None:
                process.terminate()
                process.communicate(timeout=PATIENCE)


def _answering(process: "subprocess.Popen[str]") -> Served:
    """Waits for the line with the address, and then for the first answer there."""
    assert process.stdout is not None
    said = []
    while line := process.stdout.readline():
        said.append(line)
        if found := re.search(r"serves (http://\S+)/graphql", line):
            served = Served(process, found[1], said)
            _wait_for(served)
            return served
    _, err = process.communicate()
    raise AssertionError(f"siso serve ended with {process.returncode}: {''.join(said)}{err}")


def _wait_for(served: Served) -> None:
    until = time.monotonic() + PATIENCE
    while True:
        try:
            served.get("/health")
        except httpx.HTTPError:
            assert time.monotonic() < until, "it does not answer"
            time.sleep(0.05)
        else:
            return
