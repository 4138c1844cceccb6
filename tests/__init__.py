"""Behaviour, proved on real engines: the same test bodies run on SQLite and on PostgreSQL 18."""
