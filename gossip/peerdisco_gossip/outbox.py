"""What the core asks its driver to do, and how packets are put together.

Effects are collected while the core works and performed in this order afterwards. Every packet
that leaves carries as many rumours as fit beside its body.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from peerdisco_gossip.broadcast import BroadcastQueue
from peerdisco_gossip.limits import BODY_BYTES_MAX, PAYLOAD_BYTES_MAX, UPDATE_OVERHEAD_BYTES
from peerdisco_gossip.members import Address, MemberChanged, Members
from peerdisco_gossip.messages import Body, Packet, Update, encode


class Send(NamedTuple):
    """Send this packet to that address, once, without waiting for anything."""

    address: Address
    packet: Packet


@dataclass(frozen=True, slots=True)
class PushPull:
    """Swap full states with whoever is at this address, over TCP; a failure needs no report."""

    address: Address


Effect = Send | PushPull | MemberChanged
"""One thing for the driver to do."""


class Outbox:
    """Effects in the order in which they arose."""

    def __init__(self, queue: BroadcastQueue, members: Members) -> None:
        self._queue = queue
        self._members = members
        self._effects: list[Effect] = []

    def send(self, address: Address, body: Body, first: Sequence[Update] = ()) -> None:
        """Send a body with updates the receiver must see, then with rumours as far as they fit."""
        room = PAYLOAD_BYTES_MAX - BODY_BYTES_MAX
        updates: list[bytes] = []
        for update in first:
            encoded = encode(update)
            if len(encoded) + UPDATE_OVERHEAD_BYTES <= room:
                updates.append(encoded)
                room -= len(encoded) + UPDATE_OVERHEAD_BYTES
        if self._queue.has_news:
            rumours = self._queue.take(room, self._members.present_count)
            updates += [rumour for rumour in rumours if rumour not in updates]
        self._effects.append(Send(address, Packet(body, tuple(updates))))

    def push_pull(self, address: Address) -> None:
        """Swap full states with somebody."""
        self._effects.append(PushPull(address))

    def changed(self, change: MemberChanged) -> None:
        """Tell the subscribers."""
        self._effects.append(change)

    def drain(self) -> list[Effect]:
        """Everything since the last call."""
        effects, self._effects = self._effects, []
        return effects
