"""Runs the declared jobs on their schedule, each in one process at a time."""
