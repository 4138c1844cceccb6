"""Code that all aggregates share: the repository base class, batch methods, the unit of work and the event store.

Imports repositories.core, sql and engines, and the table of the event store.
"""
