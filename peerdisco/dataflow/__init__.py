"""Records on disk: partition, combine, spill, merge."""
