"""The command line: `peerdisco`."""
