"""Which nodes hold which partition: a pure function of the nodes in the layout.

Every node owns 32 virtual ids for each unit of its capacity. A partition walks the virtual ids in
XOR order (Kademlia's metric, Maymounkov & Mazieres 2002, section 2.1) and takes the first R
distinct nodes that still have room: a node may hold at most 1.05 times its fair share, which
plain XOR order would exceed two or three times over. The first two nodes always lie in two zones
when there are two; a third zone is preferred as long as its nodes have room.

First all partitions choose their first node, then all their second, and so on, in an order fixed
by hashing; so the result depends on the set of nodes only. No I/O and no state. The layout that
feeds this is in `layout.py`; `keeper.py` computes it once per placement.
"""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from peerdisco_dht.keys import PARTITION_BITS, PARTITIONS

VIRTUAL_IDS_PER_UNIT = 32
LOAD_SLACK = 1.05
ZONES_ALWAYS = 2
POINT_BITS = 64

Tree = int | tuple[int, "Tree", "Tree"]
"""A leaf is the index of a node; a branch is (bit, side where it is 0, side where it is 1)."""

Table = tuple[tuple[str, ...], ...]
"""For each partition its home set, first choice first."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node that may hold partitions.

    Attributes:
        id: The node.
        zone: What fails together; empty when the node is a zone of its own.
        capacity: How many units it offers, at least 1.
    """

    id: str
    zone: str
    capacity: int


def place(candidates: Sequence[Candidate], replicas: int) -> Table:
    """The home set of each of the 4096 partitions: min(replicas, nodes) distinct nodes."""
    nodes = sorted(candidates, key=lambda candidate: candidate.id)
    if not nodes:
        return ((),) * PARTITIONS
    return _Placing(nodes, min(replicas, len(nodes))).run()


class _Placing:
    """One computation of a table."""

    def __init__(self, nodes: Sequence[Candidate], replicas: int) -> None:
        self._nodes = nodes
        self._replicas = replicas
        names = [node.zone or node.id for node in nodes]
        index = {name: number for number, name in enumerate(sorted(set(names)))}
        self._zone = [index[name] for name in names]
        self._zones = len(index)
        self._share = fair_shares([node.capacity for node in nodes], replicas)
        self._room = [min(PARTITIONS, math.ceil(LOAD_SLACK * share)) for share in self._share]
        self._load = [0] * len(nodes)
        tree = _tree(nodes)
        self._walks = [_in_xor_order(tree, point) for point in _PARTITION_POINTS]
        self._ranked: list[list[int]] = [[] for _ in range(PARTITIONS)]
        self._chosen: list[list[int]] = [[] for _ in range(PARTITIONS)]

    def run(self) -> Table:
        for _ in range(self._replicas):
            for partition in _PARTITION_ORDER:
                node = self._choose(partition)
                self._load[node] += 1
                self._chosen[partition].append(node)
        return tuple(tuple(self._nodes[i].id for i in chosen) for chosen in self._chosen)

    def _choose(self, partition: int) -> int:
        chosen = self._chosen[partition]
        zones = [self._zone[node] for node in chosen]
        distinct = len(dict.fromkeys(zones))
        if distinct < min(self._zones, self._replicas):
            node = self._first_with_room(partition, chosen, zones)
            if node is not None:
                return node
        closed = zones if distinct < min(ZONES_ALWAYS, self._zones) else []
        node = self._first_with_room(partition, chosen, closed) if not closed else None
        return self._least_loaded(chosen, closed) if node is None else node

    def _first_with_room(
        self, partition: int, chosen: Sequence[int], zones: Sequence[int]
    ) -> int | None:
        """The nearest node with room that is not chosen and in none of the zones."""
        load, room, zone = self._load, self._room, self._zone
        for node in self._in_order(partition):
            if load[node] < room[node] and node not in chosen and zone[node] not in zones:
                return node
        return None

    def _in_order(self, partition: int) -> Iterator[int]:
        """Distinct nodes by XOR distance; the walk goes no further than anyone ever asked."""
        ranked = self._ranked[partition]
        yield from ranked
        for node in self._walks[partition]:
            if node not in ranked:
                ranked.append(node)
                yield node

    def _least_loaded(self, chosen: Sequence[int], zones: Sequence[int]) -> int:
        """Everybody eligible is full: overload whom it hurts least."""
        eligible = [
            node
            for node in range(len(self._nodes))
            if node not in chosen and self._zone[node] not in zones
        ]
        return min(eligible, key=lambda node: (self._load[node] / self._share[node], node))


def fair_shares(capacities: Sequence[int], replicas: int) -> list[float]:
    """How many partitions each node should hold, by capacity, none more than all of them.

    What a node cannot take because it already holds every partition is divided among the rest.
    """
    shares = [0.0] * len(capacities)
    open_nodes = list(range(len(capacities)))
    left = float(PARTITIONS * replicas)
    while open_nodes:
        weight = sum(capacities[node] for node in open_nodes)
        full = [n for n in open_nodes if left * capacities[n] / weight >= PARTITIONS]
        if not full:
            for node in open_nodes:
                shares[node] = left * capacities[node] / weight
            break
        for node in full:
            shares[node] = float(PARTITIONS)
        left -= PARTITIONS * len(full)
        open_nodes = [node for node in open_nodes if node not in full]
    return shares


def _point(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[: POINT_BITS // 8], "big")


def _partition_point(partition: int) -> int:
    """A partition's place in the key space: its prefix, and a hashed rest as tie-breaker."""
    rest_bits = POINT_BITS - PARTITION_BITS
    return partition << rest_bits | _point(f"partition/{partition}") >> PARTITION_BITS


_PARTITION_POINTS = tuple(_partition_point(partition) for partition in range(PARTITIONS))
_PARTITION_ORDER = tuple(sorted(range(PARTITIONS), key=lambda p: _point(f"order/{p}")))


def _tree(nodes: Sequence[Candidate]) -> Tree:
    """The binary trie of all virtual ids, without branches that do not branch."""
    owner: dict[int, int] = {}
    for number, node in enumerate(nodes):
        for virtual in range(VIRTUAL_IDS_PER_UNIT * node.capacity):
            owner.setdefault(_point(f"{node.id}/{virtual}"), number)
    points = sorted(owner)
    return _subtree(points, [owner[point] for point in points], 0, len(points))


def _subtree(points: Sequence[int], owners: Sequence[int], low: int, high: int) -> Tree:
    if high - low == 1:
        return owners[low]
    bit = (points[low] ^ points[high - 1]).bit_length() - 1
    middle = bisect_left(points, points[high - 1] >> bit << bit, low, high)
    return bit, _subtree(points, owners, low, middle), _subtree(points, owners, middle, high)


def _in_xor_order(tree: Tree, target: int) -> Iterator[int]:
    """Owners of the virtual ids, nearest first, found lazily."""
    stack = [tree]
    while stack:
        branch = stack.pop()
        while not isinstance(branch, int):
            bit, zero, one = branch
            if target >> bit & 1:
                stack.append(zero)
                branch = one
            else:
                stack.append(one)
                branch = zero
        yield branch
