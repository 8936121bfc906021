"""What the data plane needs of a file system.

It does not know where the files are: a worker process has the node's data directory, the
simulator a simulated disk, the tests a dictionary. Next: `format.py`.
"""

from __future__ import annotations

from typing import BinaryIO, Protocol


class Files(Protocol):
    """Files named by POSIX paths relative to the node's data directory.

    All methods raise OSError as the operating system would.
    """

    def open_read(self, path: str) -> BinaryIO:
        """Open a file for reading bytes. Here alone an absolute path is allowed (`file://`)."""

    def open_write(self, path: str) -> BinaryIO:
        """Create or replace a file; its directories are made on demand."""

    def remove(self, path: str) -> None:
        """Delete a file; a missing one is no error."""
