"""Words to talk with a core in tests: what to say to it, and how to read what it says."""

from __future__ import annotations

import random

import pytest

from peerdisco_gossip import messages as m
from peerdisco_gossip.config import GossipConfig
from peerdisco_gossip.core import Core, Received
from peerdisco_gossip.members import MemberChanged, MemberState
from peerdisco_gossip.outbox import Effect, Send

ME, A, B, C = "m" * 32, "a" * 32, "b" * 32, "c" * 32
HOSTS = {ME: "10.0.0.9", A: "10.0.0.1", B: "10.0.0.2", C: "10.0.0.3"}
ALIVE, SUSPECT, DEAD, LEFT = MemberState


def alive(node_id: str, generation: int = 1, incarnation: int = 0) -> m.Alive:
    return m.Alive(node_id, generation, incarnation, HOSTS[node_id], 8990)


def gossip(*updates: m.Update, sender: str = A) -> Received:
    return Received(sender, (HOSTS[sender], 8990), m.Gossip(), updates)


def asked(body: m.Body, *updates: m.Update, sender: str = A) -> Received:
    return Received(sender, (HOSTS[sender], 8990), body, updates)


def fresh(*members: str, config: GossipConfig | None = None) -> Core:
    """A started core that knows these members and has told all its news."""
    config = config or GossipConfig()
    core = Core(ME, 1, (HOSTS[ME], 8990), config, random.Random(1), 0.0)
    core.start(0.0)
    for node_id in members:
        core.receive(gossip(alive(node_id)), 0.0)
    core._queue.clear()
    return core


def changes(effects: list[Effect]) -> list[tuple[str, MemberState, MemberState | None]]:
    found = [effect for effect in effects if isinstance(effect, MemberChanged)]
    return [(change.member.id, change.member.state, change.previous) for change in found]


def sends(effects: list[Effect]) -> list[tuple[str, m.Body, list[m.Update]]]:
    return [
        (
            effect.address[0],
            effect.packet.body,
            [m.decode_update(update) for update in effect.packet.updates],
        )
        for effect in effects
        if isinstance(effect, Send)
    ]


def told(core: Core) -> list[m.Update]:
    """What the core would gossip now."""
    return [m.decode_update(update) for update in core._queue.take(1100, 10)]


def state(core: Core, node_id: str) -> MemberState | None:
    record = core.members.get(node_id)
    return record.state if record is not None else None


def tick_until(core: Core, end: float) -> list[Effect]:
    """Tick punctually up to a time."""
    effects: list[Effect] = []
    while core.deadline <= end:
        effects += core.tick(core.deadline)
    return effects


def probed(core: Core, limit: float = 10.0) -> tuple[float, m.Ping]:
    """Tick until a ping goes out: when, and which."""
    while core.deadline <= limit:
        now = core.deadline
        for _, body, _ in sends(core.tick(now)):
            if isinstance(body, m.Ping):
                return now, body
    pytest.fail("nobody was probed")


def row(
    node_id: str, state: MemberState, incarnation: int = 0, metadata: tuple[m.Entry, ...] = ()
) -> m.Row:
    return m.Row(node_id, 1, incarnation, int(state), HOSTS[node_id], 8990, 0.0, metadata)
