"""A job's replicated state, its scheduler, and the coordinator that drives both."""
