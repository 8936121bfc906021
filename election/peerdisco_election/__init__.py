"""Raft for many small groups in one process."""
