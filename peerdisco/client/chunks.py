"""Where to cut a text file, so that chunks end on line ends and no record is split.

Only the surroundings of each cut are read; the chunks themselves are streamed from the file when
they are sent, and again when they have to be sent to another node.
"""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO

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


def cut(path: Path, size: int = CHUNK_BYTES) -> Iterator[Piece]:
    """Pieces of at least `size` bytes that end with a line; only the last one may be smaller.

    An empty file has none. Raises BadInput for a line over LINE_BYTES_MAX, and OSError.
    """
    end = path.stat().st_size
    with path.open("rb") as file:
        start = 0
        while start < end:
            stop = end
            if start + size < end:
                file.seek(start + size - 1)
                rest = file.readline(LINE_BYTES_MAX)
                stop = min(start + size - 1 + len(rest), end)
                if len(rest) == LINE_BYTES_MAX:
                    raise BadInput(
                        f"{path} has a line of over {LINE_BYTES_MAX >> 20} MiB, so it is hardly "
                        "text; push it whole with DDFS().push or `peerdisco ddfs push`"
                    )
            yield Piece(path, start, stop)
            start = stop


def size_for(total: int, slots: int) -> int:
    """A chunk size that gives every slot of the cluster a few tasks, within reason."""
    return max(CHUNK_BYTES_MIN, min(CHUNK_BYTES, total // max(1, 4 * slots)))


@contextmanager
def spooled(stream: IO[bytes]) -> Iterator[Path]:
    """A stream that cannot be read twice, as a temporary file."""
    with tempfile.NamedTemporaryFile(prefix="peerdisco-") as file:
        shutil.copyfileobj(stream, file, 1 << 20)
        file.flush()
        yield Path(file.name)


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
