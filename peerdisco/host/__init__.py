"""The real machine behind the seam: files, SQLite and worker processes."""
