"""Roles, the audit log, and overviews of users and of the gateway: queries and commands."""
