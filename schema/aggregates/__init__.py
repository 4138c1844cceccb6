"""The GraphQL types and root fields that are derived from the declarations of aggregates.

A class or a field of a domain's module replaces the derived one of the same name. ``repositories/sql/aggregate.py``
describes the declarations. Imports schema.types and schema.operations and no domain.
"""
