"""Services of the process: declarations of jobs, rate limits, clients' addresses, and access to shared stores."""
