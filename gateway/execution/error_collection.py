"""Collects the errors of an operation and reports them in graphql-core's order."""

import asyncio
from typing import Any

from graphql import GraphQLError
from graphql.execution.executor import CollectedErrors
from graphql.pyutils import Path

from gateway.execution.plan import Plan


class FailedValue(Exception):
    """Stands in place of a value whose resolver raised an error. It is never raised itself."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


class DataIsNull(Exception):
    """An error made all data null, so the rest of the operation is cancelled."""


class ErrorCollection(CollectedErrors):
    """The errors of an operation, put into graphql-core's order when it ends.

    Errors that arrive in the same iteration of the event loop count as simultaneous, and are reported in the order of
    their positions in the document.
    """

    __slots__ = ("_errors_found", "_is_iteration_current", "_iteration", "_loop", "fixed_iteration", "is_data_null")

    def __init__(self) -> None:
        self._error_positions = set()
        self._errors = []
        self.is_data_null = False
        """Whether an error made all data null, so that nothing more needs to be done."""
        self.fixed_iteration: int | None = None
        """The iteration that errors belong to, if it is not the current one."""
        self._iteration = 0
        self._is_iteration_current = False
        try:
            self._loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            self._loop = None
        self._errors_found: list[tuple[int, GraphQLError, Path | None]] = []

    def add(self, error: GraphQLError, path: Path | None) -> None:
        """Adds an error, and the path of the value that it makes null (None for all data)."""
        self.is_data_null = self.is_data_null or path is None
        iteration = self.current_iteration() if self.fixed_iteration is None else self.fixed_iteration
        self._errors_found.append((iteration, error, path))

    def current_iteration(self) -> int:
        """The number of the event loop's current iteration, counted only as far as this is called."""
        if not self._is_iteration_current and self._loop is not None:
            self._is_iteration_current = True
            self._iteration += 1
            self._loop.call_soon(self._end_iteration)
        return self._iteration

    def _end_iteration(self) -> None:
        self._is_iteration_current = False

    @property
    def is_empty(self) -> bool:
        return not self._errors_found

    def finish(self, data: dict[str, Any] | None, plan: Plan) -> dict[str, Any] | None:
        """The data with null in the place of each error; sorts the errors and drops those below another null."""
        errors = self._errors_found
        if len(errors) > 1:
            errors.sort(key=lambda entry: (entry[0], plan.position(entry[1].path or ())))
        for _, error, path in errors:
            if self.has_nulled_position(path):
                continue
            super().add(error, path)
            data = None if path is None or data is None else _set_null(data, path.as_list())
        self._errors_found = []
        return data


def _set_null(data: dict[str, Any], path: list[str | int]) -> dict[str, Any]:
    container: Any = data
    for key in path[:-1]:
        container = container[key]
        if container is None:
            return data
    container[path[-1]] = None
    return data
