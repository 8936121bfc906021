"""Many cores in one deterministic world: what the protocol promises as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from peerdisco_gossip.config import GossipConfig
from peerdisco_gossip.members import MemberState

if TYPE_CHECKING:
    from tests.gossip.conftest import MakeWorld

LAN = GossipConfig()
LOCAL = GossipConfig.local()


def letters(count: int) -> list[str]:
    return [f"{chr(ord('a') + i // 26)}{chr(ord('a') + i % 26)}" for i in range(count)]


@pytest.mark.parametrize("count", [2, 3, 10])
def test_nodes_that_join_one_of_them_find_all_others(make_world: MakeWorld, count: int) -> None:
    world = make_world(LAN)
    world.cluster(letters(count))
    assert world.run_until(world.is_converged, limit=5.0) < 5.0


@pytest.mark.slow
def test_a_hundred_nodes_converge_within_seconds(make_world: MakeWorld) -> None:
    world = make_world(LAN)
    world.cluster(letters(100))
    took = world.run_until(world.is_converged, limit=5.0)
    assert took < 5.0


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [3, 5, 10])
def test_a_killed_local_node_is_dead_everywhere_within_three_seconds(
    make_world: MakeWorld, count: int, seed: int
) -> None:
    world = make_world(LOCAL, seed)
    names = letters(count)
    world.cluster(names)
    world.run(3.0)
    world.crash(names[-1])
    took = world.run_until(lambda: world.all_believe(names[-1], MemberState.DEAD), limit=10.0)
    assert took < 3.2
    assert {event.about for event in world.seen(MemberState.DEAD)} == {names[-1]}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [2, 3, 10])
def test_with_evidence_a_killed_local_node_is_dead_within_a_second(
    make_world: MakeWorld, count: int, seed: int
) -> None:
    world = make_world(LOCAL, seed)
    names = letters(count)
    world.cluster(names)
    world.run(3.0)
    world.crash(names[-1])
    world.evidence(names[0], names[-1])
    took = world.run_until(lambda: world.all_believe(names[-1], MemberState.DEAD), limit=10.0)
    assert took < 1.0


@pytest.mark.parametrize("seed", range(5))
def test_false_evidence_harms_nobody(make_world: MakeWorld, seed: int) -> None:
    world = make_world(LOCAL, seed)
    world.cluster(letters(5))
    world.run(3.0)
    world.evidence("aa", "ab")
    world.run(5.0)
    assert world.seen(MemberState.SUSPECT) == []


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("count", [2, 3, 10])
def test_a_local_node_that_stands_still_for_a_second_is_not_declared_dead(
    make_world: MakeWorld, count: int, seed: int
) -> None:
    world = make_world(LOCAL, seed)
    names = letters(count)
    world.cluster(names)
    world.run(3.0)
    world.stall(names[1], 1.0)
    world.run(6.0)
    assert world.seen(MemberState.DEAD) == []
    assert world.is_converged()


@pytest.mark.parametrize("seed", range(3))
def test_nobody_dies_on_a_busy_machine_where_nodes_keep_standing_still(
    make_world: MakeWorld, seed: int
) -> None:
    """Up to a second each time, several at once, one packet in a hundred lost."""
    world = make_world(LOCAL, seed, loss=0.01)
    names = letters(5)
    world.cluster(names)
    world.run(3.0)
    for _ in range(60):
        name = world.rng.choice(names)
        if world.nodes[name].busy_until <= world.now:
            world.stall(name, world.rng.uniform(0.2, 1.0))
        world.run(world.rng.uniform(0.1, 1.0))
    assert world.seen(MemberState.DEAD) == []


@pytest.mark.parametrize("seed", range(5))
def test_a_node_that_stood_still_does_not_accuse_the_others(
    make_world: MakeWorld, seed: int
) -> None:
    """Five seconds: the others give it up, but it gives up nobody."""
    world = make_world(LOCAL, seed)
    world.cluster(letters(5))
    world.run(3.0)
    world.stall("ab", 5.0)
    world.run(10.0)
    blamed_by_sleeper = [
        event
        for event in world.events
        if event.node == "ab" and event.state in (MemberState.SUSPECT, MemberState.DEAD)
    ]
    assert [event for event in blamed_by_sleeper if event.about != "ab"] == []
    assert world.is_converged()


def test_nobody_is_even_suspected_in_a_run_without_faults(make_world: MakeWorld) -> None:
    world = make_world(LAN)
    world.cluster(letters(10))
    world.run(120.0)
    assert world.seen(MemberState.SUSPECT) == []
    assert world.is_converged()


@pytest.mark.parametrize("config", [LAN, LOCAL], ids=["lan", "local"])
@pytest.mark.parametrize("count", [3, 10])
def test_nobody_dies_when_one_packet_in_twenty_is_lost(
    make_world: MakeWorld, count: int, config: GossipConfig
) -> None:
    world = make_world(config, seed=3, loss=0.05)
    world.cluster(letters(count))
    world.run(120.0)
    assert world.seen(MemberState.DEAD) == []


@pytest.mark.parametrize("seed", range(3))
def test_a_partition_heals_after_both_sides_gave_each_other_up(
    make_world: MakeWorld, seed: int
) -> None:
    world = make_world(LOCAL, seed)
    names = letters(6)
    world.cluster(names)
    world.run(3.0)
    world.cut(names[:3], names[3:])
    world.run(20.0)
    assert world.state("aa", "af") == MemberState.DEAD
    assert world.state("af", "aa") == MemberState.DEAD
    world.heal()
    assert world.run_until(world.is_converged, limit=30.0) < 30.0


def test_a_partition_of_a_lan_that_lasts_ten_minutes_heals(make_world: MakeWorld) -> None:
    world = make_world(LAN)
    names = letters(6)
    world.cluster(names)
    world.run(3.0)
    world.cut(names[:2], names[2:])
    world.run(600.0)
    world.heal()
    assert world.run_until(world.is_converged, limit=180.0) < 180.0


def test_a_link_that_fails_one_way_between_two_kills_nobody(make_world: MakeWorld) -> None:
    world = make_world(LAN)
    world.cluster(letters(6))
    world.run(3.0)
    world.cut_one_way("aa", "ab")
    world.run(120.0)
    assert world.seen(MemberState.DEAD) == []


def test_a_restarted_node_is_alive_again_in_its_new_generation(make_world: MakeWorld) -> None:
    world = make_world(LOCAL)
    world.cluster(letters(4))
    world.run(3.0)
    world.crash("ad")
    world.run_until(lambda: world.all_believe("ad", MemberState.DEAD), limit=5.0)
    world.add("ad", generation=2)
    world.join("ad", "aa")
    world.run_until(world.is_converged, limit=5.0)
    record = world.nodes["ab"].core.members.get(world.nodes["ad"].core.ledger.me.id)
    assert record is not None
    assert record.generation == 2


def test_a_node_restored_from_an_old_copy_adopts_its_later_generation(
    make_world: MakeWorld,
) -> None:
    world = make_world(LOCAL)
    world.add("aa", generation=9)
    world.add("ab")
    world.join("ab", "aa")
    world.run(1.0)
    world.crash("aa")
    world.run_until(lambda: world.all_believe("aa", MemberState.DEAD), limit=10.0)
    world.add("aa", generation=4)
    world.join("aa", "ab")
    world.run_until(world.is_converged, limit=10.0)
    assert world.nodes["aa"].core.ledger.me.generation == 9


def test_a_restarted_node_finds_its_peers_in_the_roster_of_its_earlier_life(
    make_world: MakeWorld,
) -> None:
    world = make_world(LOCAL)
    world.cluster(letters(4))
    world.run(3.0)
    roster = world.nodes["ad"].core.roster(world.now)
    world.crash("ad")
    world.run(5.0)
    world.add("ad", generation=2).core.restore(roster)
    assert world.run_until(world.is_converged, limit=5.0) < 5.0


def test_who_leaves_is_gone_at_once_and_not_suspected(make_world: MakeWorld) -> None:
    world = make_world(LAN)
    world.cluster(letters(10))
    world.run(5.0)
    world.depart("ac")
    took = world.run_until(lambda: world.all_believe("ac", MemberState.LEFT), limit=2.0)
    world.crash("ac")
    world.run(30.0)
    assert took < 0.5
    assert world.seen(MemberState.SUSPECT) == []
    assert world.is_converged()


def test_who_stops_is_dead_at_once_and_known_to_come_back(make_world: MakeWorld) -> None:
    world = make_world(LAN)
    world.cluster(letters(5))
    world.run(5.0)
    stopped_at = world.now
    world.depart("ac", back_in_s=60.0)
    world.run_until(lambda: world.all_believe("ac", MemberState.DEAD), limit=2.0)
    world.crash("ac")
    record = world.nodes["aa"].core.members.get(world.nodes["ac"].core.ledger.me.id)
    assert record is not None
    assert record.back_by is not None
    assert record.back_by == pytest.approx(stopped_at + 60.0, abs=1.0)
    assert world.seen(MemberState.SUSPECT) == []


def test_metadata_reaches_everybody_even_when_packets_are_lost(make_world: MakeWorld) -> None:
    world = make_world(LAN, seed=2, loss=0.3)
    world.cluster(letters(8))
    world.run(10.0)
    world.set_metadata("ac", "slots", b"4")
    world.set_metadata("ac", "slots", b"8")
    me = world.nodes["ac"].core.ledger.me.id

    def is_known() -> bool:
        records = [node.core.members.get(me) for node in world.nodes.values()]
        return all(r is not None and r.metadata.get("slots") == (2, b"8") for r in records)

    assert world.run_until(is_known, limit=60.0) < 60.0


def test_a_quiet_cluster_sends_little(make_world: MakeWorld) -> None:
    """Two packets per node and probe interval, as in the SWIM paper, and nothing else."""
    world = make_world(LAN)
    world.cluster(letters(10))
    world.run(30.0)
    before = world.packets
    world.run(60.0)
    assert world.packets - before <= 10 * 60 * 2 * 1.1
