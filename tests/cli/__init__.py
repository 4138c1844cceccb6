"""The real `siso`, as a process of its own, over real sockets and databases."""
