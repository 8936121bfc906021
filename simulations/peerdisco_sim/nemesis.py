"""Who a fault hits: names, chance, or what the cluster is doing at that very moment.

Random victims are seldom the interesting ones. Selectors read the state of the real nodes: who
coordinates the running job, who was elected within the last 100 ms, who holds the last copies of a
blob, who is being written to. A selector that finds nobody is tried again for a while. What it
found is recorded, so that a schedule can be written down again with names only.

    n3            that node              any, any:2     as many running nodes, by chance
    n1,n4         those nodes            half, minority as many of all nodes, by chance
    coordinator   leads a running job    leader:new     was just elected, of any group
    follower      votes in a job's group leader:layout  leads the storage layout
    worker        runs an attempt        holder:last    hold the rarest blob
    writer        is being written to    joined:new     has just joined
    all           everybody
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from peerdisco_sim.streams import Stream

if TYPE_CHECKING:
    from peerdisco.node import Node
    from peerdisco_sim.arena import Arena

JOB_PREFIX = "job/"
LAYOUT_GROUP = "layout"
ROWS_MAX = 1000
NEW_S = 15.0
"""For how long after its boot a node counts as just joined."""

Terms = dict[str, int]


class NoSuchTarget(ValueError):
    """A target that is neither a node's name nor a selector."""


class Nemesis:
    """Finds victims in one arena.

    Args:
        arena: Where.
        draws: Decides among equals.
    """

    def __init__(self, arena: Arena, draws: Stream) -> None:
        self._arena = arena
        self.draws = draws

    def terms(self) -> Terms:
        """The newest term in which each group has a leader; what "new" is compared with."""
        terms: Terms = {}
        for _, node in self._nodes():
            for group in self._led(node, ""):
                terms[group] = max(terms.get(group, 0), node.groups.get(group).term)  # type: ignore[union-attr]  # it is there
        return terms

    def find(self, target: str, armed: Terms) -> list[str]:
        """Names of the victims, in order; empty when there is nobody at the moment.

        Args:
            target: What a fault says.
            armed: `terms()` of when the fault was due.

        Raises:
            NoSuchTarget: It is neither a name nor a selector.
        """
        names = self._arena.cluster.names
        named = target.split(",")
        if all(name in self._arena.world.nodes for name in named):
            return [name for name in named if name in names]
        kind, _, argument = target.partition(":")
        if kind == "leader" and argument == "new":
            return self._newly_elected(armed)
        selector = SELECTORS.get(kind)
        if selector is None:
            if all(name[:1] == "n" and name[1:].isdigit() for name in named):
                return []  # a node that has not joined in this play
            raise NoSuchTarget(f"nobody is called {target!r}, and it is no selector")
        return selector(self, argument)

    # -- selectors ----------------------------------------------------------------------------

    def any(self, argument: str) -> list[str]:
        """That many running nodes."""
        return self._sample(self._arena.cluster.running, int(argument or "1"))

    def all(self, _: str) -> list[str]:
        """Everybody."""
        return self._arena.cluster.names

    def half(self, _: str) -> list[str]:
        """Half of all nodes, rounded down."""
        names = self._arena.cluster.names
        return self._sample(names, max(1, len(names) // 2))

    def minority(self, _: str) -> list[str]:
        """Fewer than half of all nodes."""
        names = self._arena.cluster.names
        return self._sample(names, self.draws.randint(1, max(1, (len(names) - 1) // 2)))

    def coordinator(self, _: str) -> list[str]:
        """A node that leads a job's group."""
        return self._one([name for name, node in self._nodes() if self._led(node, JOB_PREFIX)])

    def leader(self, argument: str) -> list[str]:
        """A node that leads a group; `layout` for that one."""
        prefix = LAYOUT_GROUP if argument == LAYOUT_GROUP else ""
        return self._one([name for name, node in self._nodes() if self._led(node, prefix)])

    def follower(self, _: str) -> list[str]:
        """A node that votes in a job's group and does not lead it."""
        found = []
        for name, node in self._nodes():
            groups = [node.groups.get(job) for job in node.groups.names() if _is_job(job)]
            if any(group is not None and not group.is_leader for group in groups):
                found.append(name)
        return self._one(found)

    def worker(self, _: str) -> list[str]:
        """A node that runs an attempt."""
        return self._one([name for name, node in self._nodes() if node.runner.running()])

    def holder(self, _argument: str) -> list[str]:
        """All nodes that hold the blob of which there are fewest copies."""
        holders: dict[str, list[str]] = {}
        for name, node in self._nodes():
            for blob, _size in node.storage.blobs.local(limit=ROWS_MAX):
                holders.setdefault(blob, []).append(name)
        rarest = min(map(len, holders.values()), default=0)
        blobs = [blob for blob, names in holders.items() if len(names) == rarest]
        return holders[self.draws.choice(blobs)] if blobs else []

    def writer(self, _: str) -> list[str]:
        """A node that a client is writing to."""
        return self._one([name for name, writes in self._arena.writing.items() if writes])

    def joined(self, _: str) -> list[str]:
        """A node whose machine is new."""
        now = self._arena.world.now
        born = self._arena.born
        return self._one([name for name, at in born.items() if now - NEW_S < at and at > 0])

    # -- help ---------------------------------------------------------------------------------

    def _newly_elected(self, armed: Terms) -> list[str]:
        found = []
        for name, node in self._nodes():
            for job in self._led(node, ""):
                group = node.groups.get(job)
                if group is not None and group.term > armed.get(job, 0):
                    found.append(name)
                    break
        return self._one(found)

    def _nodes(self) -> list[tuple[str, Node]]:
        nodes = [(name, self._arena.node(name)) for name in self._arena.cluster.names]
        return [(name, node) for name, node in nodes if node is not None]

    @staticmethod
    def _led(node: Node, prefix: str) -> list[str]:
        groups = [(name, node.groups.get(name)) for name in node.groups.names()]
        return [
            name
            for name, group in groups
            if name.startswith(prefix) and group is not None and group.is_leader
        ]

    def _one(self, names: list[str]) -> list[str]:
        return [self.draws.choice(names)] if names else []

    def _sample(self, names: list[str], number: int) -> list[str]:
        chosen = self.draws.sample(names, min(number, len(names)))
        return [name for name in names if name in chosen]


def _is_job(group: str) -> bool:
    return group.startswith(JOB_PREFIX)


SELECTORS: Mapping[str, Callable[[Nemesis, str], list[str]]] = {
    "any": Nemesis.any,
    "all": Nemesis.all,
    "half": Nemesis.half,
    "minority": Nemesis.minority,
    "coordinator": Nemesis.coordinator,
    "leader": Nemesis.leader,
    "follower": Nemesis.follower,
    "worker": Nemesis.worker,
    "holder": Nemesis.holder,
    "writer": Nemesis.writer,
    "joined": Nemesis.joined,
}
"""What may stand before the colon of a target."""
