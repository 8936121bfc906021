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


class BlobRow(Message, frozen=True, array_like=True):
    """A node's copy of a blob.

    Attributes:
        size: Bytes.
        where: Where it lies.
        role: What it counts for.
        pins: Who needs it.
    """

    size: int
    where: Where
    role: Role
    pins: Pins


class Ids(Message, frozen=True, array_like=True):
    """Which of these do you hold?"""

    ids: tuple[str, ...]


class Held(Message, frozen=True, array_like=True):
    """Yes or no for each id, in order."""

    held: tuple[bool, ...]


class Hold(Message, frozen=True, array_like=True):
    """Merge these pins into your copy of a blob, if you have one, as a replica."""

    id: str
    pins: Pins


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
    FAILED = "failed"


class Stored(Message, frozen=True, array_like=True):
    """The answer to Hold, Keep and Offer."""

    copy: Copy
    pins: Pins = Pins()
    reason: str = ""


class StoredItems(Message, frozen=True, array_like=True):
    """Answers to Holds, in order."""

    items: tuple[Stored, ...]


class Keep(Message, frozen=True, array_like=True):
    """Store this small blob as a replica."""

    id: str
    pins: Pins
    data: bytes


class Offer(Message, frozen=True, array_like=True):
    """Store the blob whose bytes follow in this stream as a replica."""

    id: str
    pins: Pins
    size: int
    hashes: bytes


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


class Release(Message, frozen=True, array_like=True):
    """The owner needs this blob no more."""

    id: str
    owner: str
