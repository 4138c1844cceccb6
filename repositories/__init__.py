"""The data layer: tables, policies, repositories, the unit of work and the event store.

This layer contains all SQL of the project, and no code that knows GraphQL. It imports no other layer.
"""
