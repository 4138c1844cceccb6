"""Commands as validated data: the base model, its value types, global ids, version checks."""
