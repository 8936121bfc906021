"""Which changes the layout is due for: pure decisions for the leader of the layout's group.

`plan` says which command to propose now, `choose_voters` who should vote in the group. Neither
looks at a clock or talks to anybody; the composition root calls them on the leader every second
or so and proposes the result. Commands are safe to propose twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from peerdisco_dht.layout import (
    AddNodes,
    Command,
    FinishHandover,
    Layout,
    NodeState,
    RemoveNodes,
    StorageNode,
)

DEAD_AFTER_S = 600.0
REMOVED_UNASKED_SHARE = 5
"""At most one of so many nodes is ever removed at once without being asked."""


@dataclass(frozen=True, slots=True)
class MemberView:
    """A member as the leader of the layout sees it.

    Attributes:
        node: Its entry, were it added.
        alive: Whether membership believes that it lives.
        since: When it began to be alive, or to be dead.
        stores: Whether it offers storage.
    """

    node: StorageNode
    alive: bool
    since: float
    stores: bool = True


@dataclass(frozen=True, slots=True)
class UpkeepConfig:
    """Patience of the upkeep, in seconds.

    Attributes:
        join_after_s: How long a node must live before it holds data.
        dead_after_s: How long it must be silent before its data is rebuilt elsewhere.
        voters: Size of the layout's group in a cluster of at least as many nodes, 3 or 5.
    """

    join_after_s: float = 30.0
    dead_after_s: float = DEAD_AFTER_S
    voters: int = 3


def plan(
    layout: Layout,
    members: Sequence[MemberView],
    now: float,
    config: UpkeepConfig,
    *,
    handed_over: bool = False,
) -> Command | None:
    """The next command that is due, or None.

    Args:
        layout: The layout that stands.
        members: Everybody whom membership remembers.
        now: The clock of the `since` of the members.
        config: Patience.
        handed_over: Whether `Storage.handed_over` said that the current placement is complete.
    """
    if layout.previous and handed_over:
        return FinishHandover(layout.since)
    joining = _joining(layout, members, now, config)
    if joining:
        return AddNodes(joining)
    lost = _lost(layout, members, now, config)
    return RemoveNodes(lost) if lost else None


def _joining(
    layout: Layout, members: Sequence[MemberView], now: float, config: UpkeepConfig
) -> tuple[StorageNode, ...]:
    """Everybody who waits, as soon as one has waited long enough: they share one epoch.

    An entry that its node changed (zone, capacity) is renewed the same way. Nodes that an
    operator drained or sent away stay as they are.
    """
    waiting = [
        (member.since, member.node)
        for member in sorted(members, key=lambda member: member.node.id)
        if member.alive and member.stores and _is_news(layout.node(member.node.id), member.node)
    ]
    if not any(now - since >= config.join_after_s for since, _ in waiting):
        return ()
    return tuple(node for _, node in waiting)


def _is_news(known: StorageNode | None, node: StorageNode) -> bool:
    return known is None or (known.state is NodeState.UP and known != node)


def _lost(
    layout: Layout, members: Sequence[MemberView], now: float, config: UpkeepConfig
) -> tuple[str, ...]:
    """Nodes that were silent for too long, the longest silent first, within limits.

    A node is dropped only if its data can be rebuilt: with no more than `replicas` nodes there is
    nobody to rebuild it on, and a smaller home set would tolerate less, not more.
    """
    up = [node.id for node in layout.nodes if node.state is NodeState.UP]
    spare = len(up) - layout.replicas
    limit = min(max(1, len(up) // REMOVED_UNASKED_SHARE), spare)
    silent = sorted(
        (member.since, member.node.id)
        for member in members
        if member.node.id in up and not member.alive and now - member.since >= config.dead_after_s
    )
    return tuple(sorted(node for _, node in silent[: max(0, limit)]))


def choose_voters(
    present: Sequence[str], members: Sequence[MemberView], now: float, config: UpkeepConfig
) -> tuple[str, ...]:
    """Who should vote in the layout's group: one below three living nodes, else three or five.

    Present voters that live are kept, so that the group changes only when it must; then come
    nodes in zones that have no voter yet, then the longest alive. When nobody lives, the present
    voters stay. The group does not shrink for a voter that was silent for less than
    `dead_after_s`: it may only be restarting, and if it were left out, the disk of the voter that
    remains would be all that the cluster knows of its layout.
    """
    living = {member.node.id: member for member in members if member.alive}
    size = _voters_wanted(len(living), config.voters)
    if size < len(present) and any(
        member.node.id in present and not member.alive and now - member.since < config.dead_after_s
        for member in members
    ):
        return tuple(present)
    chosen = [node for node in present if node in living][:size]
    rest = sorted((m for m in living.values() if m.node.id not in chosen), key=_seniority)
    while len(chosen) < size:
        zones = [_zone(living[node].node) for node in chosen]
        best = min(rest, key=lambda m: (_zone(m.node) in zones, *_seniority(m)))
        rest.remove(best)
        chosen.append(best.node.id)
    return tuple(sorted(chosen)) if chosen else tuple(present)


def _voters_wanted(living: int, voters: int) -> int:
    if living < 3:
        return min(living, 1)
    return voters if living >= voters else 3


def _seniority(member: MemberView) -> tuple[float, str]:
    return member.since, member.node.id


def _zone(node: StorageNode) -> str:
    return node.zone or node.id
