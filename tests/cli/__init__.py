"""The installed `siso` command, as a separate process with real sockets and databases."""
