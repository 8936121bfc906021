"""Files under a data directory, with the syncs that make them survive a power cut.

Blocking calls run in a small pool of threads, so several syncs may be in flight: eight concurrent
fsyncs finish almost as fast as one. The promises are those of `peerdisco.machine.Disk`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import TypeVar

from peerdisco.machine import Space
from peerdisco.room import check_room

T = TypeVar("T")

THREADS_MAX = 8
TEMPORARY_SUFFIX = ".new"
REMOVE_TRIES = 100
IOV_MAX = 512
"""Buffers per writev call; Linux and macOS allow 1024."""


class HostDisk:
    """The operating system's files below one directory."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._threads = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="disk")

    def close(self) -> None:
        """Wait for calls in flight and end the threads."""
        self._threads.shutdown()

    async def read(self, path: str, offset: int = 0, size: int | None = None) -> bytes:
        """See Disk."""
        return await self._call(_read, self._resolve(path), offset, size)

    async def write(self, path: str, data: bytes) -> None:
        """See Disk."""
        await self._call(_write_durably, self._resolve(path), data)

    async def create(self, path: str) -> HostWriter:
        """See Disk."""
        return HostWriter(self, await self._call(_create, self._resolve(path)))

    async def rename(self, source: str, target: str) -> None:
        """See Disk."""
        await self._call(_rename_durably, self._resolve(source), self._resolve(target))

    async def remove(self, path: str) -> None:
        """See Disk."""
        await self._call(_remove, self._resolve(path))

    async def remove_tree(self, path: str) -> None:
        """See Disk."""
        await self._call(_remove_tree, self._resolve(path))

    async def size(self, path: str) -> int | None:
        """See Disk."""
        return await self._call(_size, self._resolve(path))

    async def list(self, directory: str) -> list[str]:
        """See Disk."""
        return await self._call(_list, self._resolve(directory))

    async def space(self) -> Space:
        """See Disk."""
        return await self._call(_space, self._root)

    def _resolve(self, path: str) -> Path:
        """The absolute path of a name inside the data directory, or ValueError."""
        pure = PurePosixPath(path)
        if pure.is_absolute() or ".." in pure.parts or "\0" in path or not pure.parts:
            raise ValueError(f"not a path inside the data directory: {path!r}")
        return self._root / pure

    async def _call(self, function: Callable[..., T], *arguments: object) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, function, *arguments)


class HostWriter:
    """A file being written from its beginning."""

    def __init__(self, disk: HostDisk, descriptor: int) -> None:
        self._disk = disk
        self._descriptor: int | None = descriptor

    async def write(self, chunks: Sequence[bytes]) -> None:
        """See Writer."""
        await self._disk._call(_write_bulk, self._open(), chunks)  # noqa: SLF001 - its own part

    async def sync(self) -> None:
        """See Writer."""
        await self._disk._call(os.fsync, self._open())  # noqa: SLF001 - its own part

    async def close(self) -> None:
        """See Writer."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)

    def _open(self) -> int:
        assert self._descriptor is not None, "the writer is closed"
        return self._descriptor


def _read(path: Path, offset: int, size: int | None) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(-1 if size is None else size)


def _write_durably(path: Path, data: bytes) -> None:
    temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
    descriptor = _create(temporary)
    try:
        _write_all(descriptor, [data])
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    _rename_durably(temporary, path)


def _create(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)


def _write_bulk(descriptor: int, chunks: Sequence[bytes]) -> None:
    check_room(descriptor, sum(map(len, chunks)))
    _write_all(descriptor, chunks)


def _write_all(descriptor: int, chunks: Sequence[bytes]) -> None:
    waiting = [memoryview(chunk) for chunk in chunks if chunk]
    while waiting:
        written = os.writev(descriptor, waiting[:IOV_MAX])
        while written:
            first = waiting[0]
            if written < len(first):
                waiting[0] = first[written:]
                break
            written -= len(first)
            waiting.pop(0)


def _rename_durably(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    source.replace(target)
    _sync_directory(target.parent)
    if source.parent != target.parent:
        _sync_directory(source.parent)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        path.unlink()


def _remove_tree(path: Path) -> None:
    for _ in range(REMOVE_TRIES):
        try:
            shutil.rmtree(path)
        except FileNotFoundError:
            if not path.exists():
                return
            # Somebody else removed an entry meanwhile: take what is left.
        else:
            return
    raise OSError(f"{path} keeps changing while it is removed")


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _list(directory: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in directory.iterdir())
    except FileNotFoundError:
        return []


def _space(root: Path) -> Space:
    usage = shutil.disk_usage(root)
    return Space(free_bytes=usage.free, total_bytes=usage.total)
