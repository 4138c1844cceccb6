"""Authentication: issues and verifies tokens, verifies tokens of an external issuer, and reads the keys."""
