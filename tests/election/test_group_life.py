"""Groups in the long run: recovered by force, led in turns, joined again, folded away."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

import pytest

from peerdisco_election import Dropped, NotLeader, Unknown
from tests.election.nodes import Net

MakeNet = Callable[..., Net]


async def test_a_group_that_lost_its_majority_goes_on_when_it_is_forced_to(
    make_net: MakeNet,
) -> None:
    """With all that the kept node has; the others may join again, as new members."""
    net = make_net()
    async with net.running("abc"):
        groups = await net.form("abc")
        await groups["c"].propose(b"kept", timeout=9)
        with pytest.raises(Dropped):
            await net.nodes["a"].recover("g", timeout=9)
        await net.until(lambda: net.machines["a", "g"].words == [b"kept"])
        net.kill("b")
        net.kill("c")
        await net.until(lambda: groups["a"].leader is None)
        recovery = await net.nodes["a"].recover("g", timeout=9)
        assert (1, ("b", "c")) == (recovery.era, recovery.lost)
        assert 2 == await groups["a"].propose(b"alone", timeout=9)
        net.kill("a")
        groups["a"] = net.start("a").open("g", net.machine("a"))
        await groups["a"].wait_for_leader(timeout=9)
        assert (1, recovery) == (groups["a"].status().era, groups["a"].status().recovery)
        for name in "bc":
            groups[name] = net.start(name).open("g", net.machine(name))
        await net.until(lambda: all(groups[name].superseded for name in "bc"))
        assert groups["a"].is_leader
        for name in "bc":
            groups[name] = await net.nodes[name].create("g", [], net.machine(name), era=1)
        await groups["a"].change_voters("abc", timeout=9)
        assert 3 == await groups["a"].propose(b"together", timeout=9)
        await net.until(lambda: len(net.machines["b", "g"].words) == 3)
        assert [b"kept", b"alone", b"together"] == net.machines["b", "g"].words
        net.kill("a")
        leader = await net.leader({name: groups[name] for name in "bc"})
        assert 4 == await leader.propose(b"after", timeout=9)
        net.kill("b")
        net.kill("c")
        for name in "bc":
            groups[name] = net.start(name).open("g", net.machine(name))
        assert [1, 1] == [groups[name].status().era for name in "bc"]


async def test_an_old_majority_that_comes_back_does_not_touch_the_kept_member(
    make_net: MakeNet,
) -> None:
    """It leads itself until it hears of the new era; entries of the two eras never mix."""
    net = make_net()
    async with net.running("abc"):
        groups = await net.form("abc")
        await groups["c"].propose(b"kept", timeout=9)
        await net.until(lambda: net.machines["a", "g"].words == [b"kept"])
        for name in "bc":
            net.blocked["a", name] = net.blocked[name, "a"] = None
        await net.until(lambda: groups["a"].leader is None)
        await net.nodes["a"].recover("g", timeout=9)
        await groups["a"].propose(b"new", timeout=9)
        await groups["c"].propose(b"old", timeout=9)
        net.blocked.clear()
        await net.until(lambda: all(groups[name].superseded for name in "bc"))
        assert groups["a"].is_leader
        await groups["a"].propose(b"newer", timeout=9)
        assert [b"kept", b"new", b"newer"] == net.machines["a", "g"].words
        with pytest.raises(NotLeader):
            await groups["c"].propose(b"older", timeout=9)


async def test_a_member_that_was_given_up_joins_again_before_it_knows(make_net: MakeNet) -> None:
    """It is formed in the leader's era: what it has of an earlier one must not be in the way."""
    net = make_net()
    async with net.running("abc"):
        groups = await net.form("abc")
        await groups["c"].propose(b"kept", timeout=9)
        await net.until(lambda: net.machines["a", "g"].words == [b"kept"])
        net.kill("b")
        net.kill("c")
        await net.until(lambda: groups["a"].leader is None)
        await net.nodes["a"].recover("g", timeout=9)
        for name in "bc":
            again = net.start(name)
            assert not again.open("g", net.machine(name)).superseded
            era = groups["a"].era
            groups[name] = await again.create("g", [], net.machine(name), era=era)
        await groups["a"].change_voters("abc", timeout=9)
        assert 2 == await groups["a"].propose(b"together", timeout=9)
        await net.until(lambda: net.machines["c", "g"].words == [b"kept", b"together"])


async def test_a_change_of_members_that_was_lost_is_not_taken_for_a_later_one(
    make_net: MakeNet,
) -> None:
    """Its entry gave way to another leader's; the same node leads again, and changes members."""
    net = make_net()
    async with net.running("abc"):
        groups = await net.form("abc")
        await groups["c"].propose(b"x", timeout=9)
        for name in "ab":
            net.blocked[name, "c"] = net.blocked["c", name] = None
        lost = asyncio.ensure_future(groups["c"].change_voters("c", timeout=30))
        survivors = {name: groups[name] for name in "ab"}
        leader = await net.leader(survivors)
        await leader.propose(b"kept", timeout=9)
        net.blocked.clear()
        with pytest.raises(Dropped):
            await lost
        await leader.transfer("c", timeout=9)
        await groups["c"].change_voters("bc", timeout=9)
        assert ("b", "c") == groups["c"].voters


async def test_proposals_that_lost_their_place_here_are_unknown_when_it_is_taken(
    make_net: MakeNet,
) -> None:
    """Another member might have kept the entry, and might still be elected."""
    net = make_net()
    async with net.running("abc"):
        groups = await net.form("abc")
        await groups["c"].propose(b"x", timeout=9)
        for name in "ab":
            net.blocked[name, "c"] = net.blocked["c", name] = None
        lost = [
            asyncio.ensure_future(groups["c"].propose(b"%d" % number, timeout=30))
            for number in range(4)
        ]
        leader = await net.leader({name: groups[name] for name in "ab"})
        await leader.read_index(timeout=9)
        net.blocked.clear()
        with pytest.raises(Dropped):
            await lost[0]
        await leader.transfer("c", timeout=9)
        # Entry 3 of the first leader's term, then one for each of the new one's.
        await groups["c"].propose(b"new", timeout=9)
        with pytest.raises(Unknown):
            await lost[2]
        await groups["c"].propose(b"newer", timeout=9)
        with pytest.raises(Unknown):
            await lost[3]


async def test_a_node_that_joins_votes_for_nobody_who_lacks_what_is_committed(
    make_net: MakeNet,
) -> None:
    """What it knows of that is durable, and ends with an era."""
    net = make_net()
    async with net.running("abcd"):
        groups = await net.form("abc")
        await groups["c"].propose(b"x", timeout=9)
        floor = groups["c"].known_commit
        assert (2, 1) == floor
        group = await net.nodes["d"].create("g", [], net.machine("d"), floor=floor)
        net.kill("d")
        group = net.start("d").open("g", net.machine("d"))
        log = group.core.log
        assert [False, True] == [log.up_to_date(1, 1), log.up_to_date(2, 1)]
        assert group.admits(1)
        assert log.up_to_date(0, 0)


async def test_7_snapshots_are_taken_when_the_log_has_outgrown_the_last_one(
    make_net: MakeNet,
) -> None:
    """A state that grows is written a few times, not again and again."""
    net = make_net(snapshot_entries=5, trailing_entries=0)
    async with net.running("a"):
        groups = await net.form("a")
        machine = net.machines["a", "g"]
        taken: list[int] = []
        real = machine.snapshot
        machine.snapshot = lambda: (taken.append(len(machine.words)), real())[1]  # type: ignore[method-assign,func-returns-value] # counts snapshots
        for _ in range(100):
            await groups["a"].propose(b"some words", timeout=9)
        assert [4, 9] == taken[:2]
        assert all(later >= 2 * earlier for earlier, later in itertools.pairwise(taken))
        assert groups["a"].status().core.snapshot > 40


async def test_7_a_snapshot_that_followers_would_refuse_is_not_taken(make_net: MakeNet) -> None:
    """The log stays as it is; it is not tried for every entry again."""
    net = make_net(snapshot_entries=5, snapshot_bytes_max=60)
    async with net.running("a"):
        groups = await net.form("a")
        machine = net.machines["a", "g"]
        taken: list[int] = []
        real = machine.snapshot
        machine.snapshot = lambda: (taken.append(len(machine.words)), real())[1]  # type: ignore[method-assign,func-returns-value] # counts snapshots
        for _ in range(60):
            await groups["a"].propose(b"some words", timeout=9)
        assert len(taken) <= 6
        core = groups["a"].status().core
        assert (5, 1, 61) == (core.snapshot, core.first, core.commit)
