"""A member crashes at each of its writes in turn: before it, or as soon as it is on the disk."""

from __future__ import annotations

import pytest

from peerdisco_election.errors import Dropped, NotLeader
from tests.election.world import Cluster, Member


class Doomed(Cluster):
    """A cluster in which one member crashes at its write of a number, and is soon back."""

    def __init__(self, victim: str, number: int, *, synced: int) -> None:
        self._victim, self._left, self._synced = victim, number, synced
        super().__init__("abcd", "abc", seed=number, snapshot_entries=6)

    def schedule_sync(self, member: Member) -> None:
        super().schedule_sync(member)
        if member.me == self._victim:
            self._left -= 1
            if self._left == 0:
                self.at(0.0, lambda: member.crash(self._synced))
                self.at(0.05, member.boot)

    @property
    def is_past(self) -> bool:
        """Whether the victim made fewer writes than that."""
        return self._left > 0


def work(cluster: Cluster, step: int) -> None:
    """An election, proposals, snapshots, a change of members and its reversal."""
    leader = cluster.leader
    if leader is None:
        member = cluster["abc"[step % 3]]
        if member.up:
            member.run(lambda: member.core.campaign(cluster.now))
        return
    try:
        cluster.propose(leader)
        if step in (10, 20):
            voters = "abd" if step == 10 else "abc"
            leader.run(lambda: leader.core.change(voters, cluster.now))
    except (Dropped, NotLeader):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("synced", [0, 1])
@pytest.mark.parametrize("victim", ["a", "b", "d"])
def test_a_crash_at_any_write_loses_nothing(victim: str, synced: int) -> None:
    """It comes back as it is on the disk; the oracle judges all the while."""
    number = 0
    while True:
        number += 1
        cluster = Doomed(victim, number, synced=synced)
        for step in range(30):
            work(cluster, step)
            cluster.run(0.004)
        if cluster.is_past:
            break
        cluster.run(1.0)
        leader = cluster.leader
        assert leader is not None
        cluster.propose(leader)
        cluster.run(0.3)
        for name in leader.core.configuration.voters:
            assert cluster[name].applied == leader.applied
    assert number > 10, "there were writes to crash at"
