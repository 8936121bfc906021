"""A node's disk: the `Disk` of `peerdisco.machine` over a simulated file system.

Every primitive step (write, sync, rename, sync of a directory) takes virtual time of its own, so a
crash can fall between any two. `before_step` lets a scenario crash the node at the n-th step.
Errors are switched on and off in `faults`. The disk outlives the node's processes.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from peerdisco.machine import Space
from peerdisco_sim.filesystem import FileSystem, Inode, check_path

if TYPE_CHECKING:
    from peerdisco_sim.node import SimNode

_TEMPORARY_SUFFIX = ".new"
_STEP_S = 30e-6
_BYTE_S = 1 / 500e6
_SYNC_S_MIN, _SYNC_S_MAX = 0.5e-3, 5e-3


@dataclass(slots=True)
class DiskFaults:
    """What is wrong with a disk at the moment.

    Attributes:
        read_error: errno of every read, 0 for none.
        write_error: errno of every write, creation and rename, 0 for none.
        sync_error: errno of every sync, 0 for none.
        slowness: Factor on every duration.
    """

    read_error: int = 0
    write_error: int = 0
    sync_error: int = 0
    slowness: float = 1.0


class SimDisk:
    """See `peerdisco.machine.Disk`."""

    def __init__(self, node: SimNode, capacity_bytes: int = 1 << 40) -> None:
        self.faults = DiskFaults()
        self.before_step: Callable[[str, str], None] | None = None
        """Called with the step (`write`, `sync`, `rename`, ...) and the path before each step."""
        self.steps = 0
        self.errors = 0
        """How many errors the disk has given."""
        self.files = FileSystem(node.world.stream(node.name, "disk"), capacity_bytes)
        self._durations = node.world.stream(node.name, "disk durations")

    # -- the interface ------------------------------------------------------------------------

    async def read(self, path: str, offset: int = 0, size: int | None = None) -> bytes:
        """See Disk."""
        await self.step("read", check_path(path), size or 0)
        data = self.files.open(path).data
        end = len(data) if size is None else offset + size
        return bytes(data[offset:end])

    async def write(self, path: str, data: bytes) -> None:
        """See Disk."""
        temporary = check_path(path) + _TEMPORARY_SUFFIX
        writer = await self.create(temporary)
        await writer.write([data])
        await writer.sync()
        await writer.close()
        await self.rename(temporary, path)

    async def create(self, path: str) -> SimWriter:
        """See Disk."""
        await self.step("create", check_path(path))
        return SimWriter(self, path, self.files.create(path))

    async def rename(self, source: str, target: str) -> None:
        """See Disk."""
        check_path(source)
        await self.step("rename", check_path(target))
        self.files.rename(source, target)
        await self.step("sync directory", target)
        self.files.sync_names()

    async def remove(self, path: str) -> None:
        """See Disk."""
        await self.step("remove", check_path(path))
        self.files.remove(path)

    async def remove_tree(self, path: str) -> None:
        """See Disk."""
        await self.step("remove", check_path(path))
        self.files.remove(path)

    async def size(self, path: str) -> int | None:
        """See Disk."""
        await self.step("stat", check_path(path))
        inode = self.files.file(path)
        return None if inode is None else len(inode.data)

    async def list(self, directory: str) -> list[str]:
        """See Disk."""
        await self.step("stat", check_path(directory))
        return self.files.list(directory)

    async def space(self) -> Space:
        """See Disk."""
        await self.step("stat", "")
        return Space(self.files.free_bytes, self.files.capacity_bytes)

    # -- time and trouble ---------------------------------------------------------------------

    async def step(self, operation: str, path: str, size: int = 0) -> None:
        """Let one step take its time, then fail if it must."""
        self.steps += 1
        if self.before_step is not None:
            self.before_step(operation, path)
        await asyncio.sleep(self.duration(operation, size))
        number = self.error(operation)
        if number:
            raise OSError(number, os.strerror(number), path)

    def duration(self, operation: str, size: int = 0) -> float:
        """How long a step takes now, in seconds."""
        base = _STEP_S
        if operation.startswith("sync"):
            base = self._durations.uniform(_SYNC_S_MIN, _SYNC_S_MAX)
        return (base + size * _BYTE_S) * self.faults.slowness

    def error(self, operation: str) -> int:
        """The errno that a step meets now, 0 for none. Deleting always works."""
        faults = self.faults
        number = 0
        if operation == "read":
            number = faults.read_error
        elif operation.startswith("sync"):
            number = faults.sync_error
        elif operation in ("write", "create", "rename"):
            number = faults.write_error
        self.errors += number != 0
        return number

    def rot(self, path: str) -> None:
        """Flip one bit of a file, silently."""
        self.files.rot(path)

    def process_died(self) -> None:
        """The page cache outlives the process."""

    def power_failed(self) -> None:
        """The page cache is gone."""
        self.files.lose_power()


class SimWriter:
    """See `peerdisco.machine.Writer`."""

    def __init__(self, disk: SimDisk, path: str, inode: Inode) -> None:
        self._disk = disk
        self._path = path
        self._inode = inode
        self._closed = False

    async def write(self, chunks: Sequence[bytes]) -> None:
        """See Writer."""
        self._check()
        data = b"".join(chunks)
        await self._disk.step("write", self._path, len(data))
        try:
            self._disk.files.write(self._inode, len(self._inode.data), data)
        except OSError:
            self._disk.errors += 1
            raise

    async def sync(self) -> None:
        """See Writer. The name of a new file is durable only after `Disk.rename`."""
        self._check()
        try:
            await self._disk.step("sync", self._path)
        except OSError:
            self._inode.fail_sync()
            raise
        self._inode.sync()

    async def close(self) -> None:
        """See Writer."""
        self._closed = True

    def _check(self) -> None:
        if self._closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF), self._path)
