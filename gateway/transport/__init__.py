"""GraphQL over HTTP, WebSocket and server-sent events: requests, responses, errors and concurrency limits."""
