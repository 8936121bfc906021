"""What must hold of one lookup in the Kademlia network at rest. Pure.

B7  it finds the node nearest to the key, over no more hops than halving the distance takes and two
    more, and without asking the whole world
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

HOPS_MORE = 2
ASKS_BASE, ASKS_PER_NODE = 16, 6
"""Datagrams that a node may send during one lookup, its answers to others included."""


@dataclass(slots=True)
class Trail:
    """Over how many hops each contact of one lookup became known.

    Attributes:
        hops: By key; 1 for those whom the node knew before.
    """

    hops: dict[bytes, int] = field(default_factory=dict)

    def begun(self, seeds: Sequence[bytes]) -> None:
        """It begins with these."""
        self.hops = dict.fromkeys(seeds, 1)

    def told(self, by: bytes, keys: Sequence[bytes]) -> None:
        """One of them named others."""
        if by in self.hops:
            for key in keys:
                self.hops.setdefault(key, self.hops[by] + 1)


def hops_max(nodes: int) -> int:
    """Hops that a lookup in a network of that many nodes may take."""
    return math.ceil(math.log2(max(nodes, 1))) + HOPS_MORE


def wrong_with(
    key: bytes, live: Sequence[bytes], found: Sequence[bytes], trail: Trail, datagrams: int
) -> str:
    """What is wrong with a lookup; empty when nothing is.

    Args:
        key: What was looked for.
        live: All nodes of the core but the one that looks.
        found: Those of them that it found, nearest first.
        trail: How it came to know them.
        datagrams: How many the node sent meanwhile.
    """
    nearest = min(live, key=lambda node: distance(node, key))
    if list(found[:1]) != [nearest]:
        return f"{nearest.hex()[:8]} is nearest, found {[each.hex()[:8] for each in found]}"
    nodes = len(live) + 1
    if (hops := trail.hops.get(nearest, 1)) > hops_max(nodes):
        return f"{hops} hops among {nodes} nodes"
    if datagrams > ASKS_BASE + ASKS_PER_NODE * nodes:
        return f"{datagrams} datagrams among {nodes} nodes"
    return ""


def distance(node: bytes, key: bytes) -> int:
    """Kademlia's: the exclusive or."""
    return int.from_bytes(node, "big") ^ int.from_bytes(key, "big")
