"""What the gateway does by itself: the lock, runs, the scheduler, and what each job does."""
