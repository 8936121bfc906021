"""What every node holds: how much of each partition, and how much that is still to move away.

A node counts its own rows when it is asked, in small steps; nothing is kept. The sum over the nodes
tells what a change of the layout would move, and how far a drain has come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from peerdisco_dht.blobs.identity import partition_of_blob
from peerdisco_dht.blobs.messages import BlobRow, Role, Where
from peerdisco_dht.blobs.shelf import Shelf
from peerdisco_dht.config import StorageConfig
from peerdisco_dht.fanout import ask_all
from peerdisco_dht.keeper import LayoutKeeper
from peerdisco_dht.messages import BadMessage, Message, decode, encode
from peerdisco_dht.movement import Size
from peerdisco_dht.ports import Members, NodeId, Rpc
from peerdisco_dht.wanted import Wanted

COUNT = "dht/census"
PAGE_ROWS = 500


class Holding(Message, frozen=True, array_like=True):
    """What one node holds.

    Attributes:
        replicas: Blobs and bytes that count as copies.
        caches: Blobs and bytes that are here for speed only.
        trash: Blobs and bytes that a garbage collection condemned; they are in `replicas` too.
        leaving: Blobs and bytes that count as copies although this node is no home of theirs:
            they have to move before the node may go.
        partitions: Of the partitions that it is a home of, with anything in them: number, blobs
            and bytes.
    """

    replicas: tuple[int, int] = (0, 0)
    caches: tuple[int, int] = (0, 0)
    trash: tuple[int, int] = (0, 0)
    leaving: tuple[int, int] = (0, 0)
    partitions: tuple[tuple[int, int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Census:
    """What the nodes that answered hold.

    Attributes:
        holdings: By node.
        silent: Nodes of the layout that did not answer.
    """

    holdings: Mapping[NodeId, Holding]
    silent: tuple[NodeId, ...]

    def sizes(self) -> dict[int, Size]:
        """What each partition holds, by whoever has most of it."""
        sizes: dict[int, Size] = {}
        for holding in self.holdings.values():
            for partition, blobs, size in holding.partitions:
                known = sizes.get(partition, (0, 0))
                sizes[partition] = max(known[0], blobs), max(known[1], size)
        return sizes


class Counter:
    """Counts this node's copies, and asks the others for theirs."""

    def __init__(
        self,
        me: NodeId,
        shelf: Shelf,
        keeper: LayoutKeeper,
        wanted: Wanted,
        members: Members,
        rpc: Rpc,
        config: StorageConfig,
    ) -> None:
        self._me = me
        self._shelf = shelf
        self._keeper = keeper
        self._wanted = wanted
        self._members = members
        self._rpc = rpc
        self._config = config
        rpc.serve(COUNT, self._answer)

    async def census(self) -> Census:
        """Ask all nodes that are in the layout or alive."""
        layout = [node.id for node in self._keeper.layout.nodes]
        everybody = list(dict.fromkeys([*layout, *self._members.alive()]))
        timeout_s = self._config.mark_timeout_s

        async def ask(node: NodeId) -> Holding:
            return decode(await self._rpc.call(node, COUNT, b"", timeout=timeout_s), Holding)

        alive = dict.fromkeys(self._members.alive())
        answers = await ask_all([node for node in everybody if node in alive], ask)
        holdings = {node: each for node, each in answers.items() if isinstance(each, Holding)}
        return Census(holdings, tuple(node for node in layout if node not in holdings))

    async def count(self) -> Holding:
        """Count this node's copies."""
        tally = _Tally()
        after = ""
        while rows := self._shelf.scan(after, PAGE_ROWS):
            after = rows[-1][0]
            for blob, row in rows:
                partition = partition_of_blob(blob)
                nodes = self._wanted.nodes(blob, row.replicas)
                tally.add(partition, row, home=self._me in nodes)
            await asyncio.sleep(0)
        return tally.holding()

    async def _answer(self, peer: NodeId, body: bytes) -> bytes:
        del peer, body
        try:
            return encode(await self.count())
        except BadMessage as error:
            raise OSError(f"a row cannot be read: {error}") from error


class _Tally:
    def __init__(self) -> None:
        self._sums: dict[str, tuple[int, int]] = {}
        self._partitions: dict[int, tuple[int, int]] = {}

    def add(self, partition: int, row: BlobRow, *, home: bool) -> None:
        if row.where is Where.NOWHERE:
            return
        if row.role is Role.CACHE:
            self._add("caches", row.size)
            return
        self._add("replicas", row.size)
        if row.condemned is not None:
            self._add("trash", row.size)
        elif not home:
            self._add("leaving", row.size)
        if home:
            blobs, size = self._partitions.get(partition, (0, 0))
            self._partitions[partition] = blobs + 1, size + row.size

    def _add(self, what: str, size: int) -> None:
        blobs, total = self._sums.get(what, (0, 0))
        self._sums[what] = blobs + 1, total + size

    def holding(self) -> Holding:
        partitions = tuple((p, *self._partitions[p]) for p in sorted(self._partitions))
        return Holding(**self._sums, partitions=partitions)
