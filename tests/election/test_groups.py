"""The driver: several nodes in one process, real time, and every future settled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from peerdisco_election import Dropped, Group, LeaderChanged, NotLeader, Unknown
from tests.election.nodes import Net

MakeNet = Callable[..., Net]


async def test_a_new_group_has_a_leader_that_commits(make_net: MakeNet) -> None:
    """Create on all, campaign on one, propose."""
    net = make_net()
    async with net.running("abc"):
        groups = await net.form("abc")
        assert "c" == await groups["a"].wait_for_leader(timeout=9)
        leader = groups["c"]
        assert 1 == await leader.propose(b"one", timeout=9)
        assert 2 == await leader.propose(b"two", timeout=9)
        await leader.read_index(timeout=9)
        assert [b"one", b"two"] == net.machines["c", "g"].words
        assert leader.status().core.election is not None


async def test_a_group_of_one_leads_when_it_is_created_with_one_commit(make_net: MakeNet) -> None:
    """Descriptor, vote and first entry share it."""
    net = make_net()
    async with net.running("a"):
        commits = []
        real = net.stores["a"].apply
        net.stores["a"].apply = lambda writes: (commits.append(writes), real(writes))[1]  # type: ignore[method-assign,func-returns-value] # counts commits
        groups = await net.form("a")
        assert groups["a"].is_leader
        assert 1 == len(commits)
        assert 1 == await groups["a"].propose(b"x", timeout=9)
        assert 2 == len(commits)


async def test_creating_is_idempotent(make_net: MakeNet) -> None:
    """Concurrently and later."""
    net = make_net()
    async with net.running("a"):
        one, two = await asyncio.gather(
            net.nodes["a"].create("g", ["a"], net.machine("a")),
            net.nodes["a"].create("g", ["a"], net.machine("a")),
        )
        assert one is two
        assert ["g"] == net.nodes["a"].names()


async def test_a_follower_refuses_and_names_the_leader(make_net: MakeNet) -> None:
    """The caller forwards."""
    net = make_net()
    async with net.running("abc"):
        groups = await net.form("abc")
        await groups["a"].wait_for_leader(timeout=9)
        with pytest.raises(NotLeader) as raised:
            await groups["a"].propose(b"x", timeout=9)
        assert "c" == raised.value.leader
        with pytest.raises(NotLeader):
            await groups["a"].read_index(timeout=9)


async def test_evidence_against_the_leader_starts_an_election_and_nothing_is_lost(
    make_net: MakeNet,
) -> None:
    """The link closed and the reconnect was refused."""
    net = make_net(election_timeout=30.0)
    async with net.running("abc"):
        groups = await net.form("abc")
        await groups["c"].propose(b"kept", timeout=9)
        net.kill("c")
        for name in "ab":
            net.nodes[name].link_lost("c")
        leader = await net.leader(groups)
        assert 2 == await leader.propose(b"more", timeout=9)
        status = leader.status().core
        assert status.election is not None
        assert "evidence" in status.election.cause


async def test_a_dead_leader_is_noticed_without_evidence(make_net: MakeNet) -> None:
    """Its heartbeats are missing."""
    net = make_net()
    async with net.running("abc"):
        groups = await net.form("abc")
        await groups["c"].propose(b"kept", timeout=9)
        net.kill("c")
        leader = await net.leader(groups)
        assert 2 == await leader.propose(b"more", timeout=9)


async def test_false_evidence_at_one_voter_does_not_depose_the_leader(make_net: MakeNet) -> None:
    """The others hear it and ignore the candidate."""
    net = make_net(election_timeout=1.0)
    async with net.running("abc"):
        groups = await net.form("abc")
        await groups["c"].propose(b"x", timeout=9)
        await groups["a"].wait_for_leader(timeout=9)
        net.nodes["a"].evidence("c", True)
        await net.until(lambda: groups["a"].leader is None)
        await groups["a"].wait_for_leader(timeout=9)
        assert (1, True) == (groups["c"].term, groups["c"].is_leader)


@pytest.mark.slow
@pytest.mark.parametrize("lost", [True, False])
async def test_no_election_happens_while_all_is_well(make_net: MakeNet, lost: bool) -> None:
    """Heartbeats suffice, over the links too when datagrams are blocked."""
    net = make_net(election_timeout=1.0)
    net.datagrams_lost = lost
    async with net.running("abc"):
        groups = await net.form("abc")
        await groups["c"].propose(b"x", timeout=9)
        await asyncio.sleep(2.5)
        assert [1, 1, 1] == [group.term for group in groups.values()]
        assert groups["c"].is_leader


async def test_a_restarted_leader_that_leads_no_more_is_found_out(make_net: MakeNet) -> None:
    """Nobody told its followers; its node does not beat any more, or lists what it leads."""
    net = make_net()
    async with net.running("abc"):
        groups = await net.form("abc")
        other = await net.form("abc", "other")
        await groups["c"].propose(b"x", timeout=9)
        await other["c"].propose(b"x", timeout=9)
        net.kill("c")
        node = net.start("c")
        assert ["g", "other"] == node.names()
        groups["c"] = node.open("g", net.machine("c"))
        other["c"] = node.open("other", net.machine("c", "other"))
        for members in (groups, other):
            leader = await net.leader(members)
            assert 2 == await leader.propose(b"y", timeout=9)


async def test_all_restart_from_their_stores(make_net: MakeNet) -> None:
    """A power cut of the whole cluster loses nothing that was acknowledged."""
    net = make_net(snapshot_entries=10, trailing_entries=2)
    async with net.running("abc"):
        groups = await net.form("abc")
        for number in range(25):
            await groups["c"].propose(b"%d" % number, timeout=9)
        for name in "abc":
            net.kill(name)
        for name in "abc":
            groups[name] = net.start(name).open("g", net.machine(name))
        leader = await net.leader(groups)
        assert 26 == await leader.propose(b"more", timeout=9)
        assert leader.status().core.snapshot > 0


async def test_a_partitioned_leader_steps_down_and_its_proposals_are_settled(
    make_net: MakeNet,
) -> None:
    """Another entry took the place: dropped, and safe to repeat."""
    net = make_net()
    async with net.running("abc"):
        groups = await net.form("abc")
        await groups["c"].propose(b"x", timeout=9)
        for name in "ab":
            net.blocked[name, "c"] = net.blocked["c", name] = None
        lost = asyncio.ensure_future(groups["c"].propose(b"lost", timeout=30))
        await net.until(lambda: not groups["c"].is_leader)
        survivors = {name: groups[name] for name in "ab"}
        await (await net.leader(survivors)).propose(b"kept", timeout=9)
        net.blocked.clear()
        with pytest.raises(Dropped):
            await lost
        assert net.machines["c", "g"].words[-1] == b"kept"


async def test_a_proposal_without_a_quorum_ends_as_unknown(make_net: MakeNet) -> None:
    """After its timeout."""
    net = make_net(election_timeout=5.0)
    async with net.running("abc"):
        groups = await net.form("abc")
        await groups["c"].propose(b"x", timeout=9)
        net.kill("a")
        net.kill("b")
        with pytest.raises(Unknown):
            await groups["c"].propose(b"y", timeout=0.05)
        with pytest.raises(Unknown):
            await groups["c"].read_index(timeout=0.05)


async def test_a_failing_store_ends_the_driver_and_settles_everything(make_net: MakeNet) -> None:
    """Nothing is acknowledged that could not be kept."""
    net = make_net()
    proposal: asyncio.Future[object] | None = None
    members: dict[str, Group] = {}

    async def fail() -> None:
        nonlocal proposal
        async with net.running("a"):
            groups = await net.form("a")
            members.update(groups)
            net.stores["a"].broken = True
            proposal = asyncio.ensure_future(groups["a"].propose(b"x", timeout=30))
            await asyncio.sleep(30)

    with pytest.raises(ExceptionGroup):
        await fail()
    assert proposal is not None
    with pytest.raises(Unknown):
        await proposal
    with pytest.raises(Dropped):
        await members["a"].propose(b"y", timeout=1)


async def test_members_change_and_the_leadership_is_handed_over(make_net: MakeNet) -> None:
    """A node joins with no voters known, and an old one goes."""
    net = make_net()
    async with net.running("abcd"):
        groups = await net.form("abc")
        for number in range(20):
            await groups["c"].propose(b"%d" % number, timeout=9)
        groups["d"] = await net.nodes["d"].create("g", [], net.machine("d"))
        await groups["c"].change_voters("bcd", timeout=9)
        assert ("b", "c", "d") == groups["c"].voters
        await groups["c"].transfer("d")
        leader = await net.leader(groups)
        await leader.propose(b"end", timeout=9)
        await net.nodes["a"].dissolve("g")
        assert [] == net.nodes["a"].names()
        assert 21 == len(net.machines[leader.core.me, "g"].words)


async def test_the_leader_removes_itself(make_net: MakeNet) -> None:
    """And the others go on."""
    net = make_net()
    async with net.running("abc"):
        groups = await net.form("abc")
        await groups["c"].change_voters("ab", timeout=9)
        assert groups["c"].status().removed
        await net.nodes["c"].dissolve("g")
        leader = await net.leader({name: groups[name] for name in "ab"})
        assert 1 == await leader.propose(b"x", timeout=9)


async def test_a_dissolved_group_leaves_no_row(make_net: MakeNet) -> None:
    """And may be created anew."""
    net = make_net()
    async with net.running("a"):
        groups = await net.form("a", "job/a")
        await net.form("a", "job/a/b")
        await groups["a"].propose(b"x", timeout=9)
        await net.nodes["a"].dissolve("job/a")
        await net.nodes["a"].dissolve("job/a")
        assert ["job/a/b"] == net.nodes["a"].names()
        assert all(b"b/" in key for key in net.stores["a"].rows)
        with pytest.raises(Dropped):
            await groups["a"].propose(b"x", timeout=9)
        again = await net.form("a", "job/a")
        assert 1 == await again["a"].propose(b"x", timeout=9)


async def test_a_driver_without_datagrams_beats_over_its_links(make_net: MakeNet) -> None:
    """As in small tests and embedded uses."""
    net = make_net(election_timeout=1.0)
    async with net.running(""):
        for name in "abc":
            net.start(name, datagrams=False)
        groups = await net.form("abc")
        await groups["c"].propose(b"x", timeout=9)
        await asyncio.sleep(2.2)
        assert [1, 1, 1] == [group.term for group in groups.values()]


async def test_bad_and_foreign_frames_are_counted(make_net: MakeNet) -> None:
    """A peer can never raise in us."""
    net = make_net()
    async with net.running("ab"):
        await net.form("ab")
        node = net.nodes["a"]
        node.receive("b", b"junk")
        net.handlers["a"]("b", ("b", 1), b"junk")
        await net.nodes["b"].create("unheard of", ["a", "b"], net.machine("b"), campaign=True)
        await net.until(lambda: node.counters.unknown_groups > 0)
        assert 2 == node.counters.bad_frames


async def test_changes_of_the_leader_are_announced(make_net: MakeNet) -> None:
    """With the group's name."""
    net = make_net()
    async with net.running("abc"):
        groups = await net.form("abc")
        await groups["a"].wait_for_leader(timeout=9)
        seen: list[LeaderChanged] = []
        groups["a"].subscribe(seen.append)
        net.kill("c")
        await net.leader(groups)
        await groups["a"].wait_for_leader(timeout=9)
        assert seen[-1].leader in ("a", "b")
        assert "g" == seen[-1].group


async def test_thirty_groups_share_frames_and_commits(make_net: MakeNet) -> None:
    """All elect, all commit, and then all sleep."""
    net = make_net(election_timeout=2.0)
    async with net.running("abc"):
        groups = [await net.form("abc", f"job/{number}") for number in range(30)]
        await asyncio.gather(*(members["c"].propose(b"x", timeout=19) for members in groups))
        everyone = [group for members in groups for group in members.values()]
        await net.until(lambda: all(group.core.deadline is None for group in everyone))
        assert all(net.machines[name, f"job/{at}"].words for name in "abc" for at in range(30))
