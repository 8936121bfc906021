"""Looks at the nodes of a play, often, and notes what changed; listens to what they send.

It judges nothing and changes nothing: samples are events outside of every node, and taps pass every
call on as it is. States become spans: from when to when a node was up, led a group, ran tasks.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from peerdisco.node import Node
from peerdisco_election import messages as raft
from peerdisco_gossip import messages as gossip
from peerdisco_sim.arena import Arena
from peerdisco_sim.checkers.taps import before

SAMPLE_S = 0.05
MESSAGES_MAX = 8000
GOSSIP, DHT, HEARTBEAT = 0, 1, 2
"""Channels of datagrams."""

JOB_PREFIX = "job/"


@dataclass(frozen=True, slots=True)
class Span:
    """Something that was so from one time to another.

    Attributes:
        began: Virtual second.
        ended: Virtual second.
        what: A state, `led layout in term 3`, or tasks.
    """

    began: float
    ended: float
    what: str


@dataclass(frozen=True, slots=True)
class Sent:
    """One message when it was sent; whether it arrived is another matter.

    Attributes:
        at: Virtual second.
        source: Name of the node.
        target: Name of the node.
        what: Its kind, and what it is about.
        size: Bytes.
    """

    at: float
    source: str
    target: str
    what: str
    size: int


@dataclass(slots=True)
class Lane:
    """What there is to see of one node.

    Attributes:
        states: One after the other, without gaps.
        roles: Groups that it led, possibly several at a time.
        tasks: What it ran.
    """

    states: list[Span] = field(default_factory=list)
    roles: list[Span] = field(default_factory=list)
    tasks: list[Span] = field(default_factory=list)


class Watcher:
    """Fills one lane for each node; see `play.Watcher`.

    Args:
        messages_max: How many of the last messages are kept.

    Attributes:
        lanes: By the node's name.
        sent: The last messages before the end, or before the first violation.
    """

    def __init__(self, messages_max: int = MESSAGES_MAX) -> None:
        self.lanes: dict[str, Lane] = {}
        self.sent: collections.deque[Sent] = collections.deque(maxlen=messages_max)
        self._open: dict[tuple[str, str], dict[str, float]] = {}
        self._arena: Arena | None = None

    def begin(self, arena: Arena) -> None:
        """Start looking."""
        self._arena = arena
        arena.observe(self._tap)
        self._sample()

    def finish(self, now: float) -> None:
        """End all spans that are still open."""
        for (name, kind), spans in self._open.items():
            for what, began in spans.items():
                self._close(name, kind, what, began, now)
        self._open.clear()

    # -- states -------------------------------------------------------------------------------

    def _sample(self) -> None:
        assert self._arena is not None
        for name in self._arena.cluster.names:
            self.lanes.setdefault(name, Lane())
            node = self._arena.node(name)
            self._note(name, "states", [self._state(name)])
            self._note(name, "roles", _roles(node) if node is not None else [])
            self._note(name, "tasks", _tasks(node) if node is not None else [])
        self._arena.world.after(SAMPLE_S, self._sample)

    def _state(self, name: str) -> str:
        assert self._arena is not None
        machine = self._arena.cluster.node(name)
        if not machine.is_powered:
            return "without power"
        if not machine.is_running:
            return "down"
        if machine.loop is not None and machine.loop.busy_until > self._arena.world.now + SAMPLE_S:
            return "paused"
        return "up" if self._arena.node(name) is not None else "starting"

    def _note(self, name: str, kind: str, whats: Iterable[str]) -> None:
        """What is so now; what was so before and is no more ends."""
        assert self._arena is not None
        now = self._arena.world.now
        spans = self._open.setdefault((name, kind), {})
        current = dict.fromkeys(whats)
        for what in list(spans):
            if what not in current:
                self._close(name, kind, what, spans.pop(what), now)
        for what in current:
            spans.setdefault(what, now)

    def _close(self, name: str, kind: str, what: str, began: float, ended: float) -> None:
        getattr(self.lanes[name], kind).append(Span(began, ended, what))

    # -- messages -----------------------------------------------------------------------------

    def _tap(self, name: str, node: Node) -> None:
        def datagram(address: tuple[str, int], channel: int, payload: bytes) -> None:
            self._sent(name, self._host(address[0]), _datagram(channel, payload), len(payload))

        def frame(peer: str, data: bytes) -> None:
            self._sent(name, self._name(peer), _frame(data), len(data))

        def call(peer: str, method: str, body: bytes, *_: Any, **__: Any) -> None:
            self._sent(name, self._name(peer), method, len(body))

        before(node.reachability._datagrams, "send", datagram)
        before(node.peers.links, "send", frame)
        for method in ("call", "fetch", "push"):
            before(node.peers, method, call)

    def _sent(self, source: str, target: str, what: str, size: int) -> None:
        assert self._arena is not None
        if source != target and not self._arena.world.failures:
            self.sent.append(Sent(self._arena.world.now, source, target, what, size))

    def _name(self, node_id: str) -> str:
        assert self._arena is not None
        return self._arena.name_of(node_id)

    def _host(self, ip: str) -> str:
        assert self._arena is not None
        host = self._arena.world.network.hosts.get(ip)
        return ip if host is None else host.name


def _roles(node: Node) -> list[str]:
    groups = [(name, node.groups.get(name)) for name in node.groups.names()]
    return [
        f"leads {name} in term {group.term}"
        for name, group in groups
        if group is not None and group.is_leader
    ]


def _tasks(node: Node) -> list[str]:
    return [
        f"{run.assignment.stage_name} {run.assignment.task} of {run.assignment.job}, "
        f"attempt {run.assignment.attempt}"
        for run in node.runner.running()
    ]


def _datagram(channel: int, payload: bytes) -> str:
    if channel == GOSSIP:
        return _said(lambda: type(gossip.decode_packet(payload)[0]).__name__, "gossip")
    if channel == HEARTBEAT:
        return _said(lambda: type(raft.decode(payload, raft.Pulse).part).__name__, "heartbeat")
    return "dht lookup" if channel == DHT else f"datagram on channel {channel}"


def _frame(data: bytes) -> str:
    def parts() -> str:
        return ", ".join(map(_part, raft.decode(data, raft.Frame).parts))

    return _said(parts, "frame")


def _part(part: object) -> str:
    if isinstance(part, raft.Envelope):
        return f"{type(part.message).__name__} of {part.group}"
    return type(part).__name__


def _said(decode: Callable[[], str], otherwise: str) -> str:
    """What a message says; its channel when that cannot be read."""
    try:
        return decode()
    except ValueError:
        return otherwise
