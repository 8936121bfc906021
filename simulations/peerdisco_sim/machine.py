"""The simulated `Machine`: what `peerdisco.host.machine` is on real ones.

Disk, stores and the process table belong to the node and outlive its processes; random streams
and entropy are new at every boot and follow from `seed/node/boot/name`.
"""

from __future__ import annotations

from peerdisco.machine import Knob, Machine, Store, as_shipped
from peerdisco_sim.disk import SimDisk
from peerdisco_sim.node import SimNode
from peerdisco_sim.processes import ServiceFactory, SimProcesses, WorkerCosts
from peerdisco_sim.store import StoreFile
from peerdisco_sim.transport_security import PlaintextSecurity


def sim_machine(
    node: SimNode,
    service: ServiceFactory,
    *,
    costs: WorkerCosts | None = None,
    knob: Knob = as_shipped,
) -> Machine:
    """What a process on this node gets from outside.

    Args:
        node: Where it runs; call this once per boot, after it has begun.
        service: Makes the code inside a worker process.
        costs: How long that code takes in virtual time.
        knob: Turns the product's settings.
    """
    disk = disk_of(node)
    processes = node.devices.setdefault("processes", SimProcesses(node, disk, service, costs))
    assert isinstance(processes, SimProcesses)
    entropy = node.stream("entropy")
    return Machine(
        disk=disk,
        open_store=lambda name: open_store(node, name),
        processes=processes,
        rng=node.stream,
        entropy=entropy.randbytes,
        wall_time=node.wall_time,
        transport_security=PlaintextSecurity,
        knob=knob,
    )


def disk_of(node: SimNode) -> SimDisk:
    """The node's disk; made when first asked for."""
    disk = node.devices.setdefault("disk", SimDisk(node))
    assert isinstance(disk, SimDisk)
    return disk


def open_store(node: SimNode, name: str) -> Store:
    """The node's store of that name; made when first asked for."""
    key = f"store {name}"
    if key not in node.devices:
        node.devices[key] = StoreFile(node, disk_of(node), name)
    file = node.devices[key]
    assert isinstance(file, StoreFile)
    return file.open()
