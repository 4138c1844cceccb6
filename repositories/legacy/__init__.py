"""Imports the tasks of the legacy application into life_lock.

``legacy_source.py`` reads the legacy table, ``legacy_rows.py`` validates and converts its rows, and ``importer.py``
writes tasks and categories.
"""
