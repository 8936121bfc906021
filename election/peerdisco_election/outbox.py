"""What this node says to each peer in one turn, gathered into as few frames as possible."""

from __future__ import annotations

from peerdisco_election.messages import (
    Append,
    Beat,
    BeatReply,
    Envelope,
    Frame,
    Leading,
    SnapshotChunk,
    encode,
)
from peerdisco_election.ports import Links

Part = Envelope | Beat | BeatReply | Leading

PART_BYTES = 96
"""About what a message takes beside the data that it carries."""


class Outbox:
    """Parts that wait for the end of the turn, by peer, in order."""

    def __init__(self, links: Links, frame_bytes_max: int) -> None:
        self._links = links
        self._frame_bytes_max = frame_bytes_max
        self._parts: dict[str, list[Part]] = {}

    def add(self, peer: str, part: Part) -> None:
        """Say this to the peer."""
        self._parts.setdefault(peer, []).append(part)

    def flush(self) -> int:
        """Hand everything to the links; returns how many frames they did not take."""
        parts, self._parts = self._parts, {}
        dropped = 0
        for peer, said in parts.items():
            for frame in self._frames(said):
                dropped += not self._links.send(peer, encode(frame))
        return dropped

    def _frames(self, parts: list[Part]) -> list[Frame]:
        frames: list[Frame] = []
        gathered: list[Part] = []
        size = 0
        for part in parts:
            weight = _weight(part)
            if gathered and size + weight > self._frame_bytes_max:
                frames.append(Frame(tuple(gathered)))
                gathered, size = [], 0
            gathered.append(part)
            size += weight
        return [*frames, Frame(tuple(gathered))]


def _weight(part: Part) -> int:
    if isinstance(part, Leading):
        return PART_BYTES * len(part.groups)
    if not isinstance(part, Envelope):
        return PART_BYTES
    match part.message:
        case Append(entries=entries):
            return PART_BYTES + sum(len(entry.data) + 16 for entry in entries)
        case SnapshotChunk(data=data):
            return PART_BYTES + len(data)
        case _:
            return PART_BYTES
