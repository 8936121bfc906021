"""Where to cut a text file, so that chunks end on line ends and no record is split.

Only the surroundings of each cut are read; the chunks themselves are streamed from the file when
they are sent, and again when they have to be sent to another node. What is no plain file of lines
goes through `chunking.py`.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from peerdisco.client.errors import BadInput

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

CHUNK_BYTES = 32 << 20
CHUNK_BYTES_MIN = 1 << 20
LINE_BYTES_MAX = 64 << 20


@dataclass(frozen=True, slots=True)
class Piece:
    """The bytes of a file from `start` to before `stop`."""

    path: Path
    start: int
    stop: int

    def open(self) -> BinaryIO:
        """The piece as a file of its own."""
        return io.BufferedReader(_Window(self.path, self.start, self.stop), 1 << 20)


def whole(path: Path) -> Piece:
    """A file as one piece."""
    return Piece(path, 0, path.stat().st_size)


def cut(path: Path, size: int = CHUNK_BYTES, limit: int | None = None) -> Iterator[Piece]:
    """Pieces of at least `size` bytes that end with a line; only the last one may be smaller.

    An empty file has none. Raises BadInput when it meets a line over `limit`, as a rule
    LINE_BYTES_MAX, and OSError.
    """
    limit = LINE_BYTES_MAX if limit is None else limit
    end = path.stat().st_size
    with path.open("rb") as file:
        start = 0
        while start < end:
            stop = end
            if start + size < end:
                file.seek(start + size - 1)
                rest = file.readline(limit + 1)
                stop = min(start + size - 1 + len(rest), end)
                if len(rest) > limit:
                    raise too_long(str(path), f"the line around byte {start + size}", limit)
            yield Piece(path, start, stop)
            start = stop


def too_long(name: str, what: str, limit: int) -> BadInput:
    """The error for a record over the limit: which input, where, and what to do."""
    return BadInput(
        f"{name}: {what} is longer than {limit} bytes. If it is meant to be, raise the limit "
        "(`-Z MIB` of `peerdisco ddfs chunk`, max_record_size= in Python); what has no records is "
        "stored whole by `peerdisco ddfs push`"
    )


def size_for(total: int, slots: int) -> int:
    """A chunk size that gives every slot of the cluster a few tasks, within reason."""
    return max(CHUNK_BYTES_MIN, min(CHUNK_BYTES, total // max(1, 4 * slots)))


class _Window(io.RawIOBase):
    """A part of a file that looks like a whole one."""

    def __init__(self, path: Path, start: int, stop: int) -> None:
        self._file = path.open("rb", buffering=0)
        self._start = start
        self._stop = stop
        self._file.seek(start)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int | None:
        view = memoryview(buffer).cast("B")
        return self._file.readinto(view[: max(0, self._stop - self._file.tell())])

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {
            io.SEEK_SET: self._start,
            io.SEEK_CUR: self._file.tell(),
            io.SEEK_END: self._stop,
        }[whence]
        return self._file.seek(base + offset) - self._start

    def close(self) -> None:
        self._file.close()
        super().close()
