"""Edges from rows to related rows without N+1 queries: dataloaders, lists, encrypted values."""
