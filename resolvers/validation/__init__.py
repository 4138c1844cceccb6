"""Commands as validated data: the base model, types of fields, global ids, version checks."""
