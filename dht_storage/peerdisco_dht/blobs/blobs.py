"""Blobs as users see them: put, get, read, delete, from any node.

A blob lives at the home set of its id, which is computed and stored nowhere. Other nodes may hold
copies besides: whoever received it keeps it as a cache, and when homes are down others stand in.
Putting is in `putting.py`, reading in `reading.py`, this node's copies in `shelf.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager

from peerdisco_dht.background import Background
from peerdisco_dht.blobs.acknowledgement import Durability
from peerdisco_dht.blobs.identity import CHUNK_BYTES, check_id, partition_of_blob
from peerdisco_dht.blobs.messages import Held, Ids, Release
from peerdisco_dht.blobs.pinning import Pinner
from peerdisco_dht.blobs.putting import BlobInfo, PutOptions, Putter
from peerdisco_dht.blobs.reading import Reading
from peerdisco_dht.blobs.service import HAS, RELEASE
from peerdisco_dht.blobs.shelf import CorruptCopy, Shelf
from peerdisco_dht.config import StorageConfig
from peerdisco_dht.errors import Limit, Unavailable
from peerdisco_dht.fanout import ask_all
from peerdisco_dht.keeper import LayoutKeeper
from peerdisco_dht.messages import decode, encode
from peerdisco_dht.pacing import Traffic
from peerdisco_dht.ports import Members, NodeId, Rpc


class Blobs:
    """The blobs of the cluster.

    Methods raise BadName for what is no blob id.
    """

    def __init__(
        self,
        me: NodeId,
        shelf: Shelf,
        putter: Putter,
        pinner: Pinner,
        rpc: Rpc,
        keeper: LayoutKeeper,
        members: Members,
        background: Background,
        traffic: Traffic,
        admit: Callable[[], Awaitable[None]],
        config: StorageConfig,
    ) -> None:
        self._me = me
        self._shelf = shelf
        self._putter = putter
        self._pinner = pinner
        self._rpc = rpc
        self._keeper = keeper
        self._members = members
        self._background = background
        self._traffic = traffic
        self._admit = admit
        self._config = config

    async def put(
        self,
        source: AsyncIterator[bytes],
        *,
        replicas: int | None = None,
        durability: Durability = Durability.QUORUM,
        owner: str = "",
    ) -> BlobInfo:
        """Store a stream.

        When this returns, as many nodes as `durability` says have verified the hash and synced
        their copies; the others follow. Equal content gives the same blob; each owner's claim to
        it is kept apart, see `delete`.

        Raises StorageFull when this node has no room, Unavailable when too few nodes could store
        it, Limit when it is too large, and whatever `source` raises.
        """
        began = asyncio.get_running_loop().time()
        await self._admit()
        with self._traffic.foreground():
            info = await self._putter.put(source, PutOptions(replicas, durability, owner))
        if durability is not Durability.LOCAL:
            self._pinner.note_put(info.id, owner, began)
        return info

    async def put_bytes(
        self,
        data: bytes,
        *,
        replicas: int | None = None,
        durability: Durability = Durability.QUORUM,
        owner: str = "",
    ) -> BlobInfo:
        """Store bytes; as `put`."""

        async def whole() -> AsyncIterator[bytes]:
            yield data

        return await self.put(whole(), replicas=replicas, durability=durability, owner=owner)

    @asynccontextmanager
    async def get(
        self, blob: str, *, offset: int = 0, size: int | None = None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The bytes from `offset`, at most `size` of them, in verified pieces of at most 1 MiB.

        Raises NoSuchBlob or Unavailable on entering; in mid-stream only Unavailable, when every
        copy has failed. A range beyond the end is cut.
        """
        check_id(blob)
        if offset < 0 or (size is not None and size < 0):
            raise Limit("a range does not begin or end before the first byte")
        reading = self._reading(blob)
        try:
            with self._traffic.foreground():
                await reading.open(offset, size)
                async with aclosing(reading.pieces(offset, size)) as pieces:
                    yield pieces
        finally:
            reading.close()

    async def size(self, blob: str) -> int:
        """Length in bytes; raises NoSuchBlob or Unavailable."""
        row = self._shelf.row(check_id(blob)) if self._shelf.holds(blob) else None
        if row is not None:
            return row.size
        reading = self._reading(blob)
        try:
            return await reading.open(0, 0)
        finally:
            reading.close()

    async def read(self, blob: str, *, limit_bytes: int) -> bytes:
        """The whole blob in memory; raises Limit when it is larger, else as `get`."""
        parts: list[bytes] = []
        size = 0
        async with self.get(blob) as pieces:
            async for piece in pieces:
                parts.append(piece)
                size += len(piece)
                if size > limit_bytes:
                    raise Limit(f"{blob} has more than {limit_bytes} bytes")
        return b"".join(parts)

    async def local_path(self, blob: str) -> str | None:
        """The Disk path of this node's copy, or None when it has none."""
        return await self._shelf.path(check_id(blob))

    def home(self, blob: str) -> tuple[NodeId, ...]:
        """The nodes where the blob belongs now; computed, no I/O."""
        return self._keeper.home(partition_of_blob(check_id(blob)))

    async def holders(self, blob: str) -> list[NodeId]:
        """Nodes that hold a copy, homes first, asking everybody alive."""
        check_id(blob)
        holders, _ = await self._find_holders(blob)
        home = self.home(blob)
        return sorted(holders, key=lambda node: (node not in home, node))

    async def exists(self, blob: str) -> bool:
        """Whether some node that answers holds a copy.

        Raises Unavailable when none does but some did not answer.
        """
        if self._shelf.holds(check_id(blob)):
            return True
        holders, all_answered = await self._find_holders(blob)
        if not holders and not all_answered:
            raise Unavailable(f"nobody who answers holds {blob}")
        return bool(holders)

    async def delete(self, blob: str, *, owner: str = "") -> None:
        """Drop an owner's claim; the blob disappears when nobody else has put the same content.

        A home that cannot be reached hears of it from the others later. Raises Unavailable when
        no home can be reached.
        """
        check_id(blob)
        body = encode(Release(blob, owner))
        timeout_s = self._config.call_timeout_s
        homes = [*self.home(blob), *self._keeper.earlier_homes(partition_of_blob(blob))]
        answers = await ask_all(
            list(dict.fromkeys([*homes, self._me])),
            lambda node: self._rpc.call(node, RELEASE, body, timeout=timeout_s),
        )
        if all(isinstance(answers[node], Exception) for node in self.home(blob)):
            raise Unavailable(f"no home of {blob} can be reached")

    def local(self, *, after: str = "", limit: int = 1000) -> list[tuple[str, int]]:
        """Ids and sizes of the copies on this node behind an id, in order of ids."""
        rows = self._shelf.scan(after, limit)
        return [(blob, row.size) for blob, row in rows if self._shelf.holds(blob)]

    def _reading(self, blob: str) -> Reading:
        return Reading(
            blob,
            self._me,
            self._shelf,
            self._rpc,
            self._background,
            self._sources(blob),
            lambda: self._find_holders(blob),
            self._config,
        )

    def _sources(self, blob: str) -> list[NodeId]:
        """Whom to ask, best first: this node, living homes, earlier homes, the other homes."""
        partition = partition_of_blob(blob)
        alive = self._members.alive()
        home = self._keeper.home(partition)
        candidates = [
            *([self._me] if self._shelf.holds(blob) else []),
            *(node for node in home if node in alive),
            *(node for node in self._keeper.earlier_homes(partition) if node in alive),
            *home,
        ]
        return [node for node in dict.fromkeys(candidates) if node != self._me or self._holds(blob)]

    def _holds(self, blob: str) -> bool:
        return self._shelf.holds(blob)

    async def _find_holders(self, blob: str) -> tuple[list[NodeId], bool]:
        """Everybody alive or in the layout who holds a copy, and whether all of them answered."""
        layout = [node.id for node in self._keeper.layout.nodes]
        everybody = list(dict.fromkeys([*self._members.alive(), *layout]))
        body = encode(Ids((blob,)))

        async def ask(node: NodeId) -> bool:
            timeout_s = self._config.call_timeout_s
            data = await self._rpc.call(node, HAS, body, timeout=timeout_s)
            return any(decode(data, Held).held)

        answers = await ask_all(everybody, ask)
        holders = [node for node, answer in answers.items() if answer is True]
        return holders, all(isinstance(answer, bool) for answer in answers.values())


__all__ = ["CHUNK_BYTES", "BlobInfo", "Blobs", "CorruptCopy", "Durability"]
