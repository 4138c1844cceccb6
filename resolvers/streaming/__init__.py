"""Committed events in order, delivered to subscriptions and caches."""
