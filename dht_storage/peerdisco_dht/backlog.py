"""The copies that a node has yet to send for repair, and how far it has come: pure.

Blobs with the fewest copies left go first, then small ones: they are safe soonest. A copy is sent
by one errand at a time. Who was found lacking it before it arrived is not sent it again; whom it
could not be given is not offered it again at once.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TypeVar

from peerdisco_dht.messages import Message
from peerdisco_dht.ports import NodeId

BACKOFF_S_MIN, BACKOFF_S_MAX = 0.5, 30.0
"""How long a node is not offered a copy again that could not be given to it; doubles each time."""
REMEMBERED_MAX = 10_000
"""Deliveries, and failures, that are remembered; to forget one costs a message, or a copy."""

T = TypeVar("T")
_Copy = tuple[str, NodeId]


@dataclass(frozen=True, slots=True, order=True)
class Errand:
    """One copy of one blob for one node. Errands sort by urgency.

    Attributes:
        copies: Nodes that are known to have it.
        size: Its bytes.
        blob: Its id.
        node: Who lacks it.
        stand_in: It is no home of the blob, but a home has no room.
        asked: When the node was asked whether it has the blob.
    """

    copies: int
    size: int
    blob: str
    node: NodeId
    stand_in: bool = False
    asked: float = field(default=0.0, compare=False)


class RepairProgress(Message, frozen=True, array_like=True):
    """How far the repair of one node is.

    Attributes:
        walking: Whether it looks through its blobs now; what it has not seen is not counted yet.
        checked: Blobs seen by the walk that runs or was the last.
        blobs_left: Copies that it knows it has to send.
        bytes_left: Their bytes.
        blobs_sent: Copies sent since it last had nothing to do.
        bytes_sent: Their bytes.
        bytes_per_s: How fast, on average since then.
    """

    walking: bool = False
    checked: int = 0
    blobs_left: int = 0
    bytes_left: int = 0
    blobs_sent: int = 0
    bytes_sent: int = 0
    bytes_per_s: float = 0.0

    @property
    def left_s(self) -> float | None:
        """Seconds that the rest takes at this speed; None while that is unknown."""
        if not self.blobs_left:
            return 0.0
        return self.bytes_left / self.bytes_per_s if self.bytes_per_s else None


class Backlog:
    """All errands of one node, each at most once."""

    def __init__(self) -> None:
        self._waiting: list[Errand] = []
        self._known: dict[_Copy, None] = {}
        self._delivered: OrderedDict[_Copy, float] = OrderedDict()
        self._failed: OrderedDict[_Copy, tuple[float, float]] = OrderedDict()
        """How long each rests after its last failure, and until when."""
        self._nodes: dict[str, int] = {}
        self._bytes_left = 0
        self._blobs_sent = 0
        self._bytes_sent = 0
        self._began = 0.0
        self._latest = 0.0

    def __len__(self) -> int:
        """Errands that wait or are under way."""
        return len(self._known)

    def __contains__(self, blob: str) -> bool:
        """Whether copies of the blob wait or are under way."""
        return blob in self._nodes

    def add(self, errand: Errand, now: float) -> bool:
        """Put an errand in its place, unless the same copy is known already or has arrived since.

        False when the last one failed a moment ago: find out later whether there is still need.
        """
        key = errand.blob, errand.node
        if key in self._known or self._delivered.get(key, errand.asked) > errand.asked:
            return True
        if now < self._failed.get(key, (0.0, now))[1]:
            return False
        if not self._known:
            self._blobs_sent = self._bytes_sent = 0
            self._began = now
        self._known[key] = None
        self._nodes[errand.blob] = self._nodes.get(errand.blob, 0) + 1
        self._bytes_left += errand.size
        heapq.heappush(self._waiting, errand)
        return True

    def take(self) -> Errand | None:
        """The most urgent errand; it is under way until `finish`."""
        return heapq.heappop(self._waiting) if self._waiting else None

    def finish(self, errand: Errand, now: float, *, sent: bool, failed: bool = False) -> None:
        """An errand that was taken is over; `sent`: the node has its copy now.

        `failed`: it could not be sent, and the next one shall wait a little.
        """
        key = errand.blob, errand.node
        del self._known[key]
        self._nodes[errand.blob] -= 1
        if not self._nodes[errand.blob]:
            del self._nodes[errand.blob]
        self._bytes_left -= errand.size
        self._latest = now
        if failed:
            before_s, _ = self._failed.pop(key, (0.0, 0.0))
            pause_s = min(BACKOFF_S_MAX, max(BACKOFF_S_MIN, 2 * before_s))
            _remember(self._failed, key, (pause_s, now + pause_s))
        if sent:
            self._failed.pop(key, None)
            _remember(self._delivered, key, now)
            self._blobs_sent += 1
            self._bytes_sent += errand.size

    def progress(self, now: float, *, walking: bool, checked: int) -> RepairProgress:
        """How far it is."""
        elapsed_s = (now if self._known else self._latest) - self._began
        speed = self._bytes_sent / elapsed_s if elapsed_s > 0 else 0.0
        return RepairProgress(
            walking,
            checked,
            len(self._known),
            self._bytes_left,
            self._blobs_sent,
            self._bytes_sent,
            speed,
        )


def _remember(memory: OrderedDict[_Copy, T], key: _Copy, value: T) -> None:
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > REMEMBERED_MAX:
        memory.popitem(last=False)
