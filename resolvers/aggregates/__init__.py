"""Derives commands, queries, histories and live changes from the declarations of aggregates.

Imports the other frameworks of this layer and no domain. ``repositories/sql/aggregate.py`` describes the declarations.
"""
