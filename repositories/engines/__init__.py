"""How statements run: the database interface, PostgreSQL and SQLite, connection pools, replicas, notifications.

Imports repositories.core, repositories.sql and repositories.permissions.
"""
