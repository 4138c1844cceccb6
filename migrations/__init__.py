"""The history of the database, for both engines. Alembic; imports :mod:`repositories.tables` only.

A migration is frozen: it spells out its tables and policies instead of reading today's declarations, and tests compare
the result with them. Every migration can be undone.
"""
