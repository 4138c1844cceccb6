"""The gateway as one of the servers of the benchmark rig, which reads peer.json."""
