"""How SQL is built: tables and their rows, column types, policies, statements, filters, pages.

Builds statements and never runs them. Imports repositories.core only.
"""
