"""Runs operations: parse and validate (documents.py) → limit (cost_limiter.py) → plan (planner.py) → run (executor.py).

HTTP requests, WebSocket connections and tests use the same :class:`OperationProcessor` (processor.py). The package
reads no request and sends no response, but it supplies what HTTP responses contain: the status of an error
(request_errors.py), the Server-Timing header (timings.py) and the RateLimit headers (budget.py).
"""
