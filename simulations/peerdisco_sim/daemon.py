"""The real daemon as the program of simulated nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from peerdisco.config import NodeConfig
from peerdisco.identity import load_secret, save_secret
from peerdisco.node import Node, run_node
from peerdisco.security.secrets import ClusterSecret
from peerdisco.security.tokens import Address
from peerdisco.worker.service import Service
from peerdisco_sim.knobs import knobs_of
from peerdisco_sim.machine import sim_machine
from peerdisco_sim.node import SimNode
from peerdisco_sim.schedule import Value

SECRET = ClusterSecret(bytes(range(32)))
PEER_PORT, HTTP_PORT = 8990, 8989
SLOTS = 2
Observer = Callable[[str, Node], None]


def _nobody(name: str, node: Node) -> None:
    """Nobody wants to know."""


class Ready:
    """The product's nodes in the world's machines.

    Args:
        observe: Told of each node when it is wired and nothing of it runs yet.
        note: Told of each node when it is ready.

    Attributes:
        nodes: By name, those that have become ready; a dead process's node stays until the next
            boot. `of` knows better.
        names: The machine's name of each node id that was ever wired.
    """

    def __init__(self, observe: Observer = _nobody, note: Observer = _nobody) -> None:
        self.nodes: dict[str, Node] = {}
        self.names: dict[str, str] = {}
        self.observe = observe
        self.note = note
        self._boots: dict[str, int] = {}

    def of(self, sim: SimNode) -> Node | None:
        """The node of the process that runs there, when it is ready."""
        if not sim.is_running or self._boots.get(sim.name) != sim.boot_number:
            return None
        return self.nodes.get(sim.name)

    def wired(self, sim: SimNode, node: Node) -> None:
        """A node was put together."""
        self.names[node.identity.node_id] = sim.name
        self.observe(sim.name, node)

    def add(self, sim: SimNode, node: Node) -> None:
        """A node has become ready."""
        self.nodes[sim.name] = node
        self._boots[sim.name] = sim.boot_number
        self.note(sim.name, node)


async def daemon(
    sim: SimNode,
    seeds: tuple[Address, ...],
    ready: Ready,
    knobs: Mapping[str, Value] | None = None,
) -> None:
    """Be a node of the cluster whose secret every machine here has."""
    ready.nodes.pop(sim.name, None)
    sim.tcp_ports.forwarded = (HTTP_PORT,)
    machine = sim_machine(sim, Service, knob=knobs_of(knobs or {}))
    if await load_secret(machine.disk) is None:
        await save_secret(machine.disk, SECRET)
    config = NodeConfig(
        name=sim.name,
        advertise=(sim.ip, PEER_PORT),
        peer_port=PEER_PORT,
        http_port=HTTP_PORT,
        slots=SLOTS,
        seeds=seeds,
        local=True,
    )
    await run_node(
        machine,
        config,
        lambda node: ready.add(sim, node),
        observe=lambda node: ready.wired(sim, node),
    )
