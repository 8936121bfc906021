"""The files of a real worker: those below one directory."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from peerdisco.room import check_room

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


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
            return io.BufferedWriter(_Bulk(target, "wb"))
        except FileNotFoundError:
            target.parent.mkdir(parents=True, exist_ok=True)
            return io.BufferedWriter(_Bulk(target, "wb"))

    def remove(self, path: str) -> None:
        """Delete a file if it is there."""
        (self._root / path).unlink(missing_ok=True)


class _Bulk(io.FileIO):
    """A file that leaves the last of its disk to others."""

    def write(self, data: ReadableBuffer, /) -> int | None:  # type: ignore[override]  # overloads
        with memoryview(data) as view:
            check_room(self.fileno(), view.nbytes)
        return super().write(data)
