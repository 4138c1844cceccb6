"""The Alembic migrations for both engines. Imports :mod:`repositories.tables` only.

A migration is frozen: it contains its own tables and policies instead of importing the current declarations. Tests
compare the migrated database with the declarations. Every migration can be reversed.
"""
