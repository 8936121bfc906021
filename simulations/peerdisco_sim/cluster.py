"""A cluster of nodes that run one program, and the disasters that can befall it.

The program is an async function; every boot calls it anew with the arguments of its node, so a
restarted node begins as a real daemon does: with its disk and nothing else. All methods may be
called between runs, from `world.after` callbacks and from inside a node's code.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

from peerdisco_sim.network import Conditions
from peerdisco_sim.node import SimNode
from peerdisco_sim.world import World

T = TypeVar("T")
Main = Callable[..., Coroutine[Any, Any, object]]

_DRIFT_PPM_MAX = 100.0
_SKEW_S_MAX = 2.0


class Cluster:
    """Nodes of one program in one world.

    Args:
        world: Where they live.
        main: Called as `main(node, *arguments)` at every boot; the daemon's main coroutine.
    """

    def __init__(self, world: World, main: Main) -> None:
        self.world = world
        self.faults: collections.Counter[str] = collections.Counter()
        """How often each kind of fault was inflicted."""
        self._main = main
        self._arguments: dict[str, tuple[Any, ...]] = {}
        self._clocks = world.stream("clocks")
        self._clients = 0

    # -- nodes --------------------------------------------------------------------------------

    def start(self, name: str, *arguments: Any) -> SimNode:
        """Add a node with clocks of its own and boot it."""
        drift = self._clocks.uniform(-_DRIFT_PPM_MAX, _DRIFT_PPM_MAX)
        skew = self._clocks.uniform(-_SKEW_S_MAX, _SKEW_S_MAX)
        node = SimNode(self.world, name, drift_ppm=drift, skew_s=skew)
        self._arguments[name] = arguments
        self._boot(node)
        return node

    def node(self, name: str) -> SimNode:
        """The node of that name."""
        return self.world.nodes[name]

    @property
    def names(self) -> list[str]:
        """All nodes of the cluster, in the order in which they were added."""
        return list(self._arguments)

    @property
    def running(self) -> list[str]:
        """The nodes whose process runs."""
        return [name for name in self._arguments if self.node(name).is_running]

    # -- disasters ----------------------------------------------------------------------------

    def kill(self, name: str) -> None:
        """`kill -9`: connections are reset, the page cache survives."""
        self._count("kill")
        self.node(name).kill()

    def cut_power(self, name: str) -> None:
        """Silence, and what was not synced is lost or torn."""
        self._count("power cut")
        self.node(name).cut_power()

    def restart(self, name: str, *arguments: Any) -> None:
        """Boot a node again, with new arguments or those of last time; kills it if it runs."""
        self._count("restart")
        node = self.node(name)
        node.kill()
        if arguments:
            self._arguments[name] = arguments
        self._boot(node)

    def pause(self, name: str, seconds: float) -> None:
        """Give a process no CPU for a while."""
        self._count("pause")
        self.node(name).pause(seconds)

    def partition(self, left: Iterable[str], right: Iterable[str]) -> None:
        """Cut two groups of nodes off from each other."""
        self._count("partition")
        self.world.network.partition(map(self.node, left), map(self.node, right))

    def cut(self, sources: Iterable[str], targets: Iterable[str]) -> None:
        """Lose everything in one direction."""
        self._count("one-way cut")
        self.world.network.cut(map(self.node, sources), map(self.node, targets))

    def isolate(self, name: str) -> None:
        """Cut a node off from all other machines, clients included."""
        self._count("isolation")
        others = [node for node in self.world.nodes.values() if node.name != name]
        self.world.network.partition([self.node(name)], others)

    def clog(self, name: str, seconds: float) -> None:
        """Hold back a node's traffic; it arrives in one burst."""
        self._count("clog")
        self.world.network.clog(self.node(name), seconds)

    def degrade(self, conditions: Conditions) -> None:
        """Change how all links behave."""
        self._count("degradation")
        self.world.network.conditions = conditions

    def jump_clock(self, name: str, seconds: float) -> None:
        """Set a node's calendar forward or back."""
        self._count("clock jump")
        self.node(name).wall_skew_s += seconds

    def heal(self) -> None:
        """Undo every network fault."""
        self.world.network.heal()

    # -- clients ------------------------------------------------------------------------------

    def client(self, function: Callable[[], Coroutine[Any, Any, T]], *, timeout: float) -> T:
        """Run a coroutine on a machine of its own until it is done; its result or exception.

        Raises TimeoutError when it takes more than `timeout` virtual seconds.
        """
        self._clients += 1
        node = SimNode(self.world, f"client-{self._clients}")
        return self.world.run_until_done(node.run(function), timeout)

    def _boot(self, node: SimNode) -> None:
        arguments = self._arguments[node.name]
        node.boot(lambda: self._main(node, *arguments))

    def _count(self, kind: str) -> None:
        self.faults[kind] += 1
