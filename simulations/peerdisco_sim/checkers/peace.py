"""Whether anything disturbs the cluster: some promises hold only while nothing does."""

from __future__ import annotations

from peerdisco_sim.arena import Arena
from peerdisco_sim.network import Conditions
from peerdisco_sim.recorder import TimedEvent

HARMLESS = (
    "bit_rot",
    "clock_jump",
    "disk_slow",
    "join",
    "worker_crash",
    "worker_hang",
    "worker_kill",
    "worker_slow",
)
"""Kinds of faults that must not make anybody look dead."""

LOSS_MAX = 0.05
LATENCY_S_MAX = 0.03


class Peace:
    """Counts what was done to the cluster.

    Attributes:
        disturbances: How many faults were inflicted, the harmless ones apart.
    """

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self.disturbances = 0
        arena.recorder.subscribe(self._happened)

    @property
    def undisturbed(self) -> bool:
        """Whether nothing has happened so far, and the network is fit for membership."""
        return self.disturbances == 0 and not self.lasting

    @property
    def lasting(self) -> bool:
        """Whether the network is bad at the moment, or a node has no CPU."""
        world = self._arena.world
        network = world.network
        if network._cuts or network._links or is_bad(network.conditions):
            return True
        if any(until > world.now for until in network._clogged_until.values()):
            return True
        loops = [self._arena.cluster.node(name).loop for name in self._arena.cluster.names]
        return any(
            loop is not None and (loop.cost_s > 0 or loop.busy_until > world.now) for loop in loops
        )

    def _happened(self, event: TimedEvent) -> None:
        if event.kind == "fault" and event.data.get("kind", event.detail) not in HARMLESS:
            self.disturbances += 1


def is_bad(conditions: Conditions) -> bool:
    """Whether packets get lost or late so often that a living node may look dead."""
    return conditions.loss > LOSS_MAX or conditions.latency_s_max > LATENCY_S_MAX
