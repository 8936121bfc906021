"""The small parts: rumours, suspicion, awareness, the order of probing."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerdisco_gossip import messages as m
from peerdisco_gossip.awareness import Awareness
from peerdisco_gossip.broadcast import BroadcastQueue, Rumour, Rumours
from peerdisco_gossip.config import GossipConfig
from peerdisco_gossip.members import Members, MemberState, Record
from peerdisco_gossip.probe import ProbeOrder
from peerdisco_gossip.suspicion import Suspicion, begin


def rumour(key: str, size: int = 10) -> Rumour:
    return Rumour(key, key.encode().ljust(size, b"."))


def keys(taken: list[bytes]) -> list[str]:
    return [encoded.decode().rstrip(".") for encoded in taken]


def test_the_freshest_rumours_go_first_and_each_is_told_so_often() -> None:
    rumours = Rumours(10_000)
    rumours.put(rumour("a"))
    assert keys(rumours.take(100, 3)[0]) == ["a"]
    rumours.put(rumour("b"))
    rumours.put(rumour("c"))
    assert keys(rumours.take(26, 3)[0]) == ["c", "b"]
    assert sorted(keys(rumours.take(100, 3)[0])) == ["a", "b", "c"]
    assert sorted(keys(rumours.take(100, 3)[0])) == ["a", "b", "c"]
    assert len(rumours) == 0


def test_a_newer_rumour_about_the_same_subject_replaces_the_older() -> None:
    rumours = Rumours(10_000)
    rumours.put(rumour("a"))
    rumours.put(Rumour("a", b"new"))
    assert rumours.take(100, 3)[0] == [b"new"]
    assert len(rumours) == 1


def test_a_full_queue_drops_what_was_told_most() -> None:
    rumours = Rumours(40)
    rumours.put(rumour("a"))
    rumours.put(rumour("b"))
    rumours.take(13, 5)  # b, the newest
    rumours.put(rumour("c"))
    rumours.put(rumour("d"))
    assert sorted(keys(rumours.take(100, 5)[0])) == ["a", "c", "d"]
    assert rumours.dropped == 1


@given(
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(1, 60)), max_size=30),
    st.lists(st.integers(0, 120), max_size=30),
)
@settings(max_examples=100, deadline=None)
def test_no_packet_overflows_and_no_rumour_is_told_too_often_or_twice_in_one(
    puts: list[tuple[str, int]], rooms: list[int]
) -> None:
    rumours = Rumours(200)
    for key, size in puts:
        rumours.put(rumour(key, size))
        assert rumours.size_bytes <= 200
    counts: dict[str, int] = {}
    for room in rooms:
        taken, left = rumours.take(room, 4)
        assert sum(len(encoded) + 3 for encoded in taken) + left == room
        assert left >= 0
        assert len(dict.fromkeys(keys(taken))) == len(taken)
        for key in keys(taken):
            counts[key] = counts.get(key, 0) + 1
    assert all(count <= 4 for count in counts.values())


def test_a_storm_of_membership_changes_leaves_metadata_its_share() -> None:
    queue = BroadcastQueue(100_000, 0.4, 3)
    for number in range(500):
        queue.put(
            m.Left(
                f"{number:03}".translate(str.maketrans("0123456789", "abcdefghij")).ljust(32, "a"),
                1,
                1,
            )
        )
        queue.put(m.Metadata("z" * 32, 1, number, f"k{number}", b"v" * 20))
    taken = [m.decode_update(encoded) for encoded in queue.take(1000, 10)]
    facts = sum(1 for update in taken if isinstance(update, m.Metadata))
    assert facts > 0
    assert len(taken) - facts > 0
    quiet = BroadcastQueue(100_000, 0.4, 3)
    for number in range(50):
        quiet.put(m.Metadata("z" * 32, 1, number, f"k{number}", b"v" * 20))
    assert len(quiet.take(1000, 10)) >= 1000 // 80


def test_a_lone_accuser_waits_longest_and_enough_accusers_shortest() -> None:
    suspicion = Suspicion(10.0, shortest_s=4.0, longest_s=24.0, wanted=3, accusers={"x": None})
    deadlines = [suspicion.deadline]
    for accuser in ("a", "b", "c"):
        assert suspicion.confirm(accuser)
        deadlines.append(suspicion.deadline)
    assert deadlines[0] == 34.0
    assert deadlines[-1] == 14.0
    assert deadlines == sorted(deadlines, reverse=True)
    assert not suspicion.confirm("d")


@pytest.mark.parametrize(("present", "wanted"), [(2, 0), (3, 1), (4, 2), (5, 3), (100, 3)])
def test_no_more_confirmations_are_wanted_than_there_can_be(present: int, wanted: int) -> None:
    assert begin("x", present, GossipConfig(), 0.0).wanted == wanted


def test_bigger_clusters_grant_more_time() -> None:
    shortest = [begin("x", n, GossipConfig(), 0.0).shortest_s for n in (2, 10, 100, 1000)]
    assert shortest == pytest.approx([4.0, 4.0, 8.0, 12.0])


def test_evidence_hastens_and_a_stall_postpones() -> None:
    suspicion = Suspicion(0.0, 4.0, 24.0, wanted=3, accusers={"x": None})
    suspicion.hasten(1.0)
    assert suspicion.deadline == 1.0
    suspicion.postpone(5.0, earliest=7.0)
    assert suspicion.deadline == 7.0


def test_awareness_stays_within_its_bounds() -> None:
    awareness = Awareness(8)
    awareness.improve()
    assert awareness.multiplier == 1
    awareness.worsen(100)
    assert awareness.multiplier == 8
    awareness.improve()
    assert awareness.multiplier == 7


@given(st.integers(1, 30), st.integers(0, 2**32))
@settings(max_examples=50, deadline=None)
def test_every_member_has_its_turn_in_every_cycle_and_newcomers_soon(count: int, seed: int) -> None:
    members, order = Members(), ProbeOrder(random.Random(seed))
    for number in range(count):
        members.add(Record(f"a{number}", ("10.0.0.1", 1), 1, 0, MemberState.ALIVE, 0.0))
        order.notice(f"a{number}")
    members.add(Record("me", ("10.0.0.1", 1), 1, 0, MemberState.ALIVE, 0.0))
    for _ in range(2):
        cycle = [record.id for _ in range(count) if (record := order.next(members, "me"))]
        assert sorted(cycle) == sorted(f"a{number}" for number in range(count))
    members.add(Record("new", ("10.0.0.1", 1), 1, 0, MemberState.ALIVE, 0.0))
    order.notice("new")
    cycle = [record.id for _ in range(count + 1) if (record := order.next(members, "me"))]
    assert "new" in cycle


def test_nobody_is_probed_when_nobody_is_there() -> None:
    members, order = Members(), ProbeOrder(random.Random(1))
    members.add(Record("me", ("10.0.0.1", 1), 1, 0, MemberState.ALIVE, 0.0))
    assert order.next(members, "me") is None
