"""The rumours that are still to be told, and which of them go into the next packet.

Fresh rumours go first (SWIM, section 4.1): those told least often, and among them the newest. A
rumour is told a logarithmic number of times and then dropped; a newer one about the same subject
replaces it. Queues are bounded in bytes, and metadata keeps a share of every packet, so that a
storm of membership changes cannot starve it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from peerdisco_gossip.limits import UPDATE_OVERHEAD_BYTES
from peerdisco_gossip.messages import Metadata, Update, encode

_MISSES_MAX = 16
"""How many rumours that do not fit are passed over before a packet is called full."""


@dataclass(frozen=True, slots=True)
class Rumour:
    """An update as it is told: encoded once."""

    key: str
    encoded: bytes

    @property
    def size_bytes(self) -> int:
        """What it takes of a packet."""
        return len(self.encoded) + UPDATE_OVERHEAD_BYTES


class Rumours:
    """The queue of one class. Bucket i holds what was told i times, oldest first."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._buckets: list[dict[str, Rumour]] = []
        self.told: dict[str, int] = {}
        """How often each subject was told, which is its bucket."""
        self._bytes = 0
        self.dropped = 0

    def __len__(self) -> int:
        return len(self.told)

    def put(self, rumour: Rumour) -> None:
        """Tell this, and no longer what was told about the same subject."""
        self.withdraw(rumour.key)
        self._insert(rumour, 0)
        while self._bytes > self._bytes_max:
            self.dropped += 1
            self.withdraw(self._most_told())

    def clear(self) -> None:
        """Tell nothing of this any more."""
        self._buckets.clear()
        self.told.clear()
        self._bytes = 0

    def withdraw(self, key: str) -> None:
        """Stop telling about a subject; unknown ones are no error."""
        place = self.told.pop(key, None)
        if place is not None:
            self._bytes -= self._buckets[place].pop(key).size_bytes

    @property
    def size_bytes(self) -> int:
        """What all of them together would take of a packet."""
        return self._bytes

    def take(self, room_bytes: int, told_max: int) -> tuple[list[bytes], int]:
        """The freshest rumours that fit, counted as told once more; and the room left."""
        chosen: list[Rumour] = []
        misses = 0
        for bucket in self._buckets:
            for rumour in reversed(bucket.values()):
                if rumour.size_bytes <= room_bytes:
                    chosen.append(rumour)
                    room_bytes -= rumour.size_bytes
                else:
                    misses += 1
                if misses > _MISSES_MAX:
                    break
            if misses > _MISSES_MAX:
                break
        for rumour in reversed(chosen):  # so that the newest stays the newest in its new bucket
            told = self.told[rumour.key] + 1
            self.withdraw(rumour.key)
            if told < told_max:
                self._insert(rumour, told)
        return [rumour.encoded for rumour in chosen], room_bytes

    def _insert(self, rumour: Rumour, told: int) -> None:
        while len(self._buckets) <= told:
            self._buckets.append({})
        self._buckets[told][rumour.key] = rumour
        self.told[rumour.key] = told
        self._bytes += rumour.size_bytes

    def _most_told(self) -> str:
        bucket = next(bucket for bucket in reversed(self._buckets) if bucket)
        return next(iter(bucket))


class BroadcastQueue:
    """All rumours, by class."""

    def __init__(self, bytes_max: int, metadata_share: float, retransmit_mult: int) -> None:
        self._membership = Rumours(bytes_max)
        self._metadata = Rumours(bytes_max)
        self._metadata_share = metadata_share
        self._retransmit_mult = retransmit_mult

    def __len__(self) -> int:
        return len(self._membership) + len(self._metadata)

    @property
    def has_news(self) -> bool:
        """Whether there is anything to tell."""
        return bool(self._membership.told or self._metadata.told)

    @property
    def dropped(self) -> int:
        """How many rumours the byte limits cost."""
        return self._membership.dropped + self._metadata.dropped

    def clear(self) -> None:
        """Forget every rumour: there is nobody to tell."""
        self._membership.clear()
        self._metadata.clear()

    def put(self, update: Update) -> None:
        """Start telling an update."""
        if isinstance(update, Metadata):
            self._metadata.put(Rumour(f"{update.id}/{update.key}", encode(update)))
        else:
            self._membership.put(Rumour(update.id, encode(update)))

    def take(self, room_bytes: int, present: int) -> list[bytes]:
        """What to tell in one packet with this much room, in a cluster of this many."""
        # The natural logarithm (SWIM, 4.1): with log10, one of ten nodes often stays uninformed.
        told_max = max(1, self._retransmit_mult * math.ceil(math.log(present + 1)))
        # Metadata may fill its share, and whatever membership has no use for.
        share = int(room_bytes * self._metadata_share)
        unclaimed = room_bytes - self._membership.size_bytes
        metadata_room = max(share, unclaimed)
        metadata, left = self._metadata.take(metadata_room, told_max)
        membership, _ = self._membership.take(room_bytes - metadata_room + left, told_max)
        return membership + metadata
