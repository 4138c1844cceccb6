"""The behaviour: edges, queries, commands, dashboards, and reactions to events.

Lives here: what happens when a field is asked for or a command is given. Resolvers return rows and never a GraphQL
type: what clients see of a row is the schema's business. Domains do not import one another; what one does because of
another goes through events (reactions.py). May import ``repositories``; never ``schema`` or ``gateway``, and no SQL.
"""
