"""The REST interface and the pages that any node serves."""
