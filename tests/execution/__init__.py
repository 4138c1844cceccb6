"""Tests of gateway/execution: how operations are prepared, limited and executed, without HTTP."""
