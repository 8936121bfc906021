"""When a put may be acknowledged, and whom to ask for copies: pure rules."""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from peerdisco_dht.ports import NodeId

QUORUM_COPIES = 2


class Durability(enum.StrEnum):
    """What an acknowledged put promises."""

    LOCAL = "local"
    """This node has a synced copy; for what can be made again."""
    QUORUM = "quorum"
    """Two nodes (one, if there is only one) have synced copies, in two zones where there are two
    that live."""
    ALL = "all"
    """Every home has a synced copy."""


@dataclass(frozen=True, slots=True)
class Targets:
    """Who should receive copies.

    Attributes:
        homes: The home set, as many as replicas were asked for, first choice first.
        now: Whom to send to at once.
        spares: Whom to try, in order, when one of those fails.
        copies: How many must have a synced copy before the put is acknowledged.
        zones: In how many zones.
    """

    homes: tuple[NodeId, ...]
    now: tuple[NodeId, ...]
    spares: tuple[NodeId, ...]
    copies: int
    zones: int

    def satisfied(self, holders: Sequence[NodeId], zone: Callable[[NodeId], str]) -> bool:
        """Whether these holders are enough."""
        zones = dict.fromkeys(zone(node) for node in holders)
        return len(holders) >= self.copies and len(zones) >= self.zones


def choose_targets(
    blob: str,
    me: NodeId,
    home: Sequence[NodeId],
    nodes: Sequence[NodeId],
    alive: Sequence[NodeId],
    zone: Callable[[NodeId], str],
    replicas: int,
    durability: Durability,
) -> Targets:
    """Whom a put of a blob should ask.

    Homes that seem dead are not waited for: living nodes stand in for them, and repair brings the
    copies home later.

    Args:
        blob: Id of the blob.
        me: This node, which has the bytes already.
        home: Its whole home set.
        nodes: All nodes that hold data.
        alive: Who seems to live.
        zone: Zone of a node.
        replicas: Copies asked for.
        durability: What the acknowledgement shall promise.
    """
    homes = tuple(home[:replicas])
    if durability is Durability.LOCAL:
        return Targets(homes, tuple(dict.fromkeys((me, *homes))), (), 1, 1)
    living = [node for node in homes if node in alive]
    others = [node for node in nodes if node in alive and node not in homes]
    spares = sorted(others, key=lambda node: (node != me, rank(blob, node)))
    if durability is Durability.ALL:
        return Targets(homes, homes, (), len(homes), 1)
    copies = min(QUORUM_COPIES, len(homes))
    zones = dict.fromkeys(zone(node) for node in (*living, *spares))
    now = [*living, *spares[: max(0, copies - len(living))]]
    rest = [node for node in spares if node not in now]
    rest += [node for node in homes if node not in living]
    wanted_zones = max(1, min(copies, len(zones)))
    return Targets(homes, tuple(now), tuple(rest), copies, wanted_zones)


def rank(blob: str, node: NodeId) -> bytes:
    """An order of nodes that differs from blob to blob and is the same for everybody."""
    return hashlib.sha256(f"{blob}/{node}".encode()).digest()
