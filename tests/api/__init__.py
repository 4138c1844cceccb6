"""The gateway as its clients meet it: operations through the real application, as real users with real tokens."""
