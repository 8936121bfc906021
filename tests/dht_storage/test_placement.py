"""Placement: balanced, spread, stable, and the same for everybody."""

from __future__ import annotations

import base64
import hashlib
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerdisco_dht.keys import PARTITIONS
from peerdisco_dht.placement import Candidate, Table, fair_shares, place


def node(number: int) -> str:
    digest = hashlib.sha256(str(number).encode()).digest()
    return base64.b32encode(digest[:20]).decode().lower()


def equals(count: int) -> list[Candidate]:
    return [Candidate(node(number), "", 1) for number in range(count)]


def load(table: Table) -> Counter[str]:
    return Counter(member for home in table for member in home)


@settings(max_examples=12, deadline=None)
@given(
    nodes=st.lists(
        st.tuples(st.sampled_from(["", "a", "b", "c"]), st.integers(1, 8)), min_size=1, max_size=12
    ),
    replicas=st.integers(3, 5),
    seed=st.integers(),
)
def test_homes_are_distinct_spread_and_depend_on_the_set_only(
    nodes: list[tuple[str, int]], replicas: int, seed: int
) -> None:
    candidates = [Candidate(node(i), zone, capacity) for i, (zone, capacity) in enumerate(nodes)]
    table = place(candidates, replicas)
    zone = {candidate.id: candidate.zone or candidate.id for candidate in candidates}
    zones = len(set(zone.values()))
    for home in table:
        assert len(home) == len(set(home)) == min(replicas, len(nodes))
        assert len({zone[member] for member in home[:2]}) == min(2, zones, len(home))
    shuffled = random.Random(seed).sample(candidates, len(candidates))
    assert place(shuffled, replicas) == table


@pytest.mark.parametrize("count", [10, 23, 50, 200])
def test_the_fullest_node_holds_little_more_than_the_mean(count: int) -> None:
    loads = load(place(equals(count), 3))
    assert max(loads.values()) <= 1.07 * PARTITIONS * 3 / count


@pytest.mark.parametrize("count", [10, 50, 200])
def test_a_join_moves_little_more_than_it_must(count: int) -> None:
    before, after = place(equals(count), 3), place(equals(count + 1), 3)
    moved = sum(len(set(new) - set(old)) for old, new in zip(before, after, strict=True))
    assert moved <= 2.5 * PARTITIONS * 3 / (count + 1)


def test_many_peers_rebuild_a_lost_node() -> None:
    table = place(equals(50), 3)
    peers = {member for home in table if node(7) in home for member in home} - {node(7)}
    assert len(peers) >= 30


def test_capacity_decides_how_much_a_node_holds() -> None:
    candidates = [Candidate(node(i), "", 1 if i < 25 else 4) for i in range(50)]
    loads = load(place(candidates, 3))
    for candidate in candidates:
        share = PARTITIONS * 3 * candidate.capacity / 125
        assert loads[candidate.id] <= 1.07 * share
        assert loads[candidate.id] >= 0.7 * share


def test_three_zones_are_used_where_there_is_room() -> None:
    candidates = [Candidate(node(i), "abc"[i % 3], 1) for i in range(30)]
    zone = {candidate.id: candidate.zone for candidate in candidates}
    table = place(candidates, 3)
    spread = sum(len({zone[member] for member in home}) == 3 for home in table)
    assert spread >= 0.95 * PARTITIONS


def test_nobody_is_asked_to_hold_more_than_everything() -> None:
    assert fair_shares([1, 1], [0, 1], 2) == [PARTITIONS, PARTITIONS]
    assert fair_shares([100, 1, 1, 1], [0, 1, 2, 3], 3) == [PARTITIONS, *[PARTITIONS * 2 / 3] * 3]


def test_a_small_zone_holds_one_copy_of_everything_and_shares_it_fairly() -> None:
    assert fair_shares([1] * 10, [0, 0, *[1] * 8], 3) == [PARTITIONS / 2] * 2 + [PARTITIONS / 4] * 8
    candidates = [Candidate(node(i), "ab"[i > 1], 1) for i in range(10)]
    loads = load(place(candidates, 3))
    assert max(loads.values()) <= 1.1 * PARTITIONS / 2


def test_without_nodes_there_are_no_homes() -> None:
    assert place([], 3) == ((),) * PARTITIONS
