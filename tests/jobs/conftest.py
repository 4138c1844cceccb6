"""The shared database for property tests, as in the tests of the repositories."""

from tests.repositories.conftest import shared_database

__all__ = ["shared_database"]
