"""`python -m peerdisco` is the command `peerdisco`."""

from peerdisco.cli import main

main()
