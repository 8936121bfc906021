"""What a leader knows of one follower's log, and how fast it may send to it.

Invariant: 0 <= match < next. A small value type: it decides nothing and sends nothing; `leader.py`
does. The three phases are those of the best-known implementation.
"""

from __future__ import annotations

import enum
from collections import deque
from dataclasses import dataclass, field

from peerdisco_election.config import RaftConfig
from peerdisco_election.messages import Snapshot


class Phase(enum.Enum):
    """How a follower is being sent to."""

    PROBE = "probe"
    """Where the logs agree is not known: one Append at a time."""
    REPLICATE = "replicate"
    """It is known: Appends stream ahead of their acknowledgements."""
    SNAPSHOT = "snapshot"
    """The entries it needs are gone: pieces of a snapshot, one at a time."""


@dataclass(slots=True)
class Progress:
    """One follower in the eyes of its leader.

    Attributes:
        next: The next entry to send.
        heard_at: When it last said anything.
        match: The last entry known to be durable there and equal to ours.
        phase: How it is being sent to.
        paused: An unanswered probe or piece is out.
        active: It was heard within an election timeout.
        commit: Its commit index, as last reported.
        confirmed: The latest read context that it acknowledged.
        told: The commit index in the latest Append, as far as the follower could use it.
        snapshot: The snapshot being sent.
        snapshot_offset: Bytes of it that arrived.
        inflight: Last index and size of each unacknowledged Append.
        inflight_bytes: Sum of those sizes.
    """

    next: int
    heard_at: float
    match: int = 0
    phase: Phase = Phase.PROBE
    paused: bool = False
    active: bool = True
    commit: int = 0
    confirmed: int = 0
    told: int = 0
    snapshot: Snapshot | None = None
    snapshot_offset: int = 0
    inflight: deque[tuple[int, int]] = field(default_factory=deque)
    inflight_bytes: int = 0

    def may_send(self) -> bool:
        """Whether anything may leave now without an answer to what is out."""
        return self.phase is Phase.REPLICATE or not self.paused

    def has_window(self, config: RaftConfig) -> bool:
        """Whether another Append with entries fits into what may be in flight."""
        return (
            len(self.inflight) < config.inflight_appends_max
            and self.inflight_bytes < config.inflight_bytes_max
        )

    def sent(self, last: int, size: int) -> None:
        """An Append left; `last` is 0 when it carried no entries."""
        if self.phase is Phase.PROBE:
            self.paused = True
        elif last:
            self.next = last + 1
            self.inflight.append((last, size))
            self.inflight_bytes += size

    def acknowledge(self, index: int) -> bool:
        """The follower agrees up to `index`. True when that is news."""
        while self.inflight and self.inflight[0][0] <= index:
            self.inflight_bytes -= self.inflight.popleft()[1]
        news = index > self.match
        if news:
            self.match = index
            self.paused = False
        self.next = max(self.next, index + 1)
        return news

    def reject(self, rejected: int, hint: int) -> bool:
        """The follower lacks entry `rejected`; True unless the answer is an old one."""
        if self.phase is Phase.REPLICATE:
            # Entries up to match are certainly there: an older answer overtook a newer one.
            if rejected <= self.match:
                return False
            self.become_probe()
            return True
        if self.phase is Phase.SNAPSHOT or self.next - 1 != rejected:
            return False
        self.next = max(min(rejected, hint + 1), self.match + 1)
        self.paused = False
        return True

    def become_probe(self) -> None:
        """Start again from the last agreed entry, one Append at a time."""
        self._reset(Phase.PROBE)
        self.next = self.match + 1

    def become_replicate(self) -> None:
        """The logs agree: stream."""
        self._reset(Phase.REPLICATE)
        self.next = self.match + 1

    def become_snapshot(self, snapshot: Snapshot) -> None:
        """Send this snapshot, from its beginning; a newer one does not replace it."""
        self._reset(Phase.SNAPSHOT)
        self.snapshot = snapshot

    def has_snapshot(self) -> bool:
        """Whether the snapshot that was being sent has been taken in."""
        return self.snapshot is not None and self.match >= self.snapshot.index

    def _reset(self, phase: Phase) -> None:
        self.phase = phase
        self.paused = False
        self.snapshot = None
        self.snapshot_offset = 0
        self.inflight.clear()
        self.inflight_bytes = 0
