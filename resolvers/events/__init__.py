"""What happened: the events as they are followed."""
