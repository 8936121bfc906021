"""The metadata store: the `Store` of `peerdisco.machine` with a commit that takes time.

What `StoreFile` holds is on the disk and outlives processes. A commit that returned is durable;
the group that was being synced when the process or the power went is there wholly or not at all,
by chance; so is one whose commit failed, and the store is poisoned until it is opened anew.
"""

from __future__ import annotations

import asyncio
import bisect
import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from peerdisco.machine import Write

if TYPE_CHECKING:
    from peerdisco_sim.disk import SimDisk
    from peerdisco_sim.node import SimNode

_PENDING_BATCHES_MAX = 100_000


@dataclass(frozen=True, slots=True)
class Batch:
    """What one caller of `commit` wants, and where it waits."""

    writes: tuple[Write, ...]
    done: asyncio.Future[None]

    @property
    def size_bytes(self) -> int:
        """Bytes of keys and values."""
        return sum(len(key) + len(value or b"") for key, value in self.writes)


class StoreFile:
    """One store on a node's disk."""

    def __init__(self, node: SimNode, disk: SimDisk, name: str) -> None:
        self.disk = disk
        self.name = name
        self._draws = node.world.stream(node.name, "store", name)
        self._values: dict[bytes, bytes] = {}
        self._keys: list[bytes] = []
        self._doubtful: list[Batch] = []
        self._opened: SimStore | None = None

    def open(self) -> SimStore:
        """The store as a process sees it; one at a time, as SQLite's lock would have it."""
        if self._opened is not None and not self._opened.is_closed:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), self.name)
        self._decide()
        self._opened = SimStore(self)
        return self._opened

    def get(self, key: bytes) -> bytes | None:
        """The committed value."""
        return self._values.get(key)

    def scan(
        self, start: bytes, end: bytes, limit: int, reverse: bool
    ) -> list[tuple[bytes, bytes]]:
        """Committed pairs in the range."""
        first = bisect.bisect_left(self._keys, start)
        last = bisect.bisect_left(self._keys, end)
        keys = self._keys[max(first, last - limit) : last] if reverse else self._keys[first:last]
        if reverse:
            keys.reverse()
        return [(key, self._values[key]) for key in keys[:limit]]

    def begin(self, batches: Sequence[Batch]) -> None:
        """The batches are on their way to the disk: from now on a crash decides about them."""
        self._doubtful = list(batches)

    def finish(self) -> None:
        """They are durable."""
        batches, self._doubtful = self._doubtful, []
        for batch in batches:
            for key, value in batch.writes:
                self._apply(key, value)

    def process_died(self) -> None:
        """Decide about the commit in flight."""
        self._opened = None
        self._decide()

    def power_failed(self) -> None:
        """Nothing more is lost: what was committed was synced."""

    def _decide(self) -> None:
        if self._doubtful and self._draws.random() < 0.5:
            self.finish()
        self._doubtful = []

    def _apply(self, key: bytes, value: bytes | None) -> None:
        before = self._values.pop(key, None)
        if before is not None:
            self.disk.files.reserved_bytes -= len(key) + len(before)
        position = bisect.bisect_left(self._keys, key)
        if value is not None:
            self._values[key] = value
            self.disk.files.reserved_bytes += len(key) + len(value)
            if before is None:
                self._keys.insert(position, key)
        elif before is not None:
            del self._keys[position]


class SimStore:
    """See `peerdisco.machine.Store`."""

    def __init__(self, file: StoreFile) -> None:
        self._file = file
        self._pending: list[Batch] = []
        self._in_flight: list[Batch] = []
        self._failure: OSError | None = None
        self.is_closed = False

    @property
    def failure(self) -> OSError | None:
        """See Store."""
        return self._failure

    def get(self, key: bytes) -> bytes | None:
        """See Store."""
        return self._file.get(key)

    def scan(
        self, start: bytes, end: bytes, *, limit: int = 1000, reverse: bool = False
    ) -> list[tuple[bytes, bytes]]:
        """See Store."""
        return self._file.scan(start, end, limit, reverse)

    async def commit(self, writes: Sequence[Write]) -> None:
        """See Store."""
        if self._failure is not None:
            raise OSError(errno.EIO, f"refused after an earlier failure: {self._failure}")
        if self.is_closed:
            raise OSError(errno.EBADF, f"{self._file.name}: the store is closed")
        if len(self._pending) >= _PENDING_BATCHES_MAX:
            raise OSError(errno.EAGAIN, f"{_PENDING_BATCHES_MAX} batches already wait")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pending.append(Batch(tuple(writes), done))
        self._start()
        await asyncio.shield(done)

    async def close(self) -> None:
        """See Store."""
        if self.is_closed:
            return
        self.is_closed = True
        last = [*self._in_flight, *self._pending][-1:]
        if last:
            await asyncio.wait([last[0].done])

    def _start(self) -> None:
        """Sync everything that waits as one group, unless a sync is under way."""
        if self._in_flight or not self._pending:
            return
        self._in_flight, self._pending = self._pending, []
        self._file.begin(self._in_flight)
        size = sum(batch.size_bytes for batch in self._in_flight)
        disk = self._file.disk
        disk.steps += 1
        if disk.before_step is not None:
            disk.before_step("commit", self._file.name)
        asyncio.get_running_loop().call_later(disk.duration("sync", size), self._finished, size)

    def _finished(self, size: int) -> None:
        disk = self._file.disk
        number = disk.error("sync") or disk.error("write")
        if size > disk.files.free_bytes:
            number = number or errno.ENOSPC
            disk.errors += 1
        if number:
            self._poison(OSError(number, os.strerror(number), self._file.name))
            return
        self._file.finish()
        batches, self._in_flight = self._in_flight, []
        for batch in batches:
            if not batch.done.done():
                batch.done.set_result(None)
        self._start()

    def _poison(self, failure: OSError) -> None:
        """Nobody knows what the disk holds: this commit and all later ones fail."""
        self._failure = failure
        batches = self._in_flight + self._pending
        self._in_flight, self._pending = [], []
        for batch in batches:
            if not batch.done.done():
                batch.done.set_exception(failure)
                batch.done.exception()  # the caller may be gone; the next one is told
