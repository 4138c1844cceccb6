"""Scheduled jobs: the lock, the runs, the scheduler, and each job."""
