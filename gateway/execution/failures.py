"""What goes wrong in an operation, and what is null because of it, in the order in which graphql-core tells it."""

import asyncio
from typing import Any

from graphql import GraphQLError
from graphql.execution.executor import CollectedErrors
from graphql.pyutils import Path

from gateway.execution.plan import Plan


class Failed(Exception):
    """An outcome: what a resolver raised."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


class AllNull(Exception):
    """Ends what is still running."""


class Failures(CollectedErrors):
    """The errors of an operation, put into graphql-core's order at the end.

    What arrives in one turn of the event loop is of one moment, and its errors come in the order of their places.
    """

    __slots__ = ("_found", "_is_current", "_loop", "_moment", "at", "is_all_null")

    def __init__(self) -> None:
        self._error_positions = set()
        self._errors = []
        self.is_all_null = False
        """Whether an error made the whole data null, so that nothing more needs to be done."""
        self.at: int | None = None
        """The moment that errors are of, if not the present one."""
        self._moment = 0
        self._is_current = False
        try:
            self._loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            self._loop = None
        self._found: list[tuple[int, GraphQLError, Path | None]] = []

    def add(self, error: GraphQLError, path: Path | None) -> None:
        """Notes an error, and the place that is null because of it (None for all data)."""
        self.is_all_null = self.is_all_null or path is None
        self._found.append((self.now() if self.at is None else self.at, error, path))

    def now(self) -> int:
        """The moment: the same for all of one turn of the loop."""
        if not self._is_current and self._loop is not None:
            self._is_current = True
            self._moment += 1
            self._loop.call_soon(self._pass)
        return self._moment

    def _pass(self) -> None:
        self._is_current = False

    @property
    def is_empty(self) -> bool:
        """Whether all went well."""
        return not self._found

    def settle(self, data: dict[str, Any] | None, plan: Plan) -> dict[str, Any] | None:
        """Puts the errors in order, drops those of places that were null already, and makes all these places null."""
        found = self._found
        if len(found) > 1:
            found.sort(key=lambda failure: (failure[0], plan.place(failure[1].path or ())))
        for _, error, path in found:
            if self.has_nulled_position(path):
                continue
            super().add(error, path)
            data = None if path is None or data is None else _nulled(data, path.as_list())
        self._found = []
        return data


def _nulled(data: dict[str, Any], path: list[str | int]) -> dict[str, Any]:
    container: Any = data
    for key in path[:-1]:
        container = container[key]
        if container is None:
            return data
    container[path[-1]] = None
    return data
