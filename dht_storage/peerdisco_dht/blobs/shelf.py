"""The blobs on this node: files and small ones in the index, durable, verified on every read.

A blob of more than 64 KiB is a plain file that `cp` can rescue; smaller ones lie in the index
store, whose group commit is then their only sync. The index row is written last: what has a row is
complete, synced and was verified. A copy whose bytes no longer match is set aside and forgotten,
so that repair brings a good one.

Nothing here talks to other nodes; see `service.py`, `putting.py` and `reading.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import msgspec

from peerdisco_dht.blobs.identity import (
    CHUNK_BYTES,
    ChunkList,
    chunk_list_of,
)
from peerdisco_dht.blobs.leases import Leases
from peerdisco_dht.blobs.messages import (
    BlobRow,
    Condemned,
    Copy,
    Role,
    Stored,
    Verdict,
    Where,
)
from peerdisco_dht.blobs.pins import Pins, merge, release
from peerdisco_dht.locks import KeyedLocks
from peerdisco_dht.messages import decode, encode
from peerdisco_dht.ports import Disk, Store, Write, Writer

logger = logging.getLogger(__name__)

INLINE_BYTES_MAX = 64 << 10
BATCH_BYTES = 2 << 20
"""Bytes that are handed to the disk at a time: each hand-over costs a change of threads."""
ROWS = b"dht/blob/"
CHUNKS = b"dht/chunks/"
INLINE = b"dht/inline/"
SPOOL = "dht/spool"
INLINE_FILES = "dht/inline"
SET_ASIDE = "dht/set_aside"
BLOBS = "dht/blobs"


Judgement = Callable[[str, BlobRow], tuple[Verdict, Condemned | None]]
"""Decides about a row; also says what `condemned` is to be when the row stays."""


class CorruptCopy(Exception):
    """A copy on this node no longer has the bytes that it should; it was set aside."""


class Spool:
    """A file that is being received and may still become a blob."""

    def __init__(self, path: str, writer: Writer) -> None:
        self.path = path
        self._writer = writer
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0

    async def write(self, parts: Sequence[bytes]) -> None:
        """Append the parts of a chunk; they reach the file in batches."""
        self._waiting += parts
        self._waiting_bytes += sum(map(len, parts))
        if self._waiting_bytes >= BATCH_BYTES:
            await self._flush()

    async def seal(self) -> None:
        """Make it durable and finish it."""
        await self._flush()
        await self._writer.sync()
        await self._writer.close()

    async def close(self) -> None:
        """Release the file. Idempotent."""
        await self._writer.close()

    async def _flush(self) -> None:
        batch, self._waiting, self._waiting_bytes = self._waiting, [], 0
        if batch:
            await self._writer.write(batch)


class Shelf:
    """All copies on this node.

    Args:
        disk: For files.
        index: For rows, chunk lists and small blobs.
        unique: Makes names that were never used before.
        leases: Stamps every copy that is put, pinned or handed over.
    """

    def __init__(self, disk: Disk, index: Store, unique: Callable[[], str], leases: Leases) -> None:
        self._disk = disk
        self._index = index
        self._unique = unique
        self._leases = leases
        self._locks = KeyedLocks()
        self._inline_files: dict[str, str] = {}
        self._lost: list[Callable[[str], None]] = []
        self._doubted: dict[str, None] = {}

    async def clean(self) -> None:
        """Forget what a crash left unfinished; call before anything else."""
        await self._disk.remove_tree(SPOOL)
        await self._disk.remove_tree(INLINE_FILES)

    def on_lost(self, listener: Callable[[str], None]) -> None:
        """Be told the id of every copy that turns out to be corrupt or unreadable."""
        self._lost.append(listener)

    def row(self, blob: str) -> BlobRow | None:
        """This node's row of a blob, a released one included."""
        data = self._index.get(ROWS + blob.encode())
        return decode(data, BlobRow) if data is not None else None

    def holds(self, blob: str) -> bool:
        """Whether a copy is here."""
        row = self.row(blob)
        return row is not None and row.where is not Where.NOWHERE

    def vouches(self, blob: str) -> bool:
        """Whether a copy is here, and nothing is known against it."""
        return self.holds(blob) and blob not in self._doubted

    def doubt(self, blob: str) -> None:
        """The disk refuses to read a copy: nobody shall rely on it until there is another here."""
        self._doubted[blob] = None
        for listener in self._lost:
            listener(blob)

    def count(self, after: str, limit: int) -> tuple[int, str]:
        """How many rows follow an id, up to a limit, and the last of them ("" at the end)."""
        start = ROWS + after.encode() + b"\0"
        rows = self._index.scan(start, ROWS + b"\xff", limit=limit)
        return len(rows), rows[-1][0][len(ROWS) :].decode() if len(rows) == limit else ""

    def scan(self, after: str, limit: int) -> list[tuple[str, BlobRow]]:
        """Rows behind an id, in order of ids."""
        start = ROWS + after.encode() + b"\0"
        rows = self._index.scan(start, ROWS + b"\xff", limit=limit)
        return [(key[len(ROWS) :].decode(), decode(data, BlobRow)) for key, data in rows]

    async def spool(self) -> Spool:
        """A new file to receive into."""
        path = f"{SPOOL}/{self._unique()}"
        return Spool(path, await self._disk.create(path))

    async def discard(self, spool: Spool) -> None:
        """Drop a spool that became no blob."""
        await spool.close()
        await self._disk.remove(spool.path)

    async def keep_file(
        self,
        spool: Spool,
        chunks: ChunkList,
        pins: Pins,
        role: Role,
        lease: float | None = None,
        replicas: int = 0,
    ) -> Stored:
        """Turn a spool whose chunks were verified against the list into a durable copy.

        The lease is a fresh one unless the copy brings its own.
        """
        blob = chunks.id
        await spool.seal()
        async with self._locks.hold(blob):
            await self._disk.rename(spool.path, file_path(blob))
            hashes: Write = (CHUNKS + blob.encode(), chunks.hashes)
            lease = self._leases.of_copy(lease)
            new = BlobRow(chunks.size, Where.FILE, role, pins, lease, replicas=replicas)
            return await self._keep(blob, new, [hashes])

    async def keep_inline(
        self,
        blob: str,
        data: bytes,
        pins: Pins,
        role: Role,
        lease: float | None = None,
        replicas: int = 0,
    ) -> Stored:
        """Keep a small blob whose bytes were verified, durably; the lease as in `keep_file`."""
        async with self._locks.hold(blob):
            content: Write = (INLINE + blob.encode(), data)
            lease = self._leases.of_copy(lease)
            new = BlobRow(len(data), Where.INLINE, role, pins, lease, replicas=replicas)
            return await self._keep(blob, new, [content])

    async def hold(
        self, blob: str, pins: Pins, lease: float, replicas: int | None = None
    ) -> Stored:
        """Merge pins and a lease into a copy that is here, and let it count as a replica.

        The number of copies wanted becomes `replicas` if that is given.
        """
        async with self._locks.hold(blob):
            row = self.row(blob)
            if row is None:
                return Stored(Copy.MISSING)
            merged = merge(row.pins, pins)
            if not merged.live:
                if row.where is not Where.NOWHERE:
                    await self._remove(blob, row, merged)
                return Stored(Copy.RELEASED, merged)
            if not self.vouches(blob):
                return Stored(Copy.MISSING)
            if replicas is None:
                replicas = row.replicas
            new = msgspec.structs.replace(row, pins=merged, role=Role.REPLICA, replicas=replicas)
            if lease > row.lease or merged.live != row.pins.live:
                new = self._leases.touch(new, max(lease, row.lease))
            await self._commit(blob, row, new)
            return Stored(Copy.HELD, merged, replicas=replicas)

    async def pin(self, blob: str, pin: str) -> Stored:
        """Keep a copy that something is about to name: out of the trash, with a fresh lease."""
        async with self._locks.hold(blob):
            row = self.row(blob)
            if row is None or not self.vouches(blob):
                return Stored(Copy.MISSING)
            pins = merge(row.pins, Pins((pin,)))
            new = msgspec.structs.replace(row, pins=pins, role=Role.REPLICA)
            await self._commit(blob, row, self._leases.touch(new, self._leases.renewed(row)))
            return Stored(Copy.HELD, pins)

    async def release(self, blob: str, owner: str) -> None:
        """Drop an owner's pins, and the copy when no pin is left."""
        async with self._locks.hold(blob):
            row = self.row(blob)
            if row is None:
                return
            pins = release(row.pins, owner)
            if row.where is Where.NOWHERE or pins.live:
                await self._commit(blob, row, msgspec.structs.replace(row, pins=pins))
            else:
                await self._remove(blob, row, pins)

    async def demote(self, blob: str) -> None:
        """Let a copy count as a cache: its homes have theirs."""
        async with self._locks.hold(blob):
            row = self.row(blob)
            if row is not None and row.where is not Where.NOWHERE:
                await self._commit(blob, row, msgspec.structs.replace(row, role=Role.CACHE))

    async def set_replicas(self, blob: str, replicas: int) -> bool:
        """Note how many copies are wanted; False when that is known, or nothing is here."""
        async with self._locks.hold(blob):
            row = self.row(blob)
            if row is None or row.where is Where.NOWHERE or row.replicas == replicas:
                return False
            await self._commit(blob, row, msgspec.structs.replace(row, replicas=replicas))
            return True

    async def settle(self) -> None:
        """Return when every change that is under way now is durable."""
        await self._locks.settle()

    async def judge(self, blob: str, judgement: Judgement) -> Verdict:
        """Let a garbage collection decide about a row, and carry out what it decides."""
        async with self._locks.hold(blob):
            row = self.row(blob)
            if row is None:
                return Verdict.KEEP
            verdict, condemned = judgement(blob, row)
            if verdict is Verdict.REMOVE:
                await self._forget(blob)
                await self._drop_files(blob, row)
            elif verdict is Verdict.FORGET:
                await self._forget(blob)
            elif condemned != row.condemned:
                await self._commit(blob, row, msgspec.structs.replace(row, condemned=condemned))
            return verdict

    async def remove_orphan(self, directory: str, name: str) -> bool:
        """Remove a file that a crash left without a row; True when it was one."""
        async with self._locks.hold(name):
            if self.holds(name):
                return False
            await self._disk.remove(f"{directory}/{name}")
            return True

    async def evict(self, blob: str) -> bool:
        """Drop a copy if it is only a cache; False when it counts by now, or is gone."""
        async with self._locks.hold(blob):
            row = self.row(blob)
            if row is None or row.role is not Role.CACHE or row.where is Where.NOWHERE:
                return False
            await self._forget(blob)
            await self._drop_files(blob, row)
            return True

    async def drop(self, blob: str) -> None:
        """Drop a copy that nobody needs here: its homes have theirs, and this node leaves."""
        async with self._locks.hold(blob):
            row = self.row(blob)
            if row is not None:
                await self._forget(blob)
                await self._drop_files(blob, row)

    def chunk_list(self, blob: str) -> ChunkList | None:
        """The chunk list of a copy that is here."""
        row = self.row(blob)
        if row is None or row.where is Where.NOWHERE:
            return None
        if row.where is Where.INLINE:
            return chunk_list_of(self._index.get(INLINE + blob.encode()) or b"")
        return ChunkList(row.size, self._index.get(CHUNKS + blob.encode()) or b"")

    async def read_chunk(self, blob: str, chunks: ChunkList, index: int) -> bytes:
        """A chunk, verified.

        Raises CorruptCopy when its bytes are wrong (the copy was set aside), OSError when it
        cannot be read.
        """
        chunk = await self.read_raw(blob, index)
        if not chunks.verifies(index, chunk):
            await self.set_aside(blob)
            raise CorruptCopy(f"{blob} chunk {index}")
        return chunk

    async def set_aside(self, blob: str) -> bool:
        """Forget a corrupt copy but keep its bytes: they may be the best that there are.

        False when it was gone already. The bytes go first, since a file that has no row is garbage.
        """
        async with self._locks.hold(blob):
            row = self.row(blob)
            if row is None or row.where is Where.NOWHERE:
                return False
            logger.error(f"event=corrupt_copy blob={blob}")
            path = f"{SET_ASIDE}/{blob}"
            if row.where is Where.INLINE:
                await self._write(path, self._index.get(INLINE + blob.encode()) or b"")
            elif await self._disk.size(file_path(blob)) is not None:
                await self._disk.rename(file_path(blob), path)
            await self._forget(blob)
        for listener in self._lost:
            listener(blob)
        return True

    async def read_raw(self, blob: str, index: int) -> bytes:
        """A chunk as it lies here, for somebody who verifies it himself."""
        row = self.row(blob)
        if row is not None and row.where is Where.INLINE:
            return self._index.get(INLINE + blob.encode()) or b""
        return await self._read_file(blob, index)

    async def path(self, blob: str) -> str | None:
        """A file with the content of a copy that is here, for readers in other processes.

        A small blob is written to a file for them, until the next start of the node.
        """
        row = self.row(blob)
        if row is None or row.where is Where.NOWHERE:
            return None
        if row.where is Where.FILE:
            return file_path(blob)
        known = self._inline_files.get(blob)
        if known is not None:
            return known
        path = f"{INLINE_FILES}/{self._unique()}"
        await self._write(path, self._index.get(INLINE + blob.encode()) or b"")
        self._inline_files[blob] = path
        return path

    async def _write(self, path: str, data: bytes) -> None:
        writer = await self._disk.create(path)
        try:
            await writer.write([data])
        finally:
            await writer.close()

    async def _keep(self, blob: str, new: BlobRow, writes: list[Write]) -> Stored:
        """Write the row that makes a copy count; a replica never becomes a cache this way."""
        row = self.row(blob)
        pins, role, lease, replicas = new.pins, new.role, new.lease, new.replicas
        if row is not None:
            pins, lease = merge(row.pins, pins), max(row.lease, lease)
            if row.role is Role.REPLICA and row.where is not Where.NOWHERE:
                role = Role.REPLICA
            if row.where is not Where.NOWHERE:
                replicas = row.replicas
        if not pins.live:
            if new.where is Where.FILE:
                await self._disk.remove(file_path(blob))
            return Stored(Copy.RELEASED, pins)
        new = msgspec.structs.replace(new, pins=pins, role=role, replicas=replicas)
        new = self._leases.touch(new, lease)
        await self._index.commit([*writes, (ROWS + blob.encode(), encode(new))])
        self._doubted.pop(blob, None)
        return Stored(Copy.HELD, pins)

    async def _commit(self, blob: str, row: BlobRow, new: BlobRow) -> None:
        if new != row:
            await self._index.commit([(ROWS + blob.encode(), encode(new))])

    async def _remove(self, blob: str, row: BlobRow, pins: Pins) -> None:
        """Drop the bytes; the row stays as a memory of the released pins."""
        name = blob.encode()
        new = BlobRow(row.size, Where.NOWHERE, row.role, pins, row.lease, row.touched)
        await self._index.commit(
            [(ROWS + name, encode(new)), (CHUNKS + name, None), (INLINE + name, None)]
        )
        await self._drop_files(blob, row)

    async def _forget(self, blob: str) -> None:
        """Remove all rows of a blob."""
        name = blob.encode()
        await self._index.commit(
            [(ROWS + name, None), (CHUNKS + name, None), (INLINE + name, None)]
        )

    async def _read_file(self, blob: str, index: int) -> bytes:
        """The bytes of a chunk; a file that is gone reads as empty, which is corrupt too."""
        try:
            return await self._disk.read(file_path(blob), index * CHUNK_BYTES, CHUNK_BYTES)
        except FileNotFoundError:
            return b""

    async def _drop_files(self, blob: str, row: BlobRow) -> None:
        if row.where is Where.FILE:
            await self._disk.remove(file_path(blob))
        inline_file = self._inline_files.pop(blob, None)
        if inline_file is not None:
            await self._disk.remove(inline_file)


def file_path(blob: str) -> str:
    """Where the file of a blob lies."""
    return f"{BLOBS}/{blob[3:5]}/{blob}"
