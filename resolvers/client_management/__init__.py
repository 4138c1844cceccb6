"""Clients, contacts, dashboard: queries and commands."""
