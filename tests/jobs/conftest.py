"""A database for properties, as the tests of the data floor have it."""

from tests.repositories.conftest import lab

__all__ = ["lab"]
