"""Roles, settings, the audit log, all users at a glance: queries and commands."""
