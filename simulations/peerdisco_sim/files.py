"""A worker's synchronous view of its node's disk.

A worker process reads and writes files itself. Here it does so on the simulated file system, in no
virtual time of its own: the time is charged to the frame it is computing (see `processes.py`),
from the bytes that are counted here. After `revoke` the process is dead: its late writes, as from
`finally` blocks that run when its generator is closed, change nothing.
"""

from __future__ import annotations

import errno
import io
import os
import types
from typing import TYPE_CHECKING, BinaryIO, cast

from peerdisco_sim import filesystem
from peerdisco_sim.filesystem import FileSystem, Inode, check_path

if TYPE_CHECKING:
    from collections.abc import Buffer  # type: ignore[attr-defined]  # since 3.12; for types only

    from peerdisco_sim.disk import SimDisk

_BUFFER_BYTES = 64 * 1024


class SimFiles:
    """The files of one worker process.

    Attributes:
        traffic_bytes: Read and written so far.
        is_revoked: The process is dead.
    """

    def __init__(self, disk: SimDisk) -> None:
        self._disk = disk
        self.traffic_bytes = 0
        self.is_revoked = False

    def open_read(self, path: str) -> BinaryIO:
        """Open a file for reading bytes; absolute paths name nothing in this world."""
        if path.startswith("/"):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        self.check("read", path)
        raw = _Reader(self, self.system.open(check_path(path)), path)
        return io.BufferedReader(raw, _BUFFER_BYTES)

    def open_write(self, path: str) -> BinaryIO:
        """Create or replace a file; not durable until the node makes it so."""
        self.check("write", path)
        inode = Inode() if self.is_revoked else self.system.create(check_path(path))
        return cast("BinaryIO", io.BufferedWriter(_Writer(self, inode, path), _BUFFER_BYTES))

    def remove(self, path: str) -> None:
        """Delete a file; a missing one is no error."""
        if not self.is_revoked:
            self.system.remove(check_path(path))

    def rename(self, source: str, target: str) -> None:
        """Move a file."""
        self.check("rename", source)
        if not self.is_revoked:
            self.system.rename(check_path(source), check_path(target))

    def exists(self, path: str) -> bool:
        """Whether there is such a file."""
        return self.system.file(check_path(path)) is not None

    def revoke(self) -> None:
        """The process is dead."""
        self.is_revoked = True

    @property
    def system(self) -> FileSystem:
        """The node's file system."""
        return self._disk.files

    def check(self, operation: str, path: str) -> None:
        """Raise what the disk's faults demand."""
        number = 0 if self.is_revoked else self._disk.error(operation)
        if number:
            raise OSError(number, os.strerror(number), path)


class _Raw(io.RawIOBase):
    def __init__(self, files: SimFiles, inode: Inode, path: str) -> None:
        self._files = files
        self._inode = inode
        self._path = path
        self._position = 0

    @property
    def name(self) -> str:
        return self._path

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = (0, self._position, len(self._inode.data))[whence]
        self._position = max(0, base + offset)
        return self._position


class _Reader(_Raw):
    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        self._files.check("read", self._path)
        view = memoryview(buffer)
        data = self._inode.data[self._position : self._position + len(view)]
        view[: len(data)] = data
        self._position += len(data)
        self._files.traffic_bytes += len(data)
        return len(data)


class _Writer(_Raw):
    def writable(self) -> bool:
        return True

    def write(self, data: Buffer, /) -> int:
        self._files.check("write", self._path)
        content = bytes(data)
        if not self._files.is_revoked:
            self._files.system.write(self._inode, self._position, content)
        self._position += len(content)
        self._files.traffic_bytes += len(content)
        return len(content)


def _like_the_system(*owners: object) -> None:
    """Let the frames of these look like the interpreter's own.

    On a real machine there is nothing between the product's call and the system's error, and the
    product blames a job's code for an OSError only when the call was made by that code.
    """
    for owner in owners:
        for value in list(vars(owner).values()):
            if isinstance(value, types.FunctionType):
                value.__code__ = value.__code__.replace(co_filename="<frozen simulated system>")


_like_the_system(SimFiles, _Raw, _Reader, _Writer, FileSystem, filesystem)
