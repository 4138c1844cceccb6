"""The behaviour: edges, queries, commands, dashboards, and reactions to events.

This layer decides what a field returns and what a command does. Resolvers return rows, never GraphQL types: schema/
decides what clients see of a row. Domains do not import each other. A domain reacts to another one's events
(reactions.py). May import ``repositories``, never ``schema`` or ``gateway``. Contains no SQL.
"""
