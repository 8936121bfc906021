"""A file system with a page cache, and what a power cut leaves of it.

Bytes are durable once their file was synced, names once a directory was. At a power cut every
write that was not synced is lost, kept or torn at a sector, each for itself, and the changes of
names survive up to a random point of the journal: so a rename may outlive the bytes it names.
A failed sync forgets its bytes: a later one reports success although they never reach the disk,
as Linux does.

Synchronous and without time; `disk.py` gives it delays and errors, `files.py` a worker's view.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import NoReturn

_SECTOR_BYTES = 512
_LOST, _TORN = 0.4, 0.7


class Inode:
    """The bytes of one file: as the processes see them, and as they are on the platter."""

    __slots__ = ("data", "durable", "pending")

    def __init__(self) -> None:
        self.data = bytearray()
        self.durable = bytearray()
        self.pending: list[tuple[int, int]] = []

    def write(self, offset: int, data: bytes) -> None:
        """Put bytes into the page cache."""
        self.data[offset : offset + len(data)] = data
        self.pending.append((offset, len(data)))

    def sync(self) -> None:
        """Make everything durable."""
        for offset, size in self.pending:
            self._flush(offset, size)
        self.pending.clear()

    def fail_sync(self) -> None:
        """The sync failed: the pages count as clean from now on, and are not on the disk."""
        self.pending.clear()

    def lose_power(self, draws: random.Random) -> None:
        """Decide for each write that was not synced what became of it."""
        for offset, size in self.pending:
            fate = draws.random()
            if fate < _LOST:
                continue
            if fate < _TORN:
                size = draws.randrange(size + 1) // _SECTOR_BYTES * _SECTOR_BYTES
            self._flush(offset, size)
        self.pending.clear()
        self.data = bytearray(self.durable)

    def rot(self, draws: random.Random) -> None:
        """Flip one bit, on the disk and in the cache."""
        if not self.data:
            return
        position, bit = draws.randrange(len(self.data)), 1 << draws.randrange(8)
        self.data[position] ^= bit
        if position < len(self.durable):
            self.durable[position] = self.data[position]

    def _flush(self, offset: int, size: int) -> None:
        if len(self.durable) < offset:
            self.durable.extend(bytes(offset - len(self.durable)))
        self.durable[offset : offset + size] = self.data[offset : offset + size]


Directory = dict[str, "Inode | Directory"]
Change = Callable[["Tree"], None]


class Tree:
    """Names and what they stand for. Parents are made on demand."""

    def __init__(self) -> None:
        self._root: Directory = {}

    def find(self, path: str) -> Inode | Directory | None:
        """What a path stands for, None when there is nothing."""
        found: Inode | Directory = self._root
        for part in _parts(path):
            if not isinstance(found, dict) or part not in found:
                return None
            found = found[part]
        return found

    def link(self, path: str, entry: Inode | Directory) -> None:
        """Give an entry a name, replacing a file that has it."""
        *parents, name = _parts(path)
        directory = self._root
        for part in parents:
            below = directory.setdefault(part, {})
            if not isinstance(below, dict):
                _fail(errno.ENOTDIR, path)
            directory = below
        if isinstance(directory.get(name), dict) and not isinstance(entry, dict):
            _fail(errno.EISDIR, path)
        directory[name] = entry

    def unlink(self, path: str) -> None:
        """Remove a name with all below it; a missing one is no error."""
        *parents, name = _parts(path)
        directory = self.find("/".join(parents)) if parents else self._root
        if isinstance(directory, dict):
            directory.pop(name, None)

    def rename(self, source: str, target: str) -> None:
        """Move a name; the target's file is replaced."""
        entry = self.find(source)
        if entry is None:
            _fail(errno.ENOENT, source)
        self.link(target, entry)
        self.unlink(source)

    def inodes(self) -> list[Inode]:
        """All files."""
        return _inodes(self._root)

    def copy(self) -> Tree:
        """The same names for the same files."""
        twin = Tree()
        twin._root = _copy(self._root)
        return twin


class FileSystem:
    """The tree that processes see, the one that is durable, and the journal between them."""

    def __init__(self, draws: random.Random, capacity_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
        self.reserved_bytes = 0
        """What others than files take up: the stores."""
        self._draws = draws
        self._tree = Tree()
        self._durable = Tree()
        self._journal: list[Change] = []
        self._used_bytes = 0

    @property
    def free_bytes(self) -> int:
        """How much more can be written."""
        return max(0, self.capacity_bytes - self._used_bytes - self.reserved_bytes)

    def file(self, path: str) -> Inode | None:
        """The file of that name."""
        found = self._tree.find(path)
        return None if isinstance(found, dict) else found

    def open(self, path: str) -> Inode:
        """The file of that name; raises OSError when there is none."""
        found = self._tree.find(path)
        if found is None:
            _fail(errno.ENOENT, path)
        if isinstance(found, dict):
            _fail(errno.EISDIR, path)
        return found

    def create(self, path: str) -> Inode:
        """A new, empty file."""
        before = self.file(path)
        inode = Inode()
        self._change(lambda tree: tree.link(path, inode))
        if before is not None:
            self._used_bytes -= len(before.data)
        return inode

    def write(self, inode: Inode, offset: int, data: bytes) -> None:
        """Write what fits; raises OSError (ENOSPC) after that when it was not all."""
        growth = max(0, offset + len(data) - len(inode.data))
        missing = growth - self.free_bytes
        if missing > 0:
            data = data[: len(data) - missing]
        self._used_bytes += min(growth, self.free_bytes)
        if data:
            inode.write(offset, data)
        if missing > 0:
            _fail(errno.ENOSPC, "")

    def rename(self, source: str, target: str) -> None:
        """Move a file or a directory."""
        if source == target:
            self._require(source)
            return
        replaced = self.file(target)
        self._require(source)
        self._change(lambda tree: tree.rename(source, target))
        if replaced is not None:
            self._used_bytes -= len(replaced.data)

    def remove(self, path: str) -> None:
        """Remove a file or a whole directory; a missing one is no error."""
        found = self._tree.find(path)
        if found is None:
            return
        gone = _inodes(found) if isinstance(found, dict) else [found]
        self._change(lambda tree: tree.unlink(path))
        self._used_bytes -= sum(len(inode.data) for inode in gone)

    def paths(self, directory: str) -> list[str]:
        """Sorted paths of all files below a directory."""
        found = self._tree.find(directory)
        return sorted(_paths(directory, found)) if isinstance(found, dict) else []

    def list(self, path: str) -> list[str]:
        """Sorted names in a directory."""
        found = self._tree.find(path)
        if isinstance(found, Inode):
            _fail(errno.ENOTDIR, path)
        return sorted(found or {})

    def sync_names(self) -> None:
        """Make every change of names so far durable: the journal is written in order."""
        for change in self._journal:
            _replay(change, self._durable)
        self._journal.clear()

    def lose_power(self) -> None:
        """Keep what is durable, and of the rest what chance leaves."""
        for change in self._journal[: self._draws.randint(0, len(self._journal))]:
            _replay(change, self._durable)
        self._journal.clear()
        for inode in self._durable.inodes():
            inode.lose_power(self._draws)
        self._tree = self._durable.copy()
        self._used_bytes = sum(len(inode.data) for inode in self._tree.inodes())

    def rot(self, path: str) -> None:
        """Flip one bit of a file."""
        self.open(path).rot(self._draws)

    def _require(self, path: str) -> None:
        if self._tree.find(path) is None:
            _fail(errno.ENOENT, path)

    def _change(self, change: Change) -> None:
        change(self._tree)
        self._journal.append(change)


def check_path(path: str) -> str:
    """The path itself; ValueError when it would leave the data directory."""
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or "\0" in path or not pure.parts:
        raise ValueError(f"not a path inside the data directory: {path!r}")
    return path


def _parts(path: str) -> list[str]:
    return list(PurePosixPath(path).parts)


def _replay(change: Change, tree: Tree) -> None:
    """Apply a journaled change; it was valid when made, and earlier ones came before it."""
    try:
        change(tree)
    except OSError as error:
        raise AssertionError(f"the journal is out of order: {error}") from error


def _inodes(directory: Directory) -> list[Inode]:
    found: list[Inode] = []
    for entry in directory.values():
        found += _inodes(entry) if isinstance(entry, dict) else [entry]
    return found


def _paths(path: str, directory: Directory) -> list[str]:
    found: list[str] = []
    for name, entry in directory.items():
        below = f"{path}/{name}"
        found += _paths(below, entry) if isinstance(entry, dict) else [below]
    return found


def _copy(directory: Directory) -> Directory:
    return {
        name: _copy(entry) if isinstance(entry, dict) else entry
        for name, entry in directory.items()
    }


def _fail(number: int, path: str) -> NoReturn:
    raise OSError(number, os.strerror(number), path)
