"""A deterministic world in which whole clusters of the real daemon run."""
