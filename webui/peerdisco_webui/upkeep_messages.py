"""What the REST API says and hears about the upkeep of the storage, as JSON.

Garbage collection, the layout and lookups. The rules of `messages.py` hold: clients ignore fields
that they do not know, fields are appended with a default, sizes are bytes, times are seconds.
"""

from __future__ import annotations

import enum

from peerdisco_webui.messages import View


class CollectionAction(enum.StrEnum):
    """What an operator may ask of the garbage collection."""

    RUN = "run"
    DRY_RUN = "dry_run"
    HOLD = "hold"
    RELEASE = "release"


class CollectionRequest(View, frozen=True, kw_only=True):
    """Body of `POST /api/v1/gc`."""

    action: CollectionAction


class Tally(View, frozen=True, kw_only=True):
    """Copies on all nodes that met a fate: keep, revive, condemn, remove or forget."""

    verdict: str
    copies: int
    bytes: int


class Doomed(View, frozen=True, kw_only=True):
    """A copy that a dry run would have condemned or removed, and why."""

    id: str
    bytes: int
    verdict: str
    reason: str


class CollectionView(View, frozen=True, kw_only=True):
    """Answer of `GET` and `POST /api/v1/gc`: the newest garbage collection.

    Attributes:
        generation: Its number; 0 when there was none.
        running: Whether it goes on.
        held: Whether an operator holds collections.
        phase: `begin`, `mark`, `sweep` or `done`.
        dry_run: Whether it changes nothing.
        partitions: Parts of the name space that were read, of `partitions_total`.
        partitions_total: How many there are.
        registers: Tags and other registers that were read.
        references: Blobs that they name.
        nodes: Nodes whose copies were judged.
        participants: Nodes that take part.
        tallies: What became of the copies so far.
        failed: Why it ended early; then nothing was condemned that should not have been.
        sample: Of a dry run: some of the copies that it would have condemned or removed.
        began_at: When the newest began.
    """

    generation: int
    running: bool
    held: bool
    phase: str = "done"
    dry_run: bool = False
    partitions: int = 0
    partitions_total: int = 4096
    registers: int = 0
    references: int = 0
    nodes: int = 0
    participants: int = 0
    tallies: tuple[Tally, ...] = ()
    failed: str = ""
    sample: tuple[Doomed, ...] = ()
    began_at: float = 0.0


class LayoutNode(View, frozen=True, kw_only=True):
    """A node as the layout sees it, with what it holds.

    Attributes:
        id: The node.
        name: Its friendly name.
        zone: What fails together; empty when it is a zone of its own.
        capacity: Units of space that it offers.
        state: `up`, `draining` or `gone`.
        alive: Whether it seems to live.
        partitions: How many partitions it is a home of.
        blobs: Copies that it holds as a replica; -1 when it did not say.
        bytes: Their bytes; -1 when it did not say.
        leaving_blobs: Of those, copies that still have to move to other nodes.
        leaving_bytes: Their bytes.
        trash_bytes: Bytes that a garbage collection condemned.
        cache_bytes: Bytes that are there for speed only.
    """

    id: str
    name: str
    zone: str = ""
    capacity: int = 1
    state: str = "up"
    alive: bool = True
    partitions: int = 0
    blobs: int = -1
    bytes: int = -1
    leaving_blobs: int = 0
    leaving_bytes: int = 0
    trash_bytes: int = 0
    cache_bytes: int = 0


class LayoutView(View, frozen=True, kw_only=True):
    """Answer of `GET /api/v1/layout`.

    Attributes:
        epoch: Its number.
        replicas: Copies of everything, when there are enough nodes.
        moving: Whether registers are being handed over to new homes.
        voters: Names of the nodes that agree on it.
        nodes: In order of names.
    """

    epoch: int
    replicas: int
    moving: bool
    voters: tuple[str, ...]
    nodes: tuple[LayoutNode, ...]


class LayoutAction(enum.StrEnum):
    """A change of the layout."""

    DRAIN = "drain"
    """Move everything away from a node, and drop it there after."""
    REMOVE = "remove"
    """Let a node hold nothing and stay away until somebody asks."""
    ADD = "add"
    """Let a node that was drained or removed hold data again."""
    REPLICAS = "replicas"
    """Change how many copies there are of everything."""


class LayoutRequest(View, frozen=True, kw_only=True):
    """Body of `POST /api/v1/layout` and `/api/v1/layout/plan`.

    Attributes:
        action: What to do.
        node: To which node, by id or name; not for `replicas`.
        replicas: The new number, for `replicas`.
        force: Remove a node although it still has copies to move.
    """

    action: LayoutAction
    node: str = ""
    replicas: int = 0
    force: bool = False


class PlannedNode(View, frozen=True, kw_only=True):
    """One node before and after a change."""

    id: str
    name: str
    partitions_before: int
    partitions_after: int
    blobs_in: int
    bytes_in: int


class LayoutPlan(View, frozen=True, kw_only=True):
    """Answer of `POST /api/v1/layout/plan`: what a change would move.

    Attributes:
        nodes: In order of names.
        moved: Homes of partitions that change hands.
        homes: Of so many.
        blobs: Blobs that have to be received by somebody.
        bytes: Their bytes.
        unknown: Names of nodes that did not say what they hold, so that sizes may be too small.
    """

    nodes: tuple[PlannedNode, ...]
    moved: int
    homes: int
    blobs: int
    bytes: int
    unknown: tuple[str, ...] = ()


class Place(View, frozen=True, kw_only=True):
    """A node in an answer about a key."""

    id: str
    name: str


class FoundView(View, frozen=True, kw_only=True):
    """Answer of `GET /api/v1/dht`: where a key lives.

    Attributes:
        key: The 160-bit key, in hex.
        partition: The partition that it lies in.
        epoch: Of the layout that says so.
        home: The nodes responsible for it, first choice first.
        told_by: The node that a lookup ended at; empty when nobody else answered.
        nearest: The nodes nearest to the key that the lookup found.
    """

    key: str
    partition: int
    epoch: int
    home: tuple[Place, ...]
    told_by: str = ""
    nearest: tuple[Place, ...] = ()


class RepairView(View, frozen=True, kw_only=True):
    """How far the repair of one node is: what it has to send to others.

    Attributes:
        walking: Whether it looks through its blobs now, and may find more.
        checked: Blobs seen by that walk, or by the last.
        blobs_left: Copies to send, as far as it knows.
        bytes_left: Their bytes.
        blobs_sent: Copies sent since it last had nothing to do.
        bytes_sent: Their bytes.
        bytes_per_s: Average speed since then.
        left_s: How long the rest takes at that speed; -1 while that is unknown.
    """

    walking: bool = False
    checked: int = 0
    blobs_left: int = 0
    bytes_left: int = 0
    blobs_sent: int = 0
    bytes_sent: int = 0
    bytes_per_s: float = 0.0
    left_s: float = 0.0


class NodeStorage(View, frozen=True, kw_only=True):
    """What one node of the layout holds, and what it is busy with.

    Attributes:
        id: The node.
        name: Its friendly name.
        state: `up`, `draining` or `gone`.
        answers: Whether it said anything; if not, all that follows is unknown.
        space: `ok`; `low`: it takes no new copies; `read-only`: nor puts of clients.
        free_bytes: What its file system has left.
        total_bytes: What its file system has.
        blobs: Copies that it holds as a replica.
        bytes: Their bytes.
        leaving_bytes: Of those, bytes that still have to move to other nodes.
        cache_bytes: Bytes that are there for speed only.
        trash_bytes: Bytes that a garbage collection condemned.
        repair: What it has to send to others.
    """

    id: str
    name: str
    state: str = "up"
    answers: bool = True
    space: str = "ok"
    free_bytes: int = -1
    total_bytes: int = -1
    blobs: int = 0
    bytes: int = 0
    leaving_bytes: int = 0
    cache_bytes: int = 0
    trash_bytes: int = 0
    repair: RepairView = RepairView()


class StorageView(View, frozen=True, kw_only=True):
    """Answer of `GET /api/v1/storage`, in order of names."""

    nodes: tuple[NodeStorage, ...]


class PassView(View, frozen=True, kw_only=True):
    """One pass of a scrub over all copies of a node.

    Attributes:
        began_at: Wall time.
        finished_at: Wall time; 0 while it goes on.
        blobs: Copies that were read to their end and found good.
        bytes: Their bytes.
        rotten: Copies that had changed; they were set aside, and repair brings new ones.
        unreadable: Copies that the disk refused to read; likewise.
    """

    began_at: float
    finished_at: float = 0.0
    blobs: int = 0
    bytes: int = 0
    rotten: int = 0
    unreadable: int = 0


class NodeScrub(View, frozen=True, kw_only=True):
    """Where the scrub of one node is.

    Attributes:
        id: The node.
        name: Its friendly name.
        answers: Whether it said anything.
        running: The pass that is under way.
        last: The last one that was finished.
        aside: Rotten copies that are kept because no good one has come in their place yet.
    """

    id: str
    name: str
    answers: bool = True
    running: PassView | None = None
    last: PassView | None = None
    aside: int = 0


class ScrubView(View, frozen=True, kw_only=True):
    """Answer of `GET` and `POST /api/v1/scrub`, in order of names."""

    nodes: tuple[NodeScrub, ...]


class UsageView(View, frozen=True, kw_only=True):
    """Answer of `GET /api/v1/usage`: what the tags of a prefix or an owner hold.

    Attributes:
        prefix: The prefix that was asked for.
        owner: The owner that was asked for; empty for all.
        tags: How many there are.
        blobs: Distinct blobs that they name.
        bytes: Their bytes, each blob once, without copies.
        unknown: Blobs whose size nobody who answered knows.
    """

    prefix: str
    owner: str
    tags: int
    blobs: int
    bytes: int
    unknown: int = 0


class QuotaKind(enum.StrEnum):
    """Whose tags a quota is about."""

    OWNER = "owner"
    PREFIX = "prefix"


class QuotaView(View, frozen=True, kw_only=True):
    """A quota; body of `PUT /api/v1/quotas`.

    Attributes:
        kind: Whether `name` is an owner, or what names of tags begin with.
        name: Which.
        bytes: The limit on bytes, each blob once, without copies; None for none.
        tags: The limit on tags; None for none.
        used_bytes: What is used; -1 where nobody counted.
        used_tags: Likewise.
    """

    kind: QuotaKind
    name: str
    bytes: int | None = None
    tags: int | None = None
    used_bytes: int = -1
    used_tags: int = -1


class QuotaList(View, frozen=True, kw_only=True):
    """Answer of `GET /api/v1/quotas`, counted now."""

    quotas: tuple[QuotaView, ...]
