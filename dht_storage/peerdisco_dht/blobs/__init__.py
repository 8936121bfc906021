"""Blobs: immutable files named by their content, kept at the home set of their name."""
