"""What a node tells everybody about itself, through gossip."""

from __future__ import annotations

from peerdisco.messages import BadMessage, Message, decode

FACTS_KEY = "node"
LOAD_KEY = "load"
LAYOUT_KEY = "layout"


class NodeFacts(Message, frozen=True, array_like=True):
    """What stays the same while a node runs.

    Attributes:
        name: For people.
        version: Of the software.
        python: The `major.minor` that its workers run.
        http: Where clients reach it, `host:port`.
        slots: Tasks that it runs at the same time.
        stores: Whether it offers its disk.
        zone: What fails together with it; empty for its own zone.
        capacity: Share of the data.
        total_bytes: Size of the file system under its data.
        wire: Lowest and highest wire version that it speaks.
    """

    name: str = ""
    version: str = ""
    python: str = ""
    http: str = ""
    slots: int = 0
    stores: bool = False
    zone: str = ""
    capacity: int = 1
    total_bytes: int = -1
    wire: tuple[int, int] = (1, 1)


class NodeLoad(Message, frozen=True, array_like=True):
    """What changes: how busy the node is and how full.

    Attributes:
        slots_busy: Tasks that run there.
        free_bytes: Free space under its data.
        space: What the storage does about that: `ok`, `low` or `read-only`.
        rebuild_bytes: What it has to send to other nodes, so that all blobs have their copies.
        rebuild_s: How long that takes at the present speed; -1 while it is unknown.
    """

    slots_busy: int = 0
    free_bytes: int = -1
    space: str = "ok"
    rebuild_bytes: int = 0
    rebuild_s: int = 0


def facts_of(value: bytes | None) -> NodeFacts:
    """The facts in a metadata value; empty ones when there are none or they are not understood."""
    try:
        return decode(value, NodeFacts) if value else NodeFacts()
    except BadMessage:
        return NodeFacts()


def load_of(value: bytes | None) -> NodeLoad:
    """The load in a metadata value, likewise."""
    try:
        return decode(value, NodeLoad) if value else NodeLoad()
    except BadMessage:
        return NodeLoad()
