"""From rows to related rows without N+1 queries: dataloaders, edges, lists, encrypted values."""
