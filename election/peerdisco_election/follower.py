"""The follower: takes what the leader sends, and waits until there is reason to stand.

Under a driver that watches the leader's node (`Core.watched`) a follower that knows a leader has
no timer at all; `suspect` gives it one and ends the protection of the leader. Next: `candidate.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from peerdisco_election import quorum
from peerdisco_election.messages import (
    Append,
    AppendReply,
    GroupMessage,
    Heartbeat,
    HeartbeatReply,
    Snapshot,
    SnapshotChunk,
    SnapshotReply,
    TimeoutNow,
)
from peerdisco_election.status import Cause, Role

if TYPE_CHECKING:
    from peerdisco_election.core import Core


SPREAD = 0.3
"""Election timeouts over which elections are spread when heartbeats are missing."""


@dataclass(slots=True)
class Incoming:
    """A snapshot of which the first bytes have arrived."""

    index: int
    term: int
    data: bytearray = field(default_factory=bytearray)


class Follower:
    """A passive member. Holds the election timer and the doubts about the leader."""

    name = Role.FOLLOWER

    def __init__(self, core: Core, now: float) -> None:
        self._core = core
        self._heard_at = now
        self._suspicion: Cause | None = None
        self._suspected_at = now
        self._incoming: Incoming | None = None
        self.deadline: float | None = None

    def rest(self, now: float) -> None:
        """Set the timer of one who holds no doubt.

        None while the driver watches the leader; no wait for one who has nobody to wait for.
        """
        core = self._core
        quiet = not core.is_voter or (core.watched and core.leader is not None)
        if core.is_alone:
            self.deadline = now
        else:
            self.deadline = None if quiet else now + core.election_timeout()

    def heard(self, now: float) -> None:
        """The leader has spoken.

        Shortly after evidence that it is gone this proves nothing: its last messages may have
        been on their way.
        """
        self._heard_at = now
        hold = self._core.config.evidence_delay_max
        if self._suspicion is not Cause.EVIDENCE or now >= self._suspected_at + hold:
            self.relieve(now)

    def relieve(self, now: float) -> None:
        """No doubt is left."""
        self._suspicion = None
        self.rest(now)

    def suspect(self, now: float, cause: Cause, *, soon: bool) -> None:
        """Protect the leader no longer, and arm an election after a short or a long random wait."""
        core, config = self._core, self._core.config
        self._suspicion = cause
        self._suspected_at = now
        if not core.is_voter:
            return
        if soon:
            wait = self._turn_to_stand(config.evidence_delay_min, config.evidence_delay_max)
        else:
            # Heartbeats that are missing are so for one timeout already: this is on top of it.
            wait = self._turn_to_stand(0.0, SPREAD * config.election_timeout)
        self.deadline = min(self.deadline or now + wait, now + wait)

    def _turn_to_stand(self, first: float, last: float) -> float:
        """How long to leave it to others, when all have evidence at about the same time.

        Each voter has a slot of its own, the same in the eyes of all, so that they do not split
        the vote; which one is first differs from group to group and from term to term.
        """
        core = self._core
        others = [one for one in quorum.electorate(core.configuration) if one != core.leader]
        place = (others.index(core.me) + core.salt + core.term) % len(others)
        return first + (last - first) / len(others) * (place + core.rng.random() / 4)

    def voted(self, now: float, *, pre: bool) -> None:
        """A vote was granted: give that candidate time, so as not to split the vote."""
        if self.deadline is None:
            return
        config = self._core.config
        if pre:
            wait = config.evidence_delay_max * (1 + self._core.rng.random())
            self.deadline = max(self.deadline, now + wait)
        else:
            self.deadline = now + self._core.election_timeout()

    def protects_leader(self, now: float) -> bool:
        """Whether a candidate is ignored because the leader seems well (section 6)."""
        core = self._core
        if core.leader is None or self._suspicion is not None or not core.config.check_quorum:
            return False
        return core.watched or now - self._heard_at < core.config.election_timeout

    def tick(self, now: float) -> None:
        """Stand when the time has come."""
        if self.deadline is not None and now >= self.deadline:
            self.deadline = None
            self._core.stand(self._suspicion or Cause.TIMEOUT, now)

    def persisted(self, number: int, now: float) -> None:
        """Nothing waits here: answers are released by their numbers."""

    def reconfigured(self, now: float) -> None:
        """Having a vote decides whether there is a timer."""
        if self._suspicion is None:
            self.rest(now)

    def settle(self, now: float) -> None:
        """Nothing to close."""

    def step(self, sender: str, message: GroupMessage, now: float) -> None:
        """A message of this term."""
        core = self._core
        if isinstance(message, Append | Heartbeat | SnapshotChunk):
            if core.leader not in (None, sender):
                core.refused += 1
                return
            core.leader = sender
            self.heard(now)
        match message:
            case Append():
                self._append(sender, message, now)
            case Heartbeat():
                core.commit_to(min(message.commit, core.log.last), now)
                core.send(sender, HeartbeatReply(core.term, message.context, core.log.committed))
            case SnapshotChunk():
                self._receive(sender, message, now)
            case TimeoutNow():
                core.stand(Cause.TRANSFER, now, transfer=True)
            case _:
                # Answers to a role that this member no longer has.
                pass

    def _append(self, sender: str, message: Append, now: float) -> None:
        """AppendEntries, receiver implementation (figure 2), with hints against slow back-off."""
        core, log = self._core, self._core.log
        if message.previous_index < log.committed:
            reply = AppendReply(core.term, log.committed, commit=log.committed)
        elif log.term(message.previous_index) != message.previous_term:
            hint = log.agree_below(message.previous_index, message.previous_term)
            reply = AppendReply(core.term, message.previous_index, True, *hint, log.committed)
        else:
            conflict = log.conflict(message.entries)
            if conflict is not None:
                core.write(message.entries[conflict.index - message.previous_index - 1 :])
            last = message.previous_index + len(message.entries)
            core.commit_to(min(message.commit, last), now)
            reply = AppendReply(core.term, last, commit=log.committed)
        core.promise(sender, reply)

    def _receive(self, sender: str, chunk: SnapshotChunk, now: float) -> None:
        """InstallSnapshot, receiver implementation (figure 13), resuming where it stopped."""
        core, log = self._core, self._core.log
        if chunk.index > log.committed:
            if not self._collect(chunk):
                received = len(self._incoming.data) if self._incoming else 0
                core.send(sender, SnapshotReply(core.term, chunk.index, received))
                return
            assert self._incoming is not None
            data, self._incoming = bytes(self._incoming.data), None
            if log.term(chunk.index) == chunk.index_term:
                core.commit_to(chunk.index, now)
            else:
                core.restore(
                    Snapshot(chunk.index, chunk.index_term, chunk.configuration, data), now
                )
        core.promise(sender, AppendReply(core.term, log.committed, commit=log.committed))

    def _collect(self, chunk: SnapshotChunk) -> bool:
        """Add a piece; whether the snapshot is whole."""
        incoming = self._incoming
        if incoming is None or (incoming.index, incoming.term) != (chunk.index, chunk.index_term):
            incoming = self._incoming = Incoming(chunk.index, chunk.index_term)
        end = chunk.offset + len(chunk.data)
        if chunk.size > self._core.config.snapshot_bytes_max or end > chunk.size:
            self._core.refused += 1
        elif chunk.offset == len(incoming.data):
            incoming.data += chunk.data
            return end == chunk.size
        return False
