"""Runs `siso` and sends requests to the gateways that it serves."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.cli.fork_server import PROGRAM, ForkedProcess

TIMEOUT = 30.0
"""Seconds that a command or a request may take."""

Process = ForkedProcess | subprocess.Popen[str]
Launch = Callable[[Sequence[str], Path, Mapping[str, str]], Process]
"""Starts `siso` with arguments, in a directory, with an environment."""


def launch_installed(arguments: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Process:
    return subprocess.Popen(
        [PROGRAM, *arguments], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@dataclass
class CompletedCommand:
    code: int
    out: str
    err: str


class RunningGateway:
    """A `siso serve` process that accepts requests. ``lines`` are what it has printed so far."""

    def __init__(self, process: Process, url: str, lines: list[str]) -> None:
        self.process = process
        self.url = url
        self.lines = lines

    def get(self, path: str, **headers: str) -> Any:
        """The JSON at a path."""
        return httpx.get(self.url + path, headers=headers, timeout=TIMEOUT).json()

    def ask(self, document: str, token: str = "") -> Any:
        """The data of an operation."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        answer = httpx.post(f"{self.url}/graphql", json={"query": document}, headers=headers, timeout=TIMEOUT)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def stop(self, number: signal.Signals = signal.SIGINT) -> CompletedCommand:
        """Sends the signal and waits until the process has ended."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=TIMEOUT)
        return CompletedCommand(self.process.returncode, "".join(self.lines) + out, err)


class Siso:
    """The command line with its own working directory and settings, without the settings of this machine."""

    def __init__(self, folder: Path, settings: Mapping[str, str], launch: Launch = launch_installed) -> None:
        self.folder = folder
        self.settings = dict(settings)
        self._launch = launch

    def start(self, *arguments: str, **settings: str) -> Process:
        """Starts a command without waiting for its end."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
        return self._launch(arguments, self.folder, inherited | self.settings | settings)

    def run(self, *arguments: str, **settings: str) -> CompletedCommand:
        """Runs a command to its end."""
        with self.start(*arguments, **settings) as process:
            try:
                out, err = process.communicate(timeout=TIMEOUT * 2)
            except BaseException:
                process.kill()
                raise
        assert "Traceback" not in out + err, out + err
        return CompletedCommand(process.returncode, out, err)

    def expect_error(self, *arguments: str, **settings: str) -> str:
        """Runs a command that must end with exit code 2, and returns its single line on standard error."""
        ended = self.run(*arguments, **settings)
        assert ended.code == 2, ended
        (line,) = ended.err.splitlines()
        return line

    def expect_output(self, *arguments: str, **settings: str) -> str:
        """Runs a command that must succeed, and returns its standard output."""
        ended = self.run(*arguments, **settings)
        assert ended.code == 0, ended
        return ended.out.rstrip("\n")

    @contextmanager
    def serving(self, *arguments: str, **settings: str) -> Iterator[RunningGateway]:
        """Runs a gateway on a free port. Stops it at the end of the block, unless it has ended before."""
        process = self.start("serve", "--port", "0", *arguments, **settings)
        try:
            yield _wait_until_ready(process)
        finally:
            if process.poll() is None:
                process.terminate()
                process.communicate(timeout=TIMEOUT)


def _wait_until_ready(process: Process) -> RunningGateway:
    """Waits for the line with the address, and then for the first response."""
    assert process.stdout is not None
    lines = []
    while line := process.stdout.readline():
        lines.append(line)
        if found := re.search(r"serves (http://\S+)/graphql", line):
            gateway = RunningGateway(process, found[1], lines)
            _wait_for_response(gateway)
            return gateway
    _, err = process.communicate()
    raise AssertionError(f"siso serve ended with {process.returncode}: {''.join(lines)}{err}")


def _wait_for_response(gateway: RunningGateway) -> None:
    deadline = time.monotonic() + TIMEOUT
    while True:
        try:
            gateway.get("/health")
        except httpx.HTTPError:
            assert time.monotonic() < deadline, "the gateway does not respond"
            time.sleep(0.05)
        else:
            return
