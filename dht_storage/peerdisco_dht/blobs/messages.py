"""What nodes say to each other about blobs, and what they keep about them in the index."""

from __future__ import annotations

import enum

from peerdisco_dht.blobs.pins import Pins
from peerdisco_dht.messages import Message

BATCH_MAX = 256
"""Blobs named in one message."""


class Role(enum.StrEnum):
    """What a node's copy counts for."""

    REPLICA = "replica"
    """Promised to somebody; kept until released."""
    CACHE = "cache"
    """Kept for speed only."""


class Where(enum.StrEnum):
    """Where a node's copy lies."""

    FILE = "file"
    INLINE = "inline"
    NOWHERE = "nowhere"
    """Released: only the pins are remembered."""


class Verdict(enum.StrEnum):
    """What a garbage collection decides about a row."""

    KEEP = "keep"
    REVIVE = "revive"
    """Something names it again: out of the trash."""
    CONDEMN = "condemn"
    """Nothing names it: into the trash."""
    REMOVE = "remove"
    FORGET = "forget"
    """Drop the memory of a copy that was released long ago."""


class Condemned(Message, frozen=True, array_like=True):
    """A garbage collection found that nothing names a copy; it lies in the trash.

    Attributes:
        generation: Of the collection.
        at: Wall time of this node when that generation began here.
    """

    generation: int
    at: float


class BlobRow(Message, frozen=True, array_like=True):
    """A node's copy of a blob.

    Attributes:
        size: Bytes.
        where: Where it lies.
        role: What it counts for.
        pins: Who needs it.
        lease: Wall time until which no garbage collection may condemn it.
        touched: The newest generation of the collection that this node had heard of when the
            blob was last put, pinned or handed over; an older one may never condemn it.
        condemned: Set while it lies in the trash.
        replicas: How many copies tags want; 0 for the layout's number.
    """

    size: int
    where: Where
    role: Role
    pins: Pins
    lease: float = 0.0
    touched: int = 0
    condemned: Condemned | None = None
    replicas: int = 0


class Ids(Message, frozen=True, array_like=True):
    """Which of these do you hold?"""

    ids: tuple[str, ...]


class Held(Message, frozen=True, array_like=True):
    """Yes or no for each id, in order."""

    held: tuple[bool, ...]


class Sizes(Message, frozen=True, array_like=True):
    """The size of each blob that was asked for, in order; -1 where there is no copy."""

    sizes: tuple[int, ...]


class Hold(Message, frozen=True, array_like=True):
    """Merge these pins and this lease into your copy of a blob, if you have one, as a replica.

    Attributes:
        replicas: How many copies there shall be; for who is no home and cannot know.
    """

    id: str
    pins: Pins
    lease: float = 0.0
    replicas: int = 0


class Holds(Message, frozen=True, array_like=True):
    """A batch of Hold."""

    items: tuple[Hold, ...]


class Copy(enum.StrEnum):
    """What became of a request to hold or to store a blob."""

    HELD = "held"
    """Verified, durable, and counted as a replica."""
    MISSING = "missing"
    RELEASED = "released"
    """Every pin of it was released; the pins are in the answer."""
    FULL = "full"
    """Missing, and there is no room for it."""
    FAILED = "failed"


class Stored(Message, frozen=True, array_like=True):
    """The answer to Hold, Keep and Offer.

    Attributes:
        copy: What became of it.
        pins: As they are merged.
        reason: Why it failed.
        replicas: Of a copy that is held: how many there shall be.
    """

    copy: Copy
    pins: Pins = Pins()
    reason: str = ""
    replicas: int = 0


class PinAsks(Message, frozen=True, array_like=True):
    """Something is about to name these blobs: keep your copies of them, with a fresh lease.

    Attributes:
        ids: The blobs.
        pin: The pin that each of them gets.
    """

    ids: tuple[str, ...]
    pin: str


class StoredItems(Message, frozen=True, array_like=True):
    """Answers to Holds or PinAsks, in order."""

    items: tuple[Stored, ...]


class Keep(Message, frozen=True, array_like=True):
    """Store this small blob as a replica."""

    id: str
    pins: Pins
    data: bytes
    lease: float = 0.0
    replicas: int = 0


class Offer(Message, frozen=True, array_like=True):
    """Store the blob whose bytes follow in this stream as a replica.

    Attributes:
        background: Nobody waits for it: it must not be in the way of those that do.
    """

    id: str
    pins: Pins
    size: int
    hashes: bytes
    lease: float = 0.0
    background: bool = False
    replicas: int = 0


class Get(Message, frozen=True, array_like=True):
    """Send a blob's chunks from `first` up to, not including, `end`; its Header comes first."""

    id: str
    first: int
    end: int | None = None


class Header(Message, frozen=True, array_like=True):
    """The beginning of a stream of chunks, behind its own length in 4 bytes.

    Attributes:
        found: Whether chunks follow.
        size: Bytes of the whole blob.
        hashes: Its chunk hashes.
    """

    found: bool
    size: int = 0
    hashes: bytes = b""


class Wish(Message, frozen=True, array_like=True):
    """A tag that names these blobs wants so many copies of them at least."""

    ids: tuple[str, ...]
    replicas: int


class Release(Message, frozen=True, array_like=True):
    """The owner needs this blob no more."""

    id: str
    owner: str
