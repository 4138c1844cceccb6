"""Accounts: who they belong to, how one signs in and stays signed in, and what administrators do with them."""
