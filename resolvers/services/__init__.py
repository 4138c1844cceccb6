"""What the process provides to resolvers: jobs and rate limits."""
