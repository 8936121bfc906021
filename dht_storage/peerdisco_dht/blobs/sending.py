"""Giving one copy of a blob from this node's shelf to a peer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from peerdisco_dht.blobs.identity import ChunkList
from peerdisco_dht.blobs.messages import Copy, Hold, Holds, Keep, Offer, Stored, StoredItems
from peerdisco_dht.blobs.pins import Pins
from peerdisco_dht.blobs.service import HOLD, KEEP, PUSH
from peerdisco_dht.blobs.shelf import INLINE_BYTES_MAX, CorruptCopy, Shelf
from peerdisco_dht.config import StorageConfig
from peerdisco_dht.messages import BadMessage, decode, encode
from peerdisco_dht.pacing import Throttle
from peerdisco_dht.ports import NodeId, Rpc


class Sender:
    """Sends copies, a bounded number of streams at a time."""

    def __init__(self, shelf: Shelf, rpc: Rpc, config: StorageConfig) -> None:
        self._shelf = shelf
        self._rpc = rpc
        self._config = config
        self._streams = asyncio.Semaphore(config.transfers_max)

    async def send(
        self,
        peer: NodeId,
        blob: str,
        pins: Pins,
        *,
        throttle: Throttle | None = None,
        hurry: bool = False,
    ) -> Stored:
        """Let a peer hold a blob that is on this node's shelf.

        Background work gives its throttle, and bounds itself how much it sends at a time. Failures
        come back as Stored with Copy.FAILED.
        """
        try:
            row, chunks = self._shelf.row(blob), self._shelf.chunk_list(blob)
            if row is None or chunks is None:
                return Stored(Copy.MISSING, reason="not on this node any more")
            if chunks.size <= INLINE_BYTES_MAX:
                if throttle is not None:
                    await throttle.take(chunks.size, hurry=hurry)
                data = b"".join([chunk async for chunk in self._chunks(blob, chunks)])
                return await self.send_small(peer, Keep(blob, pins, data, row.lease, row.replicas))
            held = (await self.hold(peer, [Hold(blob, pins, row.lease, row.replicas)]))[0]
            if held.copy is not Copy.MISSING:
                return held
            background = throttle is not None
            offer = Offer(
                blob, pins, chunks.size, chunks.hashes, row.lease, background, row.replicas
            )
            source = self._unverified(blob, chunks, throttle, hurry=hurry)
            if background:
                return await self._push(peer, offer, source)
            async with self._streams:
                return await self._push(peer, offer, source)
        except (OSError, BadMessage, CorruptCopy) as error:
            return Stored(Copy.FAILED, reason=f"{peer}: {error}")

    async def send_small(self, peer: NodeId, keep: Keep) -> Stored:
        """Let a peer hold a small blob; raises OSError or BadMessage."""
        timeout_s = self._config.call_timeout_s
        return decode(await self._rpc.call(peer, KEEP, encode(keep), timeout=timeout_s), Stored)

    async def hold(self, peer: NodeId, items: list[Hold]) -> tuple[Stored, ...]:
        """Merge pins into copies that a peer has; raises OSError or BadMessage."""
        body = encode(Holds(tuple(items)))
        timeout_s = self._config.call_timeout_s
        data = await self._rpc.call(peer, HOLD, body, timeout=timeout_s)
        stored = decode(data, StoredItems).items
        if len(stored) != len(items):
            raise BadMessage(f"{peer} answered {len(stored)} of {len(items)} items")
        return stored

    async def _push(self, peer: NodeId, offer: Offer, source: AsyncIterator[bytes]) -> Stored:
        chunks = ChunkList(offer.size, offer.hashes)
        data = await self._rpc.push(
            peer,
            PUSH,
            encode(offer),
            source,
            timeout=self._config.transfer_timeout_s,
            size=offer.size,
        )
        stored = decode(data, Stored)
        if stored.copy is Copy.FAILED:
            # The receiver verifies what it gets, so that this end need not; if it complains, our
            # own copy may be to blame, and reading it to the end tells.
            async for _ in self._chunks(offer.id, chunks):
                pass
        return stored

    async def _chunks(self, blob: str, chunks: ChunkList) -> AsyncIterator[bytes]:
        for index in range(chunks.count):
            yield await self._shelf.read_chunk(blob, chunks, index)

    async def _unverified(
        self, blob: str, chunks: ChunkList, throttle: Throttle | None, *, hurry: bool
    ) -> AsyncIterator[bytes]:
        for index in range(chunks.count):
            chunk = await self._shelf.read_raw(blob, index)
            if throttle is not None:
                await throttle.take(len(chunk), hurry=hurry)
            yield chunk
