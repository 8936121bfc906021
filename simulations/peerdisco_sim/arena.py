"""The arena: a cluster of real daemons with its clients, workloads, checkers and record.

It is what workloads and checkers are given, and knows nothing of either, nor of faults: `play.py`
puts the parts together and plays a schedule from boot to verdict. Protocols for checkers and
workloads are at the end.
"""

from __future__ import annotations

import asyncio
import enum
import functools
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from peerdisco.addresses import Address
from peerdisco.node import Node
from peerdisco_sim.client import Client
from peerdisco_sim.cluster import Cluster
from peerdisco_sim.daemon import PEER_PORT, Ready, daemon
from peerdisco_sim.node import SimNode
from peerdisco_sim.recorder import Recorder
from peerdisco_sim.schedule import Schedule
from peerdisco_sim.world import World

SEEDS_MAX = 3


class Phase(enum.StrEnum):
    """Where a play is."""

    BOOT = "boot"
    STORM = "storm"
    """Safety: everything may go wrong, and progress is not required."""
    CALM = "calm"
    """Liveness: a core is healed, all other damage stays; everything must finish."""
    REST = "rest"
    """Quiescence: workloads are done; checkers judge what is at rest."""


class Arena:
    """One play.

    Attributes:
        world: Time, chance and the network.
        cluster: The daemons' machines and what can be done to them.
        schedule: What is played.
        ready: The product's nodes by name; prefer `node(name)`, which knows who is up.
        recorder: What happened.
        phase: Where the play is.
        stopping: Whether workloads should come to an end.
        core: Names of the machines that were healed for the calm; empty before.
        born: When each node's machine was added.
        writing: How many writes of clients each node is busy with.
        clients: All that there have been; each draws from a stream of its own.
        histories: What workloads asked for and were told, by subject; checkers judge them.
    """

    def __init__(self, world: World, schedule: Schedule) -> None:
        self.world = world
        self.schedule = schedule
        self.recorder = Recorder(lambda: world.now)
        self.ready = Ready(self._observe, self._note_ready, self._note_ended)
        self.cluster = Cluster(world, daemon)
        self.phase = Phase.BOOT
        self.stopping = False
        self.core: tuple[str, ...] = ()
        self.born: dict[str, float] = {}
        self.writing: dict[str, int] = {}
        self.histories: dict[str, object] = {}
        self.clients: list[Client] = []
        self._supervisors: list[Callable[[str], None]] = []
        self._clients: dict[str, Client] = {}
        self._observers: list[Callable[[str, Node], None]] = []

    # -- nodes --------------------------------------------------------------------------------

    def add_node(self, name: str) -> SimNode:
        """Boot a daemon on a new machine; it joins through the first machines."""
        self.recorder.note("boot", "a new machine", name)
        self.born[name] = self.world.now
        return self.cluster.start(name, self._seeds(name), self.ready, self.schedule.knobs)

    def boot(self, name: str) -> None:
        """Start a daemon again on its machine; ends the one that runs there."""
        self.recorder.note("boot", "again", name)
        self.cluster.restart(name, self._seeds(name), self.ready, self.schedule.knobs)

    def on_ended(self, callback: Callable[[str], None]) -> None:
        """Call back with the name of a node whose process ended by itself."""
        self._supervisors.append(callback)

    def _seeds(self, name: str) -> tuple[Address, ...]:
        others = [other for other in self.cluster.names if other != name]
        return tuple((self.cluster.node(other).ip, PEER_PORT) for other in others[:SEEDS_MAX])

    def node(self, name: str) -> Node | None:
        """The product's node of that name when its process is up and ready, else None."""
        return self.ready.of(self.cluster.node(name))

    @property
    def up(self) -> list[str]:
        """Names of the nodes that are up and ready, in the order in which they were added."""
        return [name for name in self.cluster.names if self.node(name) is not None]

    def observe(self, callback: Callable[[str, Node], None]) -> None:
        """Call back with name and node at each boot, when it is wired and nothing runs yet.

        Checkers install their hooks here, in `begin`.
        """
        self._observers.append(callback)

    def name_of(self, node_id: str) -> str:
        """The machine's name of a node id; the id's beginning when it is not known."""
        return self.ready.names.get(node_id, node_id[:8])

    def id_of(self, name: str) -> str:
        """The newest id of a machine's node, as a lost disk takes the old one along; or empty."""
        ids = [node_id for node_id, known in self.ready.names.items() if known == name]
        return ids[-1] if ids else ""

    # -- clients ------------------------------------------------------------------------------

    def client(self, name: str) -> Client:
        """The REST client of the machine of that name, which is made when first asked for."""
        if name not in self._clients:
            self._clients[name] = Client(self, self.machine(name))
        return self._clients[name]

    def machine(self, name: str) -> SimNode:
        """A machine for clients; made when first asked for. It suffers no faults."""
        found = self.world.nodes.get(name)
        if found is None:
            found = SimNode(self.world, name)
            found.boot(_idle)
        return found

    def spawn(
        self, coroutine_function: Callable[[], Coroutine[Any, Any, object]], on: str
    ) -> asyncio.Task[Any]:
        """Run a workload's process on a client machine; survives all crashes of nodes.

        An exception that leaves it is a violation.
        """
        task: asyncio.Task[Any] = self.machine(on).spawn(coroutine_function())
        task.add_done_callback(functools.partial(self._spawned_ended, on))
        return task

    # -- violations ---------------------------------------------------------------------------

    def fail(self, invariant: str, detail: str, node: str = "") -> None:
        """Record a violation and end the play; never raises into the caller."""
        self.recorder.note("violation", f"{invariant}: {detail}", node, invariant=invariant)
        self.world.fail(invariant, detail, node)

    def enter(self, phase: Phase) -> None:
        """Begin a phase."""
        self.phase = phase
        self.recorder.note("phase", phase.value)

    def _observe(self, name: str, node: Node) -> None:
        for callback in self._observers:
            callback(name, node)

    def _note_ready(self, name: str, node: Node) -> None:
        self.recorder.note("ready", f"id {node.identity.node_id}", name)

    def _note_ended(self, name: str, reason: str) -> None:
        self.recorder.note("down", reason, name)
        for supervisor in () if self.world.closing else self._supervisors:
            supervisor(name)

    def _spawned_ended(self, machine: str, task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error  # the machine's loop reports it as an unhandled exception
        del machine


async def _idle() -> None:
    await asyncio.get_running_loop().create_future()


class Checker(Protocol):
    """A judge of one invariant, or of a few that belong together.

    Attributes:
        name: Its key in `checkers.CHECKERS`.
    """

    name: str

    def begin(self, arena: Arena) -> None:
        """Install hooks before the first boot. A hook costs O(1) and calls `arena.fail`."""

    def at_rest(self) -> None:
        """Called once, when the core has come to rest."""


class Workload(Protocol):
    """Something that the cluster is asked to do, with a known answer.

    Attributes:
        name: Its key in `workloads.WORKLOADS`.
        operations: How many client operations it has completed.
        done: Whether its processes have ended.
    """

    name: str
    operations: int

    async def run(self, arena: Arena) -> None:
        """Work until done or until `arena.stopping`, on the machine `client-<name>`."""

    def verify(self) -> None:
        """Compare the results with the truth, after the cluster came to rest."""
