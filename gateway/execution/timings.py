"""How long the steps of a request take, for the ``Server-Timing`` header."""

from time import perf_counter


class Timings:
    """Stopwatch of one request; each mark ends a step."""

    __slots__ = ("_last", "_steps")

    def __init__(self) -> None:
        self._last = perf_counter()
        self._steps: list[str] = []

    def mark(self, step: str) -> None:
        """The time since the last mark belongs to ``step``."""
        now = perf_counter()
        self._steps.append(f"{step};dur={(now - self._last) * 1000:.3f}")
        self._last = now

    def header(self) -> str:
        """All steps so far, in milliseconds."""
        return ", ".join(self._steps)
