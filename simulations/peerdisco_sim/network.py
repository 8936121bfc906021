"""Links between nodes: how long a packet takes, whether it arrives, and who is cut off from whom.

This file decides fate and delay only. Datagrams are in `udp.py`, connections in `tcp.py`.
All faults are directed: a cut from a to b leaves b to a open.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from peerdisco_sim.addresses import ANY, Address, is_loopback
from peerdisco_sim.streams import Stream

if TYPE_CHECKING:
    from peerdisco_sim.node import SimNode
    from peerdisco_sim.world import World

_LOOPBACK_S = 20e-6
_REORDER_FACTOR_MAX = 10.0
_FRAGMENT_BYTES = 1472


@dataclass(frozen=True, slots=True)
class Conditions:
    """How a link behaves.

    Attributes:
        latency_s_min: Least one-way delay, in seconds.
        latency_s_max: Greatest one-way delay; drawn evenly between the two.
        loss: Probability that a packet is lost (a big datagram consists of several).
        duplicate: Probability that a datagram arrives twice.
        reorder: Probability that a datagram is held back for up to ten times its delay.
        bytes_per_s: What the sender's link carries; 0 for no limit.
    """

    latency_s_min: float = 0.0002
    latency_s_max: float = 0.001
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    bytes_per_s: float = 0.0


LAN = Conditions()
"""A quiet local network."""


@dataclass(slots=True)
class Traffic:
    """What the network has carried since the world began."""

    datagrams_sent: int = 0
    datagrams_lost: int = 0
    datagrams_delivered: int = 0
    segments_sent: int = 0
    connections: int = 0
    bytes_sent: int = 0


class Network:
    """All links of the world."""

    def __init__(self, world: World, conditions: Conditions) -> None:
        self.world = world
        self.conditions = conditions
        self.traffic = Traffic()
        self.hosts: dict[str, SimNode] = {}
        self.tap: Callable[[Address, Address, bytes], bytes | None] | None = None
        """Sees every datagram (source, target, data); returns what goes on, or None to drop it."""
        self._links: dict[tuple[str, str], Conditions] = {}
        self._cuts: dict[tuple[str, str], int] = {}
        self._clogged_until: dict[str, float] = {}
        self._busy_until: dict[str, float] = {}
        self._streams: dict[str, Stream] = {}

    # -- faults -------------------------------------------------------------------------------

    def set_link(self, source: SimNode, target: SimNode, conditions: Conditions) -> None:
        """Give one direction of one link conditions of its own."""
        self._links[source.ip, target.ip] = conditions

    def reset_link(self, source: SimNode, target: SimNode) -> None:
        """Let one direction of one link behave like all others again."""
        self._links.pop((source.ip, target.ip), None)

    def cut(self, sources: Iterable[SimNode], targets: Iterable[SimNode]) -> None:
        """Lose everything from any of the sources to any of the targets, one way."""
        targets = list(targets)
        for source in sources:
            for target in targets:
                if source is not target:
                    link = source.ip, target.ip
                    self._cuts[link] = self._cuts.get(link, 0) + 1

    def mend(self, sources: Iterable[SimNode], targets: Iterable[SimNode]) -> None:
        """Undo one `cut` of the same links; what others cut as well stays cut."""
        targets = list(targets)
        for source in sources:
            for target in targets:
                link = source.ip, target.ip
                left = self._cuts.pop(link, 0) - 1
                if left > 0:
                    self._cuts[link] = left

    def partition(self, left: Iterable[SimNode], right: Iterable[SimNode]) -> None:
        """Cut both ways."""
        left, right = list(left), list(right)
        self.cut(left, right)
        self.cut(right, left)

    def clog(self, node: SimNode, seconds: float) -> None:
        """Hold back all that a node sends or receives; it arrives late, in one burst."""
        self._clogged_until[node.ip] = self.world.now + seconds

    def heal(self) -> None:
        """Undo every cut, clog and special link. Connections notice at their next retry."""
        self._cuts.clear()
        self._links.clear()
        self._clogged_until.clear()

    # -- fate and delay -----------------------------------------------------------------------

    def route(self, source: SimNode, address: Address) -> tuple[SimNode | None, Address]:
        """The node that an address means to `source`, and how that node knows the address."""
        ip, port = address
        if ip == ANY:
            ip = "127.0.0.1"
        return (source if is_loopback(ip) else self.hosts.get(ip)), (ip, port)

    def is_cut(self, source: str, target: str) -> bool:
        """Whether packets from one address to the other are lost for now."""
        return (source, target) in self._cuts

    def delay(self, source: str, target: str, size: int) -> float:
        """Seconds until a packet of that many bytes arrives."""
        if source == target:
            return _LOOPBACK_S
        return self._delay(source, target, size, self._of(source, target), self._stream(source))

    def _delay(
        self, source: str, target: str, size: int, conditions: Conditions, draws: Stream
    ) -> float:
        low = conditions.latency_s_min
        delay = low + (conditions.latency_s_max - low) * draws.random()
        if conditions.bytes_per_s:
            delay += self._queueing(source, size / conditions.bytes_per_s)
        if self._clogged_until:
            until = max(self._clogged_until.get(ip, 0.0) for ip in (source, target))
            delay = max(delay, until - self.world.now)
        return delay

    def is_lost(self, source: str, target: str, size: int) -> bool:
        """Draw whether a packet is lost; one lost fragment loses the whole."""
        loss = self._of(source, target).loss
        if not loss or source == target:
            return False
        return self._stream(source).random() < _loss(loss, size)

    def datagram_delays(self, source: str, target: str, size: int) -> list[float]:
        """When the copies of a datagram arrive, in seconds from now; empty when it is lost."""
        if source == target:
            return [_LOOPBACK_S]
        if (source, target) in self._cuts:
            return []
        conditions, draws = self._of(source, target), self._stream(source)
        if conditions.loss and draws.random() < _loss(conditions.loss, size):
            return []
        delays = [self._delay(source, target, size, conditions, draws)]
        if conditions.duplicate or conditions.reorder:
            if conditions.reorder and draws.random() < conditions.reorder:
                delays[0] *= draws.uniform(1.0, _REORDER_FACTOR_MAX)
            if conditions.duplicate and draws.random() < conditions.duplicate:
                delays.append(delays[0] * draws.uniform(1.0, _REORDER_FACTOR_MAX))
        return delays

    def _of(self, source: str, target: str) -> Conditions:
        if self._links:
            return self._links.get((source, target), self.conditions)
        return self.conditions

    def _stream(self, source: str) -> Stream:
        found = self._streams.get(source)
        if found is None:
            found = self._streams[source] = self.world.stream("network", source)
        return found

    def _queueing(self, source: str, transmission_s: float) -> float:
        """The sender's link carries one packet after the other."""
        start = max(self.world.now, self._busy_until.get(source, 0.0))
        self._busy_until[source] = start + transmission_s
        return start + transmission_s - self.world.now


def _loss(loss: float, size: int) -> float:
    """The probability that a packet is lost, whose every fragment may be."""
    if size <= _FRAGMENT_BYTES:
        return loss
    return 1.0 - (1.0 - loss) ** math.ceil(size / _FRAGMENT_BYTES)
