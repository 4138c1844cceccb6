"""The gateway as a contestant in the benchmark rig, which reads peer.json."""
