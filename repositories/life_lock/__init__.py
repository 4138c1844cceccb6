"""Tasks, categories and a person's days: one module for each, and one for the events."""
