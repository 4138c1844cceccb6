"""Benchmarks of the gateway: in process, and over HTTP against other servers. See docs/performance.md."""
