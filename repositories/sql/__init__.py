"""Building of SQL statements: tables and their rows, column types, policies, filters and pages.

This package never runs a statement. It imports only repositories.core and repositories.permissions.
"""
