"""Runs operations: parse → validate → limit → plan → execute, each step in its own module.

Knows nothing of HTTP: the endpoint, WebSocket connections, tests and the command line use the same
:class:`OperationProcessor` (processor.py).
"""
