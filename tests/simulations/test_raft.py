"""Raft in the simulator: storms with every judge, the judge of histories, and how soon and how
rarely elections happen."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from peerdisco_election import Group, RaftConfig
from peerdisco_election.core import Core
from peerdisco_election.messages import GroupMessage
from peerdisco_sim.network import Conditions
from peerdisco_sim.scenario import play
from peerdisco_sim.scenarios.raft import RAFT, Append, History, Play, Read, judge
from peerdisco_sim.world import World

BLOCKS = 5
SEEDS_PER_BLOCK = 40


@pytest.mark.slow
@pytest.mark.parametrize("block", range(BLOCKS))
def test_no_seed_breaks_a_rule(block: int) -> None:
    """Safety as it happens, histories and liveness in the end."""
    for seed in range(block * SEEDS_PER_BLOCK, (block + 1) * SEEDS_PER_BLOCK):
        report = play(RAFT, seed)
        assert not report.failures, report.text()
        assert report.operations > 10


def test_a_replay_is_bit_identical() -> None:
    """One seed is one run."""
    assert play(RAFT, 7).digest == play(RAFT, 7).digest


def test_the_judge_finds_an_acknowledgement_before_the_disk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A planted bug in the real driver does not get through."""

    def promise(self: Core, to: str, message: GroupMessage) -> None:
        self.send(to, message)

    monkeypatch.setattr(Core, "promise", promise)
    assert any(play(RAFT, seed).failures for seed in range(20))


@pytest.mark.parametrize(
    ("appends", "reads", "ledger", "problem"),
    [
        ([(b"a", 0, 1, 1), (b"b", 2, 3, 2)], [(4, 5, 2)], [b"a", b"b"], ""),
        ([(b"a", 0, 9, 1), (b"b", 2, 3, 2)], [(1, 4, 0)], [b"a", b"b"], ""),
        ([(b"a", 0, math.inf, 0)], [(1, 2, 0), (3, 4, 1)], [b"a"], ""),
        ([(b"a", 0, 1, 1)], [], [b"a", b"a"], "twice"),
        ([(b"a", 0, 1, 1)], [], [], "is not at 1"),
        ([(b"a", 0, 1, 1), (b"b", 2, 3, 2)], [], [b"b", b"a"], "is not at"),
        ([(b"a", 0, 1, 2), (b"b", 2, 3, 1)], [], [b"b", b"a"], "was known before"),
        ([(b"a", 0, 1, 1)], [(2, 3, 0)], [b"a"], "was known before"),
        ([(b"a", 5, math.inf, 0)], [(2, 3, 1)], [b"a"], "before it began"),
    ],
)
def test_histories_are_judged(
    appends: list[tuple[bytes, float, float, int]],
    reads: list[tuple[float, float, int]],
    ledger: list[bytes],
    problem: str,
) -> None:
    """Exactly once, where it was said, in an order that real time allows."""
    history = History([Append(*one) for one in appends], [Read(*one) for one in reads])
    found = judge(history, ledger)
    assert problem in found
    assert bool(problem) == bool(found)


class Quiet(Play):
    """Three nodes with the settings of the product, and no storm."""

    def __init__(self, world: World) -> None:
        super().__init__(world, 3)
        self._config = RaftConfig()

    @contextmanager
    def running(self) -> Iterator[None]:
        for name in self.names:
            self._addresses[name] = self.cluster.start(name).ip
        self.world.run_for(2.0)
        assert self.leader() is not None
        yield
        assert not self.world.failures, self.world.failures[0].line()

    def leader(self, *, apart_from: str = "") -> Group | None:
        """Who has committed an entry of its own term in group one."""
        for name in self.names:
            member = self._member(name, "one")
            if name != apart_from and member is not None and member.is_leader:
                log = member.core.log
                if log.term(log.committed) == member.term:
                    return member
        return None


def test_no_election_happens_in_an_hour_without_a_fault() -> None:
    """Although one datagram, and one segment, of two hundred is lost."""
    with World(3) as world:
        quiet = Quiet(world)
        with quiet.running():
            world.network.conditions = Conditions(loss=0.005)
            before = quiet.leader()
            world.run_for(3600.0)
            assert before is quiet.leader()
            members = [
                quiet._member(name, group) for name in quiet.names for group in ("one", "two")
            ]
            assert [1] * 6 == [member.term for member in members if member is not None]


@pytest.mark.parametrize("seed", range(12))
def test_a_silent_partition_of_the_leader_costs_one_and_a_half_election_timeouts(seed: int) -> None:
    """No connection is reset and nobody refuses one: only heartbeats are missing."""
    with World(seed) as world:
        quiet = Quiet(world)
        with quiet.running():
            old = quiet.leader()
            assert old is not None
            world.run_for(world.stream("when").uniform(0.0, 1.0))
            began = world.now
            quiet.cluster.isolate(old.core.me)
            while quiet.leader(apart_from=old.core.me) is None:
                world.run_for(0.01)
                assert world.now - began <= 1.5 * RaftConfig().election_timeout
