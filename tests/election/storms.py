"""Everything at once that a seed can think of, then calm, in which the cluster has to work."""

from __future__ import annotations

import random
from collections.abc import Callable

from peerdisco_election import quorum
from peerdisco_election.effects import Effect
from peerdisco_election.errors import Dropped, NotLeader
from peerdisco_election.status import Cause
from tests.election.world import Cluster, Member


class Storm:
    """One seeded run: faults, then calm; any broken rule raises AssertionError."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(f"storm {seed}")
        self.cluster = cluster = Cluster(
            "abcde",
            self.rng.choice(["abc", "abc", "ab", "abcd"]),
            seed=seed,
            snapshot_entries=self.rng.choice([6, 15, 1 << 30]),
        )
        cluster.loss = self.rng.choice([0.0, 0.05, 0.2])
        cluster.repeat = self.rng.choice([0.0, 0.1])
        cluster.delay = self.rng.choice([(0.001, 0.01), (0.001, 0.05), (0.001, 0.25)])
        cluster.disk_delay = self.rng.choice([(0.001, 0.005), (0.001, 0.08)])

    def run(self, seconds: float = 2.5) -> None:
        cluster = self.cluster
        end = cluster.now + seconds
        while cluster.now < end:
            cluster.run(self.rng.uniform(0.005, 0.06))
            self._disturb()
        self._calm()

    def _disturb(self) -> None:
        rng, cluster = self.rng, self.cluster
        member = rng.choice([*cluster.members.values()])
        leader = cluster.leader
        target = leader if leader is not None and rng.random() < 0.5 else member
        dice = rng.random()
        if dice < 0.45:
            self._work(target)
        elif dice < 0.55:
            self._suspect(member)
        elif dice < 0.65:
            self._crash(target)
        elif dice < 0.75:
            cluster.heal()
        elif dice < 0.85:
            names = rng.sample([*cluster.members], rng.choice([1, 2]))
            cluster.isolate(*([target.me] if rng.random() < 0.5 else names))
        elif dice < 0.95 and leader is not None:
            self._change(leader)
        elif leader is not None:
            self._try(leader, lambda: leader.core.transfer(member.me, cluster.now))

    def _work(self, target: Member) -> None:
        if not target.up:
            return
        for leader in [m for m in self.cluster.members.values() if m.leads]:
            self.cluster.read(leader)
            if self.rng.random() < 0.7:
                try:
                    self.cluster.propose(leader, self.rng.choice([1, 1, 3, 9]))
                except Dropped:
                    pass

    def _suspect(self, member: Member) -> None:
        now = self.cluster.now
        if member.up:
            soon = self.rng.random() < 0.7
            member.run(lambda: member.core.suspect(now, Cause.EVIDENCE, soon=soon))

    def _crash(self, member: Member) -> None:
        if not member.up:
            member.boot()
            return
        member.crash(self.rng.choice([0, 0, 1, 9]))
        life = member.lives

        def reboot() -> None:
            if member.lives == life and not member.up:
                member.boot()

        self.cluster.at(self.rng.uniform(0.02, 0.8), reboot)

    def _change(self, leader: Member) -> None:
        names = [*self.cluster.members]
        voters = self.rng.sample(names, self.rng.choice([1, 2, 3, 3, 4]))
        learners = self.rng.sample(names, self.rng.choice([0, 0, 1, 2]))
        self._try(leader, lambda: leader.core.change(voters, self.cluster.now, learners))

    def _try(self, member: Member, act: Callable[[], list[Effect]]) -> None:
        try:
            member.run(act)
        except (Dropped, NotLeader):
            pass

    def _calm(self) -> None:
        """Liveness after the storm: a leader, everything committed, reads answered."""
        cluster = self.cluster
        cluster.heal()
        cluster.loss = cluster.repeat = 0.0
        cluster.delay = (0.001, 0.003)
        cluster.disk_delay = (0.001, 0.003)
        for member in cluster.members.values():
            if not member.up:
                member.boot()
        cluster.run_until(self._quiet, limit=12.0)
        done = cluster.oracle.reads_done
        # A message of the storm may still move the leadership once: then a read is asked again.
        for _ in range(10):
            if cluster.leader is not None:
                cluster.read(cluster.leader)
            cluster.run(0.3)
        assert cluster.oracle.reads_done > done, "a read is answered in a calm cluster"
        cluster.run_until(self._quiet, limit=3.0)
        self._same()

    def _quiet(self) -> bool:
        leader = self.cluster.leader
        if leader is None or leader.core.configuration.outgoing:
            return False
        logs = [self.cluster[name].core.log for name in quorum.everyone(leader.core.configuration)]
        return all(log.committed == log.last == leader.core.log.last for log in logs)

    def _same(self) -> None:
        leader = self.cluster.leader
        assert leader is not None
        for name in quorum.everyone(leader.core.configuration):
            assert leader.applied == self.cluster[name].applied, "equal state after the storm"
