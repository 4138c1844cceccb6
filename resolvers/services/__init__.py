"""Services of the process: declarations of jobs, rate limits, and the access to stores that processes share."""
