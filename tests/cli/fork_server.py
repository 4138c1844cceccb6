"""Starts `siso` by forking a process that has already imported it, because the imports take more than a second.

:class:`ForkServer` belongs to the tests. The server itself is this module as a program: for each request it forks, the
fork runs the command with its own folder, environment, output and exit code. Everything after the imports is as in a
process of the installed program; tests/cli/test_installed.py runs each command as such a process too. Coverage begins
after the imports too, so that each command writes only what it has run itself.
"""

import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from types import FrameType, ModuleType, TracebackType
from typing import Any, Self

import coverage

PROGRAM = Path(sys.executable).with_name("siso")
BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
"""The environment for a process whose output is buffered, as it is for users."""
_NUMBER = struct.Struct("i")
_LARGEST_REQUEST = 100_000


class ForkedProcess:
    """A running command, with the methods of :class:`subprocess.Popen` that tests use."""

    def __init__(self, channel: socket.socket, request: Mapping[str, Any]) -> None:
        readable, writable = zip(*(os.pipe() for _ in range(3)), strict=True)
        socket.send_fds(channel, [json.dumps(request).encode()], writable)
        for descriptor in writable:
            os.close(descriptor)
        self.stdout, self.stderr = (open(descriptor, encoding="utf-8") for descriptor in readable[:2])  # noqa: PTH123, SIM115
        self._status = readable[2]
        self.args = request["arguments"]
        self.pid = self._read_number()
        self.returncode: int | Any = None  # as subprocess declares it

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stdout.close()
        self.stderr.close()
        self.wait()

    def _read_number(self) -> int:
        read = os.read(self._status, _NUMBER.size)
        assert read, "the fork server has ended"
        return int(_NUMBER.unpack(read)[0])

    def poll(self) -> int | None:
        """The exit code, None while it runs."""
        return self._wait_until(0)

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, negative for a signal."""
        code = self._wait_until(timeout)
        if code is None:
            assert timeout is not None
            raise subprocess.TimeoutExpired(self.args, timeout)
        return code

    def _wait_until(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._status], [], [], timeout)[0]:
            self.returncode = self._read_number()
            os.close(self._status)
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """The rest of the output, when the process has ended."""
        until = None if timeout is None else time.monotonic() + timeout
        texts = ["", ""]

        def read(index: int, stream: TextIOWrapper) -> None:
            texts[index] = stream.read()

        readers = [
            threading.Thread(target=read, args=pair, daemon=True) for pair in enumerate((self.stdout, self.stderr))
        ]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(until and max(until - time.monotonic(), 0))
            if reader.is_alive():
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
        self.wait(until and max(until - time.monotonic(), 0))
        self.stdout.close()
        self.stderr.close()
        return texts[0], texts[1]

    def send_signal(self, number: int) -> None:
        """Sends a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class ForkServer:
    """A process that has imported the gateway and forks for each command."""

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-m", __name__, str(theirs.fileno())]
            root = Path(__file__).parents[2]
            environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], cwd=root, env=environment
            )

    def start(self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str]) -> ForkedProcess:
        """Starts ``siso`` with ``arguments`` in ``folder``."""
        request = {"arguments": arguments, "folder": str(folder), "environment": dict(environment)}
        return ForkedProcess(self._channel, request)

    def close(self) -> None:
        """Ends it; commands that are still running go on."""
        self._channel.close()
        self._process.wait()


def _import_everything() -> None:
    for package in ("gateway", "schema", "resolvers", "repositories", "migrations"):
        for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            if module.name != "migrations.env" and not module.name.startswith("migrations.versions."):
                importlib.import_module(module.name)
    for library in _LIBRARIES:
        importlib.import_module(library)


_LIBRARIES = (
    *("alembic.command", "aiosqlite", "cashews", "rich.progress", "redis.asyncio"),
    *("sqlalchemy.dialects.postgresql.asyncpg", "sqlalchemy.dialects.sqlite.pysqlite", "sqlalchemy.ext.asyncio"),
    *("uvicorn.lifespan.on", "uvicorn.loops.uvloop", "uvicorn.protocols.http.httptools_impl", "uvloop"),
)
"""What commands import when they run."""


def _reap(number: int, frame: FrameType | None) -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _serve(channel: socket.socket) -> None:
    """Forks for each request; returns in the fork that is to run a command, and when the channel is closed."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(channel, _LARGEST_REQUEST, 3)
        if not message:
            return
        if os.fork() == 0:
            channel.close()
            _watch_command(json.loads(message), *descriptors)
            return
        for descriptor in descriptors:
            os.close(descriptor)


def _watch_command(request: dict[str, Any], out: int, err: int, status: int) -> None:
    """Forks again, and tells the command's process id, then its exit code; returns in the second fork."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        os.close(status)
        _become(request, out, err)
        return
    os.close(out)
    os.close(err)
    os.write(status, _NUMBER.pack(pid))
    _, code = os.waitpid(pid, 0)
    os.write(status, _NUMBER.pack(os.waitstatus_to_exitcode(code)))
    os._exit(0)


def _become(request: dict[str, Any], out: int, err: int) -> None:
    """Makes this process the one that the request asks for, as if the installed program were its main module."""
    for source, target in ((out, 1), (err, 2)):
        os.dup2(source, target)
        os.close(source)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = [str(PROGRAM), *request["arguments"]]
    main = ModuleType("__main__")
    main.__file__ = str(PROGRAM)
    sys.modules["__main__"] = main
    coverage.process_startup()  # as the interpreter does for an installed program, if the environment asks for it


def main() -> None:
    """The program of the server, and then of the command."""
    _import_everything()
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, _reap)
    command_line = importlib.import_module("gateway.cli")
    here = os.getpid()
    _serve(socket.socket(fileno=int(sys.argv[1])))
    if os.getpid() != here:
        command_line.main()


if __name__ == "__main__":
    main()
