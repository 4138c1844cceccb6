"""The state of one request: its viewer, snapshot, loaders, time and time zone."""
