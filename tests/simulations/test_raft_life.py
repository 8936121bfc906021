"""The life of the layout's Raft group on real daemons: it grows from one voter to three, and a
voter that dies is replaced, the leader too."""

from __future__ import annotations

from peerdisco_sim.cluster import Cluster
from peerdisco_sim.daemon import PEER_PORT, Ready, daemon
from peerdisco_sim.world import World


class Life:
    """A growing cluster and the layout group in it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.cluster = Cluster(world, daemon)
        self.ready = Ready()
        first = self.cluster.start("n1", (), self.ready)
        self._seeds = ((first.ip, PEER_PORT),)

    def join(self, name: str) -> None:
        self.cluster.start(name, self._seeds, self.ready)

    def agreed(self) -> tuple[str, set[str]] | None:
        """Who leads, and the names of the voters, when nothing is left to be done."""
        for name in self.cluster.running:
            node = self.ready.of(self.cluster.node(name))
            group = None if node is None else node.groups.get("layout")
            if node is None or group is None or not group.is_leader:
                continue
            if set(node.storage.layout.voters) == set(group.voters):
                return name, {self.ready.names[voter] for voter in group.voters}
        return None

    def until_voters(self, expected: set[str], seconds: float = 60.0) -> str:
        """Let time pass until exactly these vote; the leader's name."""
        end = self.world.now + seconds
        while (found := self.agreed()) is None or found[1] != expected:
            assert self.world.now < end, f"{found}, not {expected}"
            assert not self.world.failures, self.world.failures[0].line()
            self.world.run_for(0.25)
        return found[0]


def test_the_layout_group_grows_and_replaces_its_dead() -> None:
    """One, three, and three again without the leader that was killed."""
    with World(11) as world:
        life = Life(world)
        life.until_voters({"n1"})
        life.join("n2")
        life.join("n3")
        leader = life.until_voters({"n1", "n2", "n3"})
        life.join("n4")
        world.run_for(10.0)
        assert {"n1", "n2", "n3"} == (life.agreed() or ("", set()))[1]
        life.cluster.kill(leader)
        life.until_voters({"n1", "n2", "n3", "n4"} - {leader})


def test_a_layout_group_that_was_recovered_by_force_takes_the_given_up_back() -> None:
    """They come back with what they had of the earlier era, and join the new one as new members."""
    with World(12) as world:
        life = Life(world)
        for name in ("n2", "n3"):
            life.join(name)
        life.until_voters({"n1", "n2", "n3"})
        for name in ("n2", "n3"):
            life.cluster.kill(name)
        world.run_for(15.0)
        kept = life.ready.of(life.cluster.node("n1"))
        assert kept is not None
        assert ("layout",) == kept.views.cluster.status().stuck
        recovering = life.cluster.node("n1").spawn(
            kept.views.raft.recover("layout", "n1", confirmed=True)
        )
        assert world.run_until_done(recovering, 30.0).done
        life.until_voters({"n1"})
        for name in ("n2", "n3"):
            life.cluster.restart(name)
        life.until_voters({"n1", "n2", "n3"})
        assert () == kept.views.cluster.status().stuck
