"""GraphQL over HTTP, WebSocket and server-sent events: requests, responses, errors, concurrency limits."""
