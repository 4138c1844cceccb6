"""Which tests measure coverage. Measured code takes twice as long, so tests that repeat code do not measure it."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_REPOSITORIES = Path(__file__).parent / "repositories"
_REPETITIVE = {
    "test_attacks",  # measures delays
    "test_cache_memory",  # measures memory
    "test_generated_operations",
    "test_policy_matrix",
    "test_processes",  # hundreds of clients
    "test_reference_cycles",  # searches for garbage
    "test_an_interrupted_run_is_completed_by_the_next",
    "test_a_crash_between_any_two_statements_leaves_a_file_that_can_be_migrated",
    "test_every_revision_reverts_exactly_its_own_changes",
}
"""The names of modules and tests."""


def unmeasured_tests(items: Iterable[pytest.Item]) -> set[pytest.Item]:
    """Tests that repeat code or have generated examples, and those on SQLite that are measured on PostgreSQL.

    The tests of the repositories measure both engines.
    """
    by_id = {item.nodeid: item for item in items}
    return {
        item
        for name, item in by_id.items()
        if {item.path.stem, getattr(item, "originalname", None)} & _REPETITIVE
        or hasattr(getattr(item, "obj", None), "hypothesis")
        or (
            _REPOSITORIES not in item.path.parents
            and "sqlite" in name
            and name.replace("sqlite", "postgresql") in by_id
        )
    }


@contextmanager
def pause_coverage(config: pytest.Config) -> Iterator[None]:
    """Measures nothing in the block, not even in processes that it starts."""
    controller = getattr(config.pluginmanager.getplugin("_cov"), "cov_controller", None)
    if controller is None:
        yield
        return
    controller.pause()
    os.environ.pop("COVERAGE_PROCESS_CONFIG", None)
    try:
        yield
    finally:
        controller.resume()  # sets the variable too
