"""A database for properties, as the tests of the data floor have it."""

from tests.repositories.conftest import shared_database

__all__ = ["shared_database"]
