"""The event feed, which delivers committed events to subscriptions and caches."""
