"""The import of life_lock's legacy data.

``source.py`` reads the legacy table, ``rows.py`` says what becomes of a row, ``load.py`` writes tasks and categories.
"""
