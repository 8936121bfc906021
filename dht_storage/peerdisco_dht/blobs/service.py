"""The blob service that every node offers to its peers.

Small blobs arrive whole (`keep`), large ones as a stream (`push`) behind an Offer whose chunk list
is verified first, so that a wrong chunk is noticed as it arrives. An answer of HELD means: the
hash was verified, and file, directory and index row are synced.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable

from peerdisco_dht.blobs.identity import (
    BLOB_BYTES_MAX,
    CHUNK_BYTES,
    Chunker,
    ChunkList,
    chunk_list_of,
)
from peerdisco_dht.blobs.messages import (
    BATCH_MAX,
    BlobRow,
    Copy,
    Get,
    Header,
    Held,
    Hold,
    Holds,
    Ids,
    Keep,
    Offer,
    Release,
    Role,
    Sizes,
    Stored,
    StoredItems,
    Where,
)
from peerdisco_dht.blobs.shelf import INLINE_BYTES_MAX, Shelf
from peerdisco_dht.messages import BadMessage, decode, encode
from peerdisco_dht.pacing import Throttle, Traffic
from peerdisco_dht.ports import NodeId, Rpc

HAS = "dht/blob/has"
SIZES = "dht/blob/sizes"
HOLD = "dht/blob/hold"
KEEP = "dht/blob/keep"
PUSH = "dht/blob/push"
GET = "dht/blob/get"
RELEASE = "dht/blob/release"

LENGTH = struct.Struct(">I")
"""The length in front of a Header."""


class BlobService:
    """Answers peers for this node's shelf.

    Args:
        shelf: The copies on this node.
        rpc: Where the methods are offered.
        defers_to: Whether this node takes over from a peer how many copies of a blob there shall
            be: it is no home of it, and the peer is one.
        refusal: Says why this node takes no new copies now; empty when it does.
        traffic: Told of what somebody waits for.
        throttle: How fast copies are received that nobody waits for.
        transfers_max: Streams received at a time, and as many that nobody waits for; further
            senders wait.
    """

    def __init__(
        self,
        shelf: Shelf,
        rpc: Rpc,
        defers_to: Callable[[NodeId, str], bool],
        refusal: Callable[[], Awaitable[str]],
        traffic: Traffic,
        throttle: Throttle,
        transfers_max: int,
    ) -> None:
        self._shelf = shelf
        self._defers_to = defers_to
        self._refusal = refusal
        self._traffic = traffic
        self._throttle = throttle
        self._receiving = asyncio.Semaphore(transfers_max)
        self._rebuilding = asyncio.Semaphore(transfers_max)
        rpc.serve(HAS, self._has)
        rpc.serve(SIZES, self._sizes)
        rpc.serve(HOLD, self._hold)
        rpc.serve(KEEP, self._keep)
        rpc.serve(RELEASE, self._release)
        rpc.serve_push(PUSH, self._push)
        rpc.serve_fetch(GET, self._get)

    async def _has(self, peer: NodeId, body: bytes) -> bytes:
        del peer
        try:
            ids = decode(body, Ids).ids[:BATCH_MAX]
        except BadMessage:
            ids = ()
        return encode(Held(tuple(self._shelf.holds(blob) for blob in ids)))

    async def _sizes(self, peer: NodeId, body: bytes) -> bytes:
        del peer
        try:
            ids = decode(body, Ids).ids[:BATCH_MAX]
        except BadMessage:
            ids = ()
        rows = [self._shelf.row(blob) for blob in ids]
        return encode(Sizes(tuple(_size(row) for row in rows)))

    async def _hold(self, peer: NodeId, body: bytes) -> bytes:
        """All at once, so that the changed rows share one commit."""
        try:
            items = decode(body, Holds).items[:BATCH_MAX]
        except BadMessage:
            items = ()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._hold_one(peer, item)) for item in items]
        return encode(StoredItems(tuple(task.result() for task in tasks)))

    async def _hold_one(self, peer: NodeId, item: Hold) -> Stored:
        try:
            replicas = item.replicas if self._defers_to(peer, item.id) else None
            stored = await self._shelf.hold(item.id, item.pins, item.lease, replicas)
            if stored.copy is Copy.MISSING:
                return await self._full() or stored
            return stored
        except OSError as error:
            return Stored(Copy.FAILED, reason=str(error))

    async def _full(self) -> Stored | None:
        """The answer to whoever wants this node to take a new copy, if it must not."""
        reason = await self._refusal()
        return Stored(Copy.FULL, reason=reason) if reason else None

    async def _keep(self, peer: NodeId, body: bytes) -> bytes:
        del peer
        try:
            request = decode(body, Keep)
            _check(len(request.data) <= INLINE_BYTES_MAX, "not a small blob")
            _check(chunk_list_of(request.data).id == request.id, "the hash is wrong")
            full = None if self._shelf.holds(request.id) else await self._full()
            stored = full or await self._shelf.keep_inline(
                request.id,
                request.data,
                request.pins,
                Role.REPLICA,
                request.lease,
                request.replicas,
            )
        except (BadMessage, OSError) as error:
            stored = Stored(Copy.FAILED, reason=str(error))
        return encode(stored)

    async def _release(self, peer: NodeId, body: bytes) -> bytes:
        del peer
        try:
            request = decode(body, Release)
            await self._shelf.release(request.id, request.owner)
        except (BadMessage, OSError) as error:
            return encode(Stored(Copy.FAILED, reason=str(error)))
        return encode(Stored(Copy.RELEASED))

    async def _push(self, peer: NodeId, body: bytes, pieces: AsyncIterator[bytes]) -> bytes:
        del peer
        try:
            offer = decode(body, Offer)
            chunks = ChunkList(offer.size, offer.hashes)
            _check(0 <= offer.size <= BLOB_BYTES_MAX, "the size is impossible")
            _check(chunks.matches(offer.id), "the chunk list is not that of the blob")
            if full := await self._full():
                return encode(full)
            if offer.background:
                async with self._rebuilding:
                    stored = await self._receive(offer, chunks, pieces)
            else:
                with self._traffic.foreground():
                    async with self._receiving:
                        stored = await self._receive(offer, chunks, pieces)
        except (BadMessage, OSError) as error:
            stored = Stored(Copy.FAILED, reason=str(error))
        return encode(stored)

    async def _receive(
        self, offer: Offer, chunks: ChunkList, pieces: AsyncIterator[bytes]
    ) -> Stored:
        """Spool a stream, verifying each chunk as it arrives."""
        spool = await self._shelf.spool()
        kept = False
        try:
            chunker = Chunker()
            async for piece in pieces:
                _check(chunker.size + len(piece) <= chunks.size, "more bytes than offered")
                if offer.background:
                    await self._throttle.take(len(piece))
                for parts in chunker.push(piece):
                    await spool.write(parts)
            last = chunker.finish()
            if last:
                await spool.write(last)
            _check(chunker.chunk_list() == chunks, "the bytes are not those of the blob")
            stored = await self._shelf.keep_file(
                spool, chunks, offer.pins, Role.REPLICA, offer.lease, offer.replicas
            )
            kept = True
            return stored
        finally:
            if not kept:
                await self._shelf.discard(spool)

    async def _get(self, peer: NodeId, body: bytes) -> AsyncIterator[bytes]:
        """Stream a header and chunks. Raising aborts the stream, so it never looks complete."""
        del peer
        request = decode(body, Get)
        chunks = self._shelf.chunk_list(request.id)
        if chunks is None:
            yield frame(Header(found=False))
            return
        head = frame(Header(found=True, size=chunks.size, hashes=chunks.hashes))
        for start in range(0, len(head), CHUNK_BYTES):
            yield head[start : start + CHUNK_BYTES]
        end = chunks.count if request.end is None else min(request.end, chunks.count)
        for index in range(max(0, request.first), end):
            with self._traffic.foreground():
                chunk = await self._shelf.read_chunk(request.id, chunks, index)
            yield chunk


def frame(header: Header) -> bytes:
    """A header behind its length."""
    data = encode(header)
    return LENGTH.pack(len(data)) + data


def _size(row: BlobRow | None) -> int:
    return row.size if row is not None and row.where is not Where.NOWHERE else -1


def _check(holds: bool, otherwise: str) -> None:
    if not holds:
        raise BadMessage(otherwise)
