"""The layout: which nodes count for storage, agreed by a Raft group and numbered by epochs.

`Layout` is small and changes a few times a day. `LayoutMachine` applies the commands of the group
"layout" to it; it is deterministic and does no I/O. A change of the nodes does not replace the old
placement at once: it is kept in `previous` until every register was handed over, and meanwhile a
quorum needs majorities of the old homes *and* of the new ones (joint consensus, as in Ongaro's
Raft dissertation, section 4.3). `FinishHandover` ends that.

`upkeep.py` decides which commands are due, `placement.py` computes homes, `keeper.py` holds the
layout on a node.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from peerdisco_dht.messages import BadMessage, Message, decode, encode
from peerdisco_dht.placement import Candidate

REPLICAS_MIN = 3
"""Home sets never get smaller by setting, so that one lost node leaves a majority."""
REPLICAS_MAX = 7
CAPACITY_MAX = 64
PREVIOUS_MAX = 8
"""Placements that may wait for their handover at the same time."""


class NodeState(enum.StrEnum):
    """What a node in the layout is asked to do."""

    UP = "up"
    """Holds data."""
    DRAINING = "draining"
    """Gets nothing new; what it holds moves away."""
    GONE = "gone"
    """Holds nothing, and is not added again unless somebody asks."""


class StorageNode(Message, frozen=True, array_like=True):
    """A node as the layout sees it.

    Attributes:
        id: The node.
        zone: What fails together; empty when the node is a zone of its own.
        capacity: Units of space that it offers, 1 to 64.
        state: What it is asked to do.
    """

    id: str
    zone: str = ""
    capacity: int = 1
    state: NodeState = NodeState.UP


class Placement(Message, frozen=True, array_like=True):
    """All that the homes of partitions depend on.

    Attributes:
        since: The epoch in which it took effect.
        nodes: Sorted by id.
        replicas: Size of a home set when there are enough nodes.
    """

    since: int
    nodes: tuple[StorageNode, ...]
    replicas: int

    def candidates(self) -> list[Candidate]:
        """The nodes that may hold partitions."""
        return [
            Candidate(node.id, node.zone, node.capacity)
            for node in self.nodes
            if node.state is NodeState.UP
        ]


class Layout(Message, frozen=True, array_like=True):
    """The agreed state of the storage; epoch 0 is a node that has not heard of any.

    Attributes:
        epoch: Grows by one with every change.
        nodes: Sorted by id.
        voters: Members of the layout's own Raft group, for whoever wants to reach it.
        replicas: Size of a home set when there are enough nodes.
        since: The epoch in which `nodes` and `replicas` took effect.
        previous: Older placements, oldest first, that are not handed over yet.
    """

    epoch: int = 0
    nodes: tuple[StorageNode, ...] = ()
    voters: tuple[str, ...] = ()
    replicas: int = REPLICAS_MIN
    since: int = 0
    previous: tuple[Placement, ...] = ()

    @property
    def placement(self) -> Placement:
        """The placement that new data follows."""
        return Placement(self.since, self.nodes, self.replicas)

    def node(self, node: str) -> StorageNode | None:
        """The entry of a node, or None."""
        return next((entry for entry in self.nodes if entry.id == node), None)


class AddNodes(Message, frozen=True, array_like=True, tag="add"):
    """Let nodes hold data; known ones are replaced by the new entry."""

    nodes: tuple[StorageNode, ...]


class RemoveNodes(Message, frozen=True, array_like=True, tag="remove"):
    """Forget nodes; one that comes back may be added again."""

    ids: tuple[str, ...]


class SetState(Message, frozen=True, array_like=True, tag="state"):
    """Ask a known node for something else."""

    id: str
    state: NodeState


class SetVoters(Message, frozen=True, array_like=True, tag="voters"):
    """Publish who votes in the layout's group."""

    voters: tuple[str, ...]


class SetReplicas(Message, frozen=True, array_like=True, tag="replicas"):
    """Change the size of the home sets."""

    replicas: int


class FinishHandover(Message, frozen=True, array_like=True, tag="finish"):
    """Everything is handed over to the placement that began in epoch `since`."""

    since: int


Command = AddNodes | RemoveNodes | SetState | SetVoters | SetReplicas | FinishHandover


@dataclass(frozen=True, slots=True)
class LayoutChange:
    """What became of a command.

    Attributes:
        layout: The layout that stands now.
        refused: Why the command changed nothing; empty when it did what it says.
    """

    layout: Layout
    refused: str = ""


def change(layout: Layout, command: Command) -> LayoutChange:
    """The effect of a command, a pure function. A command without effect leaves the epoch."""
    match command:
        case AddNodes(nodes):
            if any(not 1 <= node.capacity <= CAPACITY_MAX for node in nodes):
                return LayoutChange(layout, f"a capacity is 1 to {CAPACITY_MAX} units")
            added = [node.id for node in nodes]
            kept = tuple(node for node in layout.nodes if node.id not in added)
            return _placed(layout, (*kept, *nodes), layout.replicas)
        case RemoveNodes(ids):
            kept = tuple(node for node in layout.nodes if node.id not in ids)
            return _placed(layout, kept, layout.replicas)
        case SetState(node, state):
            if layout.node(node) is None:
                return LayoutChange(layout, f"no node {node} in the layout")
            nodes = tuple(
                msgspec.structs.replace(entry, state=state) if entry.id == node else entry
                for entry in layout.nodes
            )
            return _placed(layout, nodes, layout.replicas)
        case SetReplicas(replicas):
            if not REPLICAS_MIN <= replicas <= REPLICAS_MAX:
                return LayoutChange(layout, f"replicas are {REPLICAS_MIN} to {REPLICAS_MAX}")
            return _placed(layout, layout.nodes, replicas)
        case SetVoters(voters):
            if voters == layout.voters:
                return LayoutChange(layout)
            epoch = layout.epoch + 1
            return LayoutChange(msgspec.structs.replace(layout, epoch=epoch, voters=voters))
        case FinishHandover(since):
            if since != layout.since or not layout.previous:
                return LayoutChange(layout)
            epoch = layout.epoch + 1
            return LayoutChange(msgspec.structs.replace(layout, epoch=epoch, previous=()))


def _placed(layout: Layout, nodes: tuple[StorageNode, ...], replicas: int) -> LayoutChange:
    """A layout with other nodes; the old placement stays until it was handed over."""
    nodes = tuple(sorted(nodes, key=lambda node: node.id))
    if (nodes, replicas) == (layout.nodes, layout.replicas):
        return LayoutChange(layout)
    epoch = layout.epoch + 1
    placement = Placement(epoch, nodes, replicas)
    if not placement.candidates():
        return LayoutChange(layout, "at least one node must hold the data")
    previous = layout.previous
    old = layout.placement
    moves = (old.candidates(), old.replicas) != (placement.candidates(), replicas)
    if old.candidates() and moves:
        previous = (*previous, old)
    if len(previous) > PREVIOUS_MAX:
        return LayoutChange(layout, f"{PREVIOUS_MAX} handovers are unfinished; finish them first")
    return LayoutChange(Layout(epoch, nodes, layout.voters, replicas, epoch, previous))


class LayoutMachine:
    """The state machine of the Raft group "layout".

    Args:
        on_change: Called with every new layout, in order, while it is applied.
    """

    def __init__(self, on_change: Callable[[Layout], object]) -> None:
        self._on_change = on_change
        self.layout = Layout()

    def apply(self, index: int, command: bytes) -> LayoutChange:
        """Apply a committed command. The index is not needed: commands are safe to repeat."""
        del index
        try:
            result = change(self.layout, decode(command, Command))  # type: ignore[arg-type]  # mypy has no type of union types
        except BadMessage as error:
            return LayoutChange(self.layout, str(error))
        self._become(result.layout)
        return result

    def snapshot(self) -> bytes:
        """The whole state."""
        return encode(self.layout)

    def restore(self, data: bytes) -> None:
        """Replace the state by a snapshot."""
        self._become(decode(data, Layout))

    def _become(self, layout: Layout) -> None:
        changed = layout != self.layout
        self.layout = layout
        if changed:
            self._on_change(layout)
