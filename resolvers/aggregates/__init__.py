"""What is derived from the declarations of aggregates: inputs and handlers of commands, queries, history, live changes.

Imports the other frameworks of this layer and no domain. ``repositories/sql/aggregate.py`` describes the declarations.
"""
