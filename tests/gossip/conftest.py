"""A deterministic world in memory: many cores, one clock, a network that can be cut.

Packets and rosters are really encoded and decoded on the way. Nothing here awaits anything.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import pytest

from peerdisco_gossip.config import GossipConfig
from peerdisco_gossip.core import Core, Received
from peerdisco_gossip.keys import id_from_bytes
from peerdisco_gossip.members import Address, MemberChanged, MemberState
from peerdisco_gossip.messages import Roster, decode_packet, decode_roster, encode
from peerdisco_gossip.outbox import Effect, PushPull, Send


def node_id(name: str) -> str:
    """A readable id: the name in front, dashes not being base32, padded with 'z'."""
    return name.ljust(32, "z") if name.isalpha() else id_from_bytes(name.encode().ljust(20))


@dataclass(slots=True)
class Event:
    """A membership change as one node saw it."""

    time: float
    node: str
    about: str
    state: MemberState
    previous: MemberState | None


@dataclass(slots=True)
class Node:
    """A core and what the world does to it."""

    name: str
    address: Address
    core: Core
    generation: int
    crashed: bool = False
    busy_until: float = 0.0
    ticks_at: float = field(default=float("inf"))


class World:
    """Nodes, links and one heap of what happens when."""

    def __init__(self, config: GossipConfig, seed: int = 1, loss: float = 0.0) -> None:
        self.config = config
        self.rng = random.Random(f"{seed}/world")
        self.seed = seed
        self.loss = loss
        self.now = 0.0
        self.nodes: dict[str, Node] = {}
        self.names: dict[str, str] = {}
        self.events: list[Event] = []
        self.on_packet: Callable[[Node, Node, Received], None] | None = None
        self.packets = 0
        self.exchanged_bytes = 0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = 0
        self._cuts: dict[tuple[str, str], None] = {}

    # -- nodes

    def add(self, name: str, generation: int = 1) -> Node:
        """Start a node; a node of the same name is replaced, as by a restart."""
        number = list(self.nodes).index(name) if name in self.nodes else len(self.nodes)
        address = (f"10.0.{number // 250}.{number % 250 + 1}", 8990)
        rng = random.Random(f"{self.seed}/{name}/{generation}")
        core = Core(node_id(name), generation, address, self.config, rng, self.now)
        node = self.nodes[name] = Node(name, address, core, generation)
        self.names[node_id(name)] = name
        core.start(self.now)
        self._schedule_tick(node)
        return node

    def cluster(self, names: Iterable[str]) -> None:
        """Start nodes that all join through the first."""
        first: str | None = None
        for name in names:
            self.add(name)
            if first is None:
                first = name
            else:
                self.join(name, first)

    def join(self, name: str, seed: str) -> None:
        node = self.nodes[name]
        self._push_pull(node, self.nodes[seed].address, node.core.roster(self.now))

    def crash(self, name: str) -> None:
        self.nodes[name].crashed = True

    def stall(self, name: str, seconds: float) -> None:
        """The node stands still; what arrives meanwhile waits."""
        self.nodes[name].busy_until = self.now + seconds

    def evidence(self, name: str, about: str) -> None:
        node = self.nodes[name]
        self._perform(node, node.core.evidence(node_id(about), self.now))

    def set_metadata(self, name: str, key: str, value: bytes) -> None:
        node = self.nodes[name]
        self._perform(node, node.core.set_metadata(key, value))

    def depart(self, name: str, back_in_s: float | None = None) -> None:
        node = self.nodes[name]
        self._perform(node, node.core.depart(self.now, back_in_s))

    # -- links

    def cut(self, one_side: Iterable[str], other_side: Iterable[str]) -> None:
        others = list(other_side)
        for one in one_side:
            for other in others:
                self._cuts[(one, other)] = self._cuts[(other, one)] = None

    def cut_one_way(self, source: str, target: str) -> None:
        self._cuts[(source, target)] = None

    def heal(self) -> None:
        self._cuts.clear()

    # -- time

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while self._heap and self._heap[0][0] <= end:
            self.now, _, happen = heapq.heappop(self._heap)
            happen()
        self.now = end

    def run_until(self, condition: Callable[[], bool], limit: float) -> float:
        """Let time pass until the condition holds; the time that took. Fails at the limit."""
        start = self.now
        while not condition():
            assert self.now - start < limit, f"not within {limit} s"
            assert self._heap
            self.now, _, happen = heapq.heappop(self._heap)
            happen()
        return self.now - start

    # -- views

    def state(self, name: str, about: str) -> MemberState | None:
        """What one node believes of another."""
        record = self.nodes[name].core.members.get(node_id(about))
        return record.state if record is not None else None

    def living(self) -> list[Node]:
        return [node for node in self.nodes.values() if not node.crashed]

    def all_believe(self, about: str, state: MemberState) -> bool:
        """Whether every living other node believes this."""
        others = [node.name for node in self.living() if node.name != about]
        return all(self.state(name, about) == state for name in others)

    def is_converged(self) -> bool:
        """Whether every living node sees exactly the living ones as alive."""
        living = {node_id(node.name): None for node in self.living()}
        for node in self.living():
            records = node.core.members.all()
            alive = {r.id for r in records if r.state == MemberState.ALIVE}
            if alive != living.keys() or any(r.state == MemberState.SUSPECT for r in records):
                return False
        return True

    def seen(self, state: MemberState, about: str | None = None) -> list[Event]:
        """The events that brought somebody into this state."""
        return [
            event
            for event in self.events
            if event.state == state
            and event.previous != state
            and (about is None or event.about == about)
        ]

    # -- machinery

    def at(self, delay: float, happen: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._heap, (self.now + delay, self._order, happen))

    def _schedule_tick(self, node: Node) -> None:
        deadline = max(node.core.deadline, self.now)
        if deadline < node.ticks_at:
            node.ticks_at = deadline
            self.at(deadline - self.now, lambda: self._tick(node))

    def _tick(self, node: Node) -> None:
        node.ticks_at = float("inf")
        if self._is_down(node):
            return
        if node.busy_until > self.now:
            node.ticks_at = node.busy_until
            self.at(node.busy_until - self.now, lambda: self._tick(node))
            return
        self._tick_if_due(node)
        self._schedule_tick(node)

    def _tick_if_due(self, node: Node) -> None:
        if node.core.deadline <= self.now:
            self._perform(node, node.core.tick(self.now))

    def _is_down(self, node: Node) -> bool:
        return node.crashed or self.nodes[node.name] is not node

    def _perform(self, node: Node, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send():
                    self._send(node, effect)
                case PushPull():
                    self._push_pull(node, effect.address, node.core.ask())
                case MemberChanged():
                    about = self.names[effect.member.id]
                    self.events.append(
                        Event(self.now, node.name, about, effect.member.state, effect.previous)
                    )
        self._schedule_tick(node)

    def _target(self, address: Address) -> Node | None:
        found = [node for node in self.nodes.values() if node.address == address]
        return found[0] if found else None

    def _send(self, source: Node, effect: Send) -> None:
        self.packets += 1
        data = encode(effect.packet)
        assert len(data) <= 1345, len(data)
        target = self._target(effect.address)
        if target is None or (source.name, target.name) in self._cuts:
            return
        if self.rng.random() < self.loss:
            return
        delay = self.rng.uniform(0.0005, 0.002)
        self.at(delay, lambda: self._deliver(source, target, data))

    def _deliver(self, source: Node, target: Node, data: bytes) -> None:
        if self._is_down(target):
            return
        if target.busy_until > self.now:
            wait = target.busy_until - self.now
            self.at(wait, lambda: self._deliver(source, target, data))
            return
        self._tick_if_due(target)
        body, updates = decode_packet(data)
        received = Received(node_id(source.name), source.address, body, updates)
        if self.on_packet is not None:
            self.on_packet(source, target, received)
        self._perform(target, target.core.receive(received, self.now))

    def _push_pull(self, source: Node, address: Address, request: Roster) -> None:
        target = self._target(address)
        if target is None:
            return
        data = encode(request)
        self.exchanged_bytes += len(data)
        self.at(0.003, lambda: self._answer(source, target, decode_roster(data)))

    def _answer(self, source: Node, target: Node, request: Roster) -> None:
        is_cut = (source.name, target.name) in self._cuts or (
            target.name,
            source.name,
        ) in self._cuts
        if self._is_down(target) or is_cut or target.busy_until > self.now:
            return
        self._tick_if_due(target)
        answer, effects = target.core.answer(request, self.now)
        data = encode(answer)
        self.exchanged_bytes += len(data)
        self._perform(target, effects)
        self.at(0.003, lambda: self._conclude(source, target, request, decode_roster(data)))

    def _conclude(self, source: Node, target: Node, request: Roster, answer: Roster) -> None:
        if not self._is_down(source):
            self._tick_if_due(source)
            follow_up, effects = source.core.conclude(request, answer, self.now)
            self._perform(source, effects)
            if follow_up is not None:
                self._push_pull(source, target.address, follow_up)


MakeWorld = Callable[..., World]


@pytest.fixture
def make_world() -> MakeWorld:
    """Makes worlds: `make_world(config, seed=1, loss=0.0)`."""
    return World


@pytest.fixture
def named() -> Callable[[str], str]:
    """Makes the id that belongs to a name."""
    return node_id
