"""The durations of a request's steps, for the ``Server-Timing`` header."""

from time import perf_counter


class Timings:
    """Measures the steps of one request."""

    __slots__ = ("_last", "_steps")

    def __init__(self) -> None:
        self._last = perf_counter()
        self._steps: list[str] = []

    def mark(self, step: str) -> None:
        """Ends a step: the time since the last mark belongs to it."""
        now = perf_counter()
        self._steps.append(f"{step};dur={(now - self._last) * 1000:.3f}")
        self._last = now

    def header(self) -> str:
        """The value of the header, in milliseconds."""
        return ", ".join(self._steps)
