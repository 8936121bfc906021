"""What a change of the layout moves: pure arithmetic over two placements and a census.

A dry run of a change computes the placement that would follow, and for every partition the nodes
that would become a home of it and are none now; each of them has to receive what lies there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from peerdisco_dht.keys import PARTITIONS
from peerdisco_dht.layout import Command, Layout, change
from peerdisco_dht.placement import Table, place
from peerdisco_dht.ports import NodeId

Size = tuple[int, int]
"""Blobs and bytes."""


@dataclass(frozen=True, slots=True)
class Share:
    """One node before and after a change.

    Attributes:
        node: Its id.
        partitions_before: Partitions that it is a home of.
        partitions_after: The same after the change.
        blobs_in: Blobs that it has to receive.
        bytes_in: Their bytes.
    """

    node: NodeId
    partitions_before: int
    partitions_after: int
    blobs_in: int
    bytes_in: int


@dataclass(frozen=True, slots=True)
class Movement:
    """What a change moves.

    Attributes:
        refused: Why the change is impossible; empty when it is not.
        shares: Of every node that is in the layout before or after, in order of ids.
        partitions: Homes of partitions that change hands, of all there are.
        homes: How many homes there are in all: partitions times replicas.
    """

    refused: str = ""
    shares: tuple[Share, ...] = ()
    partitions: int = 0
    homes: int = 0

    @property
    def bytes_moved(self) -> int:
        """All bytes that have to be received by somebody."""
        return sum(share.bytes_in for share in self.shares)

    @property
    def blobs_moved(self) -> int:
        """All blobs that have to be received by somebody."""
        return sum(share.blobs_in for share in self.shares)


def movement(layout: Layout, command: Command, sizes: Mapping[int, Size]) -> Movement:
    """What a command would move.

    Args:
        layout: The layout that stands.
        command: The change.
        sizes: What each partition holds once, without copies.
    """
    changed = change(layout, command)
    if changed.refused:
        return Movement(changed.refused)
    return between(_table(layout), _table(changed.layout), sizes)


def between(before: Table, after: Table, sizes: Mapping[int, Size]) -> Movement:
    """What moves from one table to another."""
    held: dict[NodeId, list[int]] = {}
    moved = 0
    for partition in range(PARTITIONS):
        for node in before[partition]:
            held.setdefault(node, [0, 0, 0, 0])[0] += 1
        for node in after[partition]:
            share = held.setdefault(node, [0, 0, 0, 0])
            share[1] += 1
            if node not in before[partition]:
                blobs, size = sizes.get(partition, (0, 0))
                share[2] += blobs
                share[3] += size
                moved += 1
    shares = tuple(Share(node, *numbers) for node, numbers in sorted(held.items()))
    return Movement("", shares, moved, sum(map(len, after)))


def shares_of(table: Sequence[Sequence[NodeId]]) -> dict[NodeId, int]:
    """How many partitions each node is a home of."""
    counts: dict[NodeId, int] = {}
    for home in table:
        for node in home:
            counts[node] = counts.get(node, 0) + 1
    return counts


def _table(layout: Layout) -> Table:
    return place(layout.placement.candidates(), layout.replicas)
