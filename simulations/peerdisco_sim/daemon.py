"""The real daemon as the program of simulated nodes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from peerdisco.addresses import Address
from peerdisco.config import NodeConfig, UdpLibrary
from peerdisco.errors import PeerdiscoError
from peerdisco.identity import load_secret, save_secret
from peerdisco.node import Node, run_node
from peerdisco.security.secrets import ClusterSecret
from peerdisco.worker.service import Service
from peerdisco_dht import StorageError
from peerdisco_election import RaftError
from peerdisco_sim.knobs import knobs_of
from peerdisco_sim.machine import disk_of, sim_machine
from peerdisco_sim.node import SimNode
from peerdisco_sim.schedule import Value

SECRET = ClusterSecret(bytes(range(32)))
PEER_PORT, HTTP_PORT = 8990, 8989
SLOTS = 2
UDP_PORTS = (UdpLibrary.AIOUDP, UdpLibrary.ASYNCIO)
"""Machines take turns: both ports have to stand every storm, and to understand each other."""

DISK_TROUBLE = (OSError, RaftError, StorageError)
"""What the rooms of a node say when its disk has failed."""

Observer = Callable[[str, Node], None]


def _nobody(name: str, node: Node) -> None:
    """Nobody wants to know."""


def _nothing(name: str, reason: str) -> None:
    """Nobody starts it again."""


class Ready:
    """The product's nodes in the world's machines.

    Args:
        observe: Told of each node when it is wired and nothing of it runs yet.
        note: Told of each node when it is ready.
        ended: Told of each process that ended by itself, and why.

    Attributes:
        nodes: By name, those that have become ready; a dead process's node stays until the next
            boot. `of` knows better.
        names: The machine's name of each node id that was ever wired.
    """

    def __init__(
        self,
        observe: Observer = _nobody,
        note: Observer = _nobody,
        ended: Callable[[str, str], None] = _nothing,
    ) -> None:
        self.nodes: dict[str, Node] = {}
        self.names: dict[str, str] = {}
        self.observe = observe
        self.note = note
        self.ended = ended
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
    """Be a node of the cluster whose secret every machine here has.

    Ends when the node refuses to run, as the program does, and when its disk failed it: that is
    what a process is for. A supervisor starts it again.
    """
    ready.nodes.pop(sim.name, None)
    errors = disk_of(sim).errors
    try:
        await _be_node(sim, seeds, ready, knobs or {})
    except asyncio.CancelledError:
        ready.ended(sim.name, "stopped")
    except PeerdiscoError as error:
        ready.ended(sim.name, str(error))
    except (*DISK_TROUBLE, ExceptionGroup) as error:
        if disk_of(sim).errors == errors or not _is_about_disk(error):
            raise
        ready.ended(sim.name, f"its disk failed: {error}")


def _is_about_disk(error: Exception) -> bool:
    if isinstance(error, ExceptionGroup):
        return all(_is_about_disk(each) for each in error.exceptions)
    return isinstance(error, DISK_TROUBLE)


async def _be_node(
    sim: SimNode, seeds: tuple[Address, ...], ready: Ready, knobs: Mapping[str, Value]
) -> None:
    sim.tcp_ports.forwarded = (HTTP_PORT,)
    machine = sim_machine(sim, Service, knob=knobs_of(knobs))
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
        udp=UDP_PORTS[sim.number % len(UDP_PORTS)],
    )
    await run_node(
        machine,
        config,
        lambda node: ready.add(sim, node),
        observe=lambda node: ready.wired(sim, node),
    )
