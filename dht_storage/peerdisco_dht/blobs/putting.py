"""Storing a blob: receive, hash, keep here, copy to the homes, acknowledge.

The home of a stream is unknown until its last byte, so the receiving node spools it while hashing.
Then it keeps its own copy (a replica if it is a home, else a cache for locality) and sends copies
to the homes in parallel: pushing needs one message less than telling the homes to pull, and the
receiver verifies every chunk either way. The put is acknowledged as soon as enough nodes have
synced copies; the remaining ones go on in the background, and what fails is left to repair.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from peerdisco_dht.background import Background
from peerdisco_dht.blobs.acknowledgement import Durability, Targets, choose_targets
from peerdisco_dht.blobs.identity import (
    BLOB_BYTES_MAX,
    Chunker,
    chunk_list_of,
    partition_of_blob,
)
from peerdisco_dht.blobs.messages import Copy, Role, Stored
from peerdisco_dht.blobs.pins import Pins, pin
from peerdisco_dht.blobs.sending import Sender
from peerdisco_dht.blobs.shelf import INLINE_BYTES_MAX, Shelf, Spool
from peerdisco_dht.config import StorageConfig
from peerdisco_dht.errors import Limit, Unavailable
from peerdisco_dht.keeper import LayoutKeeper
from peerdisco_dht.layout import NodeState
from peerdisco_dht.ports import Members, NodeId

_Results = asyncio.Queue[tuple[NodeId, Stored]]


@dataclass(frozen=True, slots=True)
class BlobInfo:
    """A blob that was stored.

    Attributes:
        id: Its id; `blob:` before it makes its URL.
        size: Bytes.
        copies: Nodes that had a synced copy when the put was acknowledged.
    """

    id: str
    size: int
    copies: int


@dataclass(frozen=True, slots=True)
class PutOptions:
    """How a put wants its blob.

    Attributes:
        replicas: Copies wanted, at most the home set; None for the layout's number.
        durability: What the acknowledgement promises.
        owner: Whose pin holds the blob.
    """

    replicas: int | None = None
    durability: Durability = Durability.QUORUM
    owner: str = ""


class Putter:
    """Stores blobs that arrive at this node."""

    def __init__(
        self,
        me: NodeId,
        shelf: Shelf,
        sender: Sender,
        keeper: LayoutKeeper,
        members: Members,
        background: Background,
        unique: Callable[[], str],
        repair: Callable[[str], None],
        config: StorageConfig,
    ) -> None:
        self._me = me
        self._shelf = shelf
        self._sender = sender
        self._keeper = keeper
        self._members = members
        self._background = background
        self._unique = unique
        self._repair = repair
        self._config = config
        self._receiving = asyncio.Semaphore(config.transfers_max)

    async def put(self, source: AsyncIterator[bytes], options: PutOptions) -> BlobInfo:
        """Store a stream; see Blobs.put."""
        if not self._keeper.layout.nodes:
            raise Unavailable("this node knows no layout yet")
        pieces: list[bytes] = []
        size = 0
        async for piece in source:
            pieces.append(piece)
            size += len(piece)
            if size > INLINE_BYTES_MAX:
                async with self._receiving:
                    return await self._put_large(pieces, source, options)
        return await self._put_small(b"".join(pieces), options)

    async def _put_small(self, data: bytes, options: PutOptions) -> BlobInfo:
        """Everybody keeps it in the index at once; the local copy is one of them."""
        blob = chunk_list_of(data).id
        targets = self._targets(blob, options)
        pins = Pins((pin(options.owner, self._unique()),))
        role = Role.REPLICA if self._me in targets.now else Role.CACHE
        stored = await self._shelf.keep_inline(blob, data, pins, role)
        assert stored.copy is Copy.HELD, "a pin that is new cannot have been released"
        holders = [self._me] if self._me in targets.now else []
        return await self._spread(blob, len(data), pins, targets, holders)

    async def _put_large(
        self, pieces: list[bytes], source: AsyncIterator[bytes], options: PutOptions
    ) -> BlobInfo:
        spool = await self._shelf.spool()
        kept = False
        try:
            chunker = Chunker()
            for piece in pieces:
                await _spool(spool, chunker, piece)
            pieces.clear()
            async for piece in source:
                await _spool(spool, chunker, piece)
            last = chunker.finish()
            if last:
                await spool.write(last)
            chunks = chunker.chunk_list()
            targets = self._targets(chunks.id, options)
            pins = Pins((pin(options.owner, self._unique()),))
            role = Role.REPLICA if self._me in targets.now else Role.CACHE
            stored = await self._shelf.keep_file(spool, chunks, pins, role)
            kept = True
            assert stored.copy is Copy.HELD, "a pin that is new cannot have been released"
        finally:
            if not kept:
                await self._shelf.discard(spool)
        holders = [self._me] if self._me in targets.now else []
        return await self._spread(chunks.id, chunks.size, pins, targets, holders)

    def _targets(self, blob: str, options: PutOptions) -> Targets:
        layout = self._keeper.layout
        nodes = [node.id for node in layout.nodes if node.state is NodeState.UP]
        return choose_targets(
            blob,
            self._me,
            self._keeper.home(partition_of_blob(blob)),
            nodes,
            self._members.alive(),
            self._keeper.zone,
            options.replicas or layout.replicas,
            options.durability,
        )

    async def _spread(
        self, blob: str, size: int, pins: Pins, targets: Targets, holders: list[NodeId]
    ) -> BlobInfo:
        """Send copies until enough are synced; leave the rest to the background."""
        results: _Results = asyncio.Queue()
        spares = deque(targets.spares)
        asked = [node for node in targets.now if node not in holders]
        for node in asked:
            self._background.start(self._send(node, blob, pins, results))
        waiting = len(asked)
        if any(node not in targets.now for node in targets.homes):
            self._repair(blob)
        reason = "no node lives that could hold it"
        while not targets.satisfied(holders, self._keeper.zone):
            if not waiting and not spares:
                raise Unavailable(f"{blob}: {len(holders)} of {targets.copies} copies; {reason}")
            stored = None
            if waiting:
                node, stored = await self._next(results, hurry=bool(spares))
            if stored is not None:
                waiting -= 1
            if stored is not None and stored.copy is Copy.HELD:
                holders.append(node)
                continue
            reason = stored.reason if stored is not None else reason
            if spares:
                self._background.start(self._send(spares.popleft(), blob, pins, results))
                waiting += 1
        return BlobInfo(blob, size, len(holders))

    async def _next(self, results: _Results, *, hurry: bool) -> tuple[NodeId, Stored | None]:
        """The next answer, or None when a spare should be asked meanwhile."""
        try:
            async with asyncio.timeout(self._config.call_timeout_s if hurry else None):
                return await results.get()
        except TimeoutError:
            return "", None

    async def _send(
        self,
        node: NodeId,
        blob: str,
        pins: Pins,
        results: _Results,
    ) -> None:
        stored = await self._sender.send(node, blob, pins)
        if stored.copy in (Copy.FAILED, Copy.FULL):
            self._repair(blob)
        results.put_nowait((node, stored))


async def _spool(spool: Spool, chunker: Chunker, piece: bytes) -> None:
    if chunker.size + len(piece) > BLOB_BYTES_MAX:
        raise Limit(f"a blob has at most {BLOB_BYTES_MAX} bytes")
    for parts in chunker.push(piece):
        await spool.write(parts)
