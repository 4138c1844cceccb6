"""The data: tables, policies, repositories, unit of work, event store.

Lives here: everything that speaks SQL, and nothing else does. Nothing here knows that GraphQL exists. Imports no other
floor.
"""
