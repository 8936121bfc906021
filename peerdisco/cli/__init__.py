"""The command `peerdisco`.

`peerdisco` alone starts a node; everything else looks at a cluster through `peerdisco.client`.
The commands stand in `start.py`; each is imported when it is used, so that `peerdisco version`
costs next to nothing. Start reading there.
"""

from __future__ import annotations


def main() -> None:
    """Run the command line and exit."""
    from peerdisco.cli.start import peerdisco

    peerdisco(prog_name="peerdisco")
