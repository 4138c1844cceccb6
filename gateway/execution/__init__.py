"""How an operation runs: parse → validate → limit → plan → run, each step in its own module.

Knows nothing of HTTP: the endpoint, sockets, tests and the command line use the same :class:`Pipeline`.
"""
