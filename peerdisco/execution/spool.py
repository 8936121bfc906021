"""Files that an attempt needs for a while: written within limits, read in pieces."""

from __future__ import annotations

import errno
from collections.abc import AsyncGenerator, AsyncIterator

from peerdisco.machine import Disk, Writer

PIECE_BYTES = 1 << 20


class SpoolFull(OSError):
    """The attempt's inputs take more disk than one attempt may."""


class Spool:
    """The spool directory of one attempt, with a limit on its bytes."""

    def __init__(self, disk: Disk, directory: str, bytes_max: int) -> None:
        self._disk = disk
        self._directory = directory
        self._bytes_max = bytes_max
        self._bytes = 0

    async def create(self, name: str) -> SpoolFile:
        """A new file. Raises OSError."""
        path = f"{self._directory}/{name}"
        return SpoolFile(self, path, await self._disk.create(path))

    def reserve(self, size: int) -> None:
        """Count bytes about to be written. Raises SpoolFull."""
        self._bytes += size
        if self._bytes > self._bytes_max:
            limit = f"the inputs of one task take over {self._bytes_max} bytes of spool"
            raise SpoolFull(errno.EFBIG, limit)


class SpoolFile:
    """A file being written.

    Attributes:
        path: Relative to the data directory.
        size: Bytes written.
    """

    def __init__(self, spool: Spool, path: str, writer: Writer) -> None:
        self._spool = spool
        self._writer = writer
        self.path = path
        self.size = 0

    async def write(self, data: bytes) -> None:
        """Append. Raises OSError, SpoolFull among them."""
        self._spool.reserve(len(data))
        await self._writer.write([data])
        self.size += len(data)

    async def write_all(self, pieces: AsyncIterator[bytes]) -> None:
        """Append a stream."""
        async for piece in pieces:
            await self.write(piece)

    async def close(self) -> None:
        """Release the file."""
        await self._writer.close()


async def read_file(disk: Disk, path: str, start: int, end: int) -> AsyncGenerator[bytes, None]:
    """The bytes of a file in pieces. Raises OSError, also when the file is shorter than `end`."""
    while start < end:
        piece = await disk.read(path, start, min(PIECE_BYTES, end - start))
        if not piece:
            raise OSError(errno.EIO, f"{path} became shorter while it was read")
        start += len(piece)
        yield piece
