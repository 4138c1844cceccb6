"""How fast the gateway is: in process, and over HTTP beside other servers. docs/performance.md tells how to run it."""
