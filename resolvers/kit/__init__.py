"""The plumbing that every domain's behaviour shares."""
