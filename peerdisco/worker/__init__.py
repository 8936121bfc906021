"""The worker process that runs a job's own functions."""
