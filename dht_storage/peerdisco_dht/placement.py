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
        self._share = fair_shares([node.capacity for node in nodes], self._zone, replicas)
        room = [min(PARTITIONS, math.ceil(LOAD_SLACK * share)) for share in self._share]
        self._room = room
        self._open_in_zone = [0] * self._zones
        for zone in self._zone:
            self._open_in_zone[zone] += 1
        self._load = [0] * len(nodes)
        tree = _tree(nodes)
        self._walks = [_in_xor_order(tree, point) for point in _PARTITION_POINTS]
        self._ranked: list[dict[int, None]] = [{} for _ in range(PARTITIONS)]
        self._chosen: list[list[int]] = [[] for _ in range(PARTITIONS)]

    def run(self) -> Table:
        for _ in range(self._replicas):
            for partition in _PARTITION_ORDER:
                node = self._choose(partition)
                self._load[node] += 1
                if self._load[node] == self._room[node]:
                    self._open_in_zone[self._zone[node]] -= 1
                self._chosen[partition].append(node)
        return tuple(tuple(self._nodes[i].id for i in chosen) for chosen in self._chosen)

    def _choose(self, partition: int) -> int:
        chosen = self._chosen[partition]
        zones = [self._zone[node] for node in chosen]
        distinct = len(dict.fromkeys(zones))
        must_differ = distinct < min(ZONES_ALWAYS, self._zones)
        node = None
        if distinct < min(self._zones, self._replicas):
            node = self._first_with_room(partition, chosen, zones)
        if node is None and not must_differ:
            node = self._first_with_room(partition, chosen, ())
        return self._least_loaded(chosen, zones if must_differ else ()) if node is None else node

    def _first_with_room(
        self, partition: int, chosen: Sequence[int], zones: Sequence[int]
    ) -> int | None:
        """The nearest node with room that is not chosen and in none of the zones."""
        load, room, zone = self._load, self._room, self._zone
        closed = dict.fromkeys(zones)
        if not any(count and each not in closed for each, count in enumerate(self._open_in_zone)):
            return None
        for node in self._in_order(partition):
            if load[node] < room[node] and node not in chosen and zone[node] not in closed:
                return node
        return None

    def _in_order(self, partition: int) -> Iterator[int]:
        """Distinct nodes by XOR distance; the walk goes no further than anyone ever asked."""
        ranked = self._ranked[partition]
        yield from ranked
        for node in self._walks[partition]:
            if node not in ranked:
                ranked[node] = None
                yield node

    def _least_loaded(self, chosen: Sequence[int], zones: Sequence[int]) -> int:
        """Everybody eligible is full: overload whom it hurts least."""
        eligible = [
            node
            for node in range(len(self._nodes))
            if node not in chosen and self._zone[node] not in zones
        ]
        return min(eligible, key=lambda node: (self._load[node] / self._share[node], node))


def fair_shares(capacities: Sequence[int], zones: Sequence[int], replicas: int) -> list[float]:
    """How many partitions each node should hold, by capacity.

    No node holds a partition twice, and no zone of several can hold all copies of one; what a
    node or a zone cannot take is divided among the others.

    Args:
        capacities: Of each node.
        zones: Number of the zone of each node, from 0.
        replicas: Copies of each partition.
    """
    members: list[list[int]] = [[] for _ in range(max(zones) + 1)]
    for node, zone in enumerate(zones):
        members[zone].append(node)
    most = replicas - 1 if len(members) > 1 and replicas > 1 else replicas
    in_zone = _divide(
        PARTITIONS * replicas,
        [sum(capacities[node] for node in nodes) for nodes in members],
        [PARTITIONS * min(most, len(nodes)) for nodes in members],
    )
    shares = [0.0] * len(capacities)
    for nodes, total in zip(members, in_zone, strict=True):
        parts = _divide(total, [capacities[node] for node in nodes], [PARTITIONS] * len(nodes))
        for node, part in zip(nodes, parts, strict=True):
            shares[node] = part
    return shares


def _divide(total: float, weights: Sequence[int], limits: Sequence[int]) -> list[float]:
    """Divide by weight, but nobody gets more than its limit."""
    parts = [0.0] * len(weights)
    takers = list(range(len(weights)))
    while takers:
        weight = sum(weights[taker] for taker in takers)
        full = [t for t in takers if total * weights[t] >= limits[t] * weight]
        if not full:
            for taker in takers:
                parts[taker] = total * weights[taker] / weight
            break
        for taker in full:
            parts[taker] = float(limits[taker])
            total -= limits[taker]
        takers = [taker for taker in takers if taker not in full]
        total = max(0.0, total)
    return parts


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
