"""The plumbing that every domain's part of the contract shares."""
