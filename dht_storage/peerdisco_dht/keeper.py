"""The layout as one node knows it: adopted, remembered on disk, and turned into home sets.

The keeper adopts newer layouts only. Adoption takes effect in memory at once; whoever promises
something under it commits `unsaved()` in the same batch or an earlier one, so that a restarted
node never falls back behind an epoch under which it has answered. The tables of recent placements
are kept, since blobs may still lie where an older placement put them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from peerdisco_dht.keys import PARTITIONS, partition_of_key
from peerdisco_dht.layout import Layout, Placement
from peerdisco_dht.messages import decode, encode
from peerdisco_dht.placement import Table, place
from peerdisco_dht.ports import NodeId, Store, Write

LAYOUT_ROW = b"dht/layout"
TABLES_MAX = 12
"""Placements whose tables are kept: all that may wait for a handover, and a few older ones."""

QuorumSets = tuple[tuple[NodeId, ...], ...]
"""Home sets of each of which a majority is needed; the current one comes first."""


class LayoutKeeper:
    """Holds the newest layout that this node has heard of.

    Args:
        store: Where the layout survives a restart.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tables: dict[Placement, Table] = {}
        self._sets: dict[int, QuorumSets] = {}
        self._moving: list[int] | None = None
        self._listeners: list[Callable[[Layout], None]] = []
        row = store.get(LAYOUT_ROW)
        self.layout = decode(row, Layout) if row is not None else Layout()
        self._saved_epoch = self.layout.epoch
        self._news = asyncio.Event()
        self._compute()

    async def run(self) -> None:
        """Save every adopted layout soon, so that a restart begins with it, until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            await self.save()

    @property
    def epoch(self) -> int:
        """The epoch of the layout; 0 when there is none yet."""
        return self.layout.epoch

    def subscribe(self, listener: Callable[[Layout], None]) -> None:
        """Be called with every layout that is adopted from now on."""
        self._listeners.append(listener)

    def adopt(self, layout: Layout) -> bool:
        """Take over a newer layout; False, and nothing changes, when it is not newer."""
        if layout.epoch <= self.layout.epoch:
            return False
        self.layout = layout
        self._compute()
        self._news.set()
        for listener in self._listeners:
            listener(layout)
        return True

    def home(self, partition: int) -> tuple[NodeId, ...]:
        """The home set of a partition, first choice first; empty without a layout."""
        return self._current[partition]

    def home_of_key(self, key: bytes) -> tuple[NodeId, ...]:
        """The home set of a 160-bit key."""
        return self.home(partition_of_key(key))

    def quorum_sets(self, partition: int) -> QuorumSets:
        """The sets of which an operation on a partition needs majorities now.

        Sets of equal members count once, so a partition that did not move is never joint.
        """
        known = self._sets.get(partition)
        if known is not None:
            return known
        sets = {tuple(sorted(self.home(partition))): self.home(partition)}
        for placement in self.layout.previous:
            home = self._table(placement)[partition]
            sets.setdefault(tuple(sorted(home)), home)
        self._sets[partition] = tuple(sets.values())
        return self._sets[partition]

    def earlier_homes(self, partition: int) -> tuple[NodeId, ...]:
        """Nodes that were home under recent placements and are not now, latest first."""
        homes = [table[partition] for table in reversed(list(self._tables.values()))]
        nodes = dict.fromkeys(node for home in homes for node in home)
        return tuple(node for node in nodes if node not in self.home(partition))

    def moving_partitions(self) -> Sequence[int]:
        """Partitions whose registers must be handed over to the current placement."""
        if self._moving is None:
            joint = range(PARTITIONS) if self.layout.previous else range(0)
            self._moving = [p for p in joint if len(self.quorum_sets(p)) > 1]
        return self._moving

    def zone(self, node: NodeId) -> str:
        """The zone of a node: its own id when it names none."""
        entry = self.layout.node(node)
        return entry.zone or node if entry is not None else node

    def unsaved(self) -> list[Write]:
        """The row that must be committed before anything is promised under the layout."""
        if self._saved_epoch >= self.layout.epoch:
            return []
        return [(LAYOUT_ROW, encode(self.layout))]

    async def save(self) -> None:
        """Make the adopted layout survive a restart."""
        epoch = self.layout.epoch
        await self._store.commit(self.unsaved())
        self.saved(epoch)

    def saved(self, epoch: int) -> None:
        """Note that a batch with the row of this epoch is durable."""
        self._saved_epoch = max(self._saved_epoch, epoch)

    def _table(self, placement: Placement) -> Table:
        return self._tables[placement]

    def _compute(self) -> None:
        """Compute missing tables, newest last, and drop the oldest that nothing needs."""
        self._sets = {}
        self._moving = None
        wanted = [*self.layout.previous, self.layout.placement]
        for placement in wanted:
            table = self._tables.pop(placement, None)
            if table is None:
                table = place(placement.candidates(), placement.replicas)
            self._tables[placement] = table
        self._current = self._tables[self.layout.placement]
        for placement in list(self._tables)[: max(0, len(self._tables) - TABLES_MAX)]:
            if placement not in wanted:
                del self._tables[placement]
