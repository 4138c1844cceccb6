"""What all aggregates share: the repository base class, batches, the unit of work, the event store.

Imports repositories.core, sql and engines, and the table of the event store.
"""
