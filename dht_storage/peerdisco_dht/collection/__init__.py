"""Garbage collection: what no tag names any more goes, and never anything else."""
