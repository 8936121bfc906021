"""The real daemon as the program of simulated nodes."""

from __future__ import annotations

from peerdisco.config import NodeConfig
from peerdisco.identity import load_secret, save_secret
from peerdisco.node import Node, run_node
from peerdisco.security.secrets import ClusterSecret
from peerdisco.security.tokens import Address
from peerdisco.worker.service import Service
from peerdisco_sim.machine import sim_machine
from peerdisco_sim.node import SimNode

SECRET = ClusterSecret(bytes(range(32)))
PEER_PORT, HTTP_PORT = 8990, 8989
SLOTS = 2


class Ready:
    """Which nodes have become ready at least once since their last boot."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}


async def daemon(sim: SimNode, seeds: tuple[Address, ...], ready: Ready) -> None:
    """Be a node of the cluster whose secret every machine here has."""
    ready.nodes.pop(sim.name, None)
    machine = sim_machine(sim, Service)
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

    def note(node: Node) -> None:
        ready.nodes[sim.name] = node

    await run_node(machine, config, note)
