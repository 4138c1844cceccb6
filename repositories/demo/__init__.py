"""Generates and loads the demo data: users, tasks, points, clients, partners, products and orders.

The same number of users and tasks and the same day always give the same data. ``seed.py`` writes the rows that the
other modules generate.
"""
