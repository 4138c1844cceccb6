"""The cache of results of expensive resolvers, which events invalidate."""
