"""The files of a real worker: those below one directory."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO


class LocalFiles:
    """`Files` on this machine's disk; relative paths start at `root`, absolute ones do not."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def open_read(self, path: str) -> BinaryIO:
        """Open a file for reading."""
        return (self._root / path).open("rb")

    def open_write(self, path: str) -> BinaryIO:
        """Create a file and the directories above it."""
        target = self._root / path
        try:
            return target.open("wb")
        except FileNotFoundError:
            target.parent.mkdir(parents=True, exist_ok=True)
            return target.open("wb")

    def remove(self, path: str) -> None:
        """Delete a file if it is there."""
        (self._root / path).unlink(missing_ok=True)
