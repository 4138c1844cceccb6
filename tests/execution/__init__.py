"""How operations are run."""
