"""What nodes say to each other during a garbage collection, and what its register holds."""

from __future__ import annotations

import msgspec

from peerdisco_dht.messages import Message

IDS_MAX = 4096
"""Ids of blobs in one message."""


class Begin(Message, frozen=True, array_like=True):
    """A generation begins: from now on remember what is touched, and collect marks."""

    generation: int


class MarkPartitions(Message, frozen=True, array_like=True):
    """Read all registers of these partitions, and tell the participants what they name."""

    generation: int
    partitions: tuple[int, ...]
    participants: tuple[str, ...]


class Marked(Message, frozen=True, array_like=True):
    """How that went.

    Attributes:
        registers: How many registers were read.
        references: How many blobs they name.
        failed: Why it is incomplete; empty when every participant knows everything.
    """

    registers: int = 0
    references: int = 0
    failed: str = ""


class Marks(Message, frozen=True, array_like=True):
    """Blobs that are named, and owners that live.

    Attributes:
        generation: Of the collection.
        ids: The 32 bytes of each blob's id.
        owners: Owners whose pins hold their blobs.
        partitions: Partitions of registers that are told completely with this message.
        wishes: Blobs that are named by tags that want a number of copies of their own.
    """

    generation: int
    ids: tuple[bytes, ...] = ()
    owners: tuple[str, ...] = ()
    partitions: tuple[int, ...] = ()
    wishes: tuple[tuple[bytes, int], ...] = ()


class Taken(Message, frozen=True, array_like=True):
    """Whether a participant took a Begin or Marks, and why not."""

    refused: str = ""


class Sweep(Message, frozen=True, array_like=True):
    """Judge a page of your rows.

    Attributes:
        generation: Of the collection.
        after: Behind this id.
        dry_run: Change nothing.
    """

    generation: int
    after: str
    dry_run: bool


class Swept(Message, frozen=True, array_like=True):
    """What became of a page.

    Attributes:
        counts: For each verdict, copies and bytes.
        after: Go on behind this id; empty at the end.
        sample: Of a dry run: some (id, bytes, verdict, reason).
        refused: Why nothing was judged.
    """

    counts: dict[str, tuple[int, int]]
    after: str = ""
    sample: tuple[tuple[str, int, str, str], ...] = ()
    refused: str = ""


class Result(Message, frozen=True, array_like=True):
    """How a generation ended.

    Attributes:
        generation: Its number.
        finished: Wall time.
        counts: For each verdict, copies and bytes, over all nodes.
        failed: Why it condemned nothing, or not everywhere; empty when it was complete.
    """

    generation: int
    finished: float
    counts: dict[str, tuple[int, int]]
    failed: str = ""


class State(Message, frozen=True, array_like=True):
    """The register of the collection.

    Attributes:
        generation: The newest that anybody began.
        began: Wall time, for the next one's due time.
        collector: The node that runs it.
        held: Whether an operator forbade collections.
        last: The last one that ended and was no dry run.
    """

    generation: int = 0
    began: float = 0.0
    collector: str = ""
    held: bool = False
    last: Result | None = None


class Progress(Message, frozen=True, array_like=True):
    """A collection that runs, or the last one of its collector.

    Attributes:
        generation: Its number; 0 when this node never ran one.
        phase: "begin", "mark", "sweep" or "done".
        dry_run: Whether it changes nothing.
        partitions: Partitions of registers that were read, of 4096.
        registers: Registers that were read.
        references: Blobs that they name.
        nodes: Nodes that were swept.
        participants: Nodes that take part.
        counts: For each verdict, copies and bytes so far.
        failed: Why it ended early.
        sample: Of a dry run: some (id, bytes, verdict, reason).
    """

    generation: int = 0
    phase: str = "done"
    dry_run: bool = False
    partitions: int = 0
    registers: int = 0
    references: int = 0
    nodes: int = 0
    participants: int = 0
    counts: dict[str, tuple[int, int]] = msgspec.field(default_factory=dict)
    failed: str = ""
    sample: tuple[tuple[str, int, str, str], ...] = ()
