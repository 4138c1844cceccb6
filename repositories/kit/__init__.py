"""The plumbing that every domain's tables and repositories share; no domain is named in here."""
