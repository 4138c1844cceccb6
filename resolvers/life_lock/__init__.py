"""Tasks, categories, dashboard: queries, commands, and the reactions that keep count of a person's days."""
