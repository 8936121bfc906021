"""What the driver needs from the node around it, beside the store: what to replicate, and links."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

CHANNEL = 2
"""Of sealed datagrams: node-pair heartbeats."""

Address = tuple[str, int]


class StateMachine(Protocol):
    """What a group replicates. It must be deterministic, read no clock, and never raise."""

    def apply(self, index: int, command: bytes) -> object:
        """Take a committed command; what this returns goes to its proposer."""

    def snapshot(self) -> bytes:
        """The whole state."""

    def restore(self, data: bytes) -> None:
        """Replace the whole state by an earlier `snapshot`."""


class Links(Protocol):
    """One long-lived ordered stream to each peer."""

    def send(self, peer: str, frame: bytes) -> bool:
        """Queue a frame. False when it was dropped; it may be lost later too."""


class Datagrams(Protocol):
    """Sealed datagrams, each on a numbered channel."""

    def send(self, address: Address, channel: int, payload: bytes) -> bool:
        """Send one. False when it was dropped; it may be lost later too."""

    def subscribe(self, channel: int, handler: Callable[[str, Address, bytes], None]) -> None:
        """Call back with the authenticated sender, its address and the payload."""


@dataclass(slots=True)
class Counters:
    """What was dropped, and why, since the node started.

    Attributes:
        bad_frames: Frames and datagrams that could not be decoded.
        unknown_groups: Messages for groups that this node does not have.
        other_eras: Messages of members that a recovery by force has separated from this one.
        full_inbox: Frames that came faster than they could be handled.
        full_links: Frames that a link did not take.
    """

    bad_frames: int = 0
    unknown_groups: int = 0
    other_eras: int = 0
    full_inbox: int = 0
    full_links: int = 0
