"""Who is alive, by node and for all groups at once: the node-pair heartbeat as a pure core.

A node that leads any group with a peer as a member sends that peer one `Beat` an interval, with a
digest of all it leads towards it. The peer compares the digest with what it follows and answers.
Disagreement makes the leader's node send the full list, `Leading`, on the ordered link; whatever
was lost, the two views meet again. Two silences matter, each of one election timeout:

- no *beat* from a node that this one follows: its groups are suspected (other messages from that
  node say nothing about what it leads);
- *nothing at all* from a node that this one leads towards: it counts no more for the quorum.

Knows no groups; `groups.py` tells it who leads and follows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b

from peerdisco_election.config import RaftConfig
from peerdisco_election.messages import Beat, BeatReply


def digest(groups: Iterable[tuple[str, int]]) -> int:
    """A short name for a set of (group, term), whatever its order."""
    total = 0
    for group, term in groups:
        total ^= _hash(group, term)
    return total


def _hash(group: str, term: int) -> int:
    hashed = blake2b(f"{term} {group}".encode(), digest_size=8).digest()
    # Within the bounds of every number on the wire.
    return int.from_bytes(hashed) >> 2


@dataclass(slots=True)
class Side:
    """Groups that one of a pair leads towards the other, with a digest that is kept up to date."""

    groups: dict[str, int] = field(default_factory=dict)
    digest: int = 0

    def add(self, group: str, hashed: int) -> None:
        """The group belongs here now."""
        self.groups[group] = hashed
        self.digest ^= hashed

    def remove(self, group: str) -> None:
        """It does not any more."""
        self.digest ^= self.groups.pop(group)


@dataclass(slots=True)
class Pair:
    """What this node knows of the life of one other.

    Attributes:
        heard_at: When anything was last received from it.
        beat_at: When its last agreeing beat, or its last leadership, was seen.
        doubted_at: When evidence against it last came; None when it was withdrawn.
        generation: Of its latest beat.
        led: What this node leads towards it: beats are due while there is any.
        followed: What it leads towards this node: its beats are expected while there is any.
        silent: It was reported as not heard.
        missed_at: When its beats were last reported as missing; None when they are not.
        unanswered: It has not answered the latest beat.
    """

    heard_at: float
    beat_at: float
    doubted_at: float | None = None
    generation: int = 0
    led: Side = field(default_factory=Side)
    followed: Side = field(default_factory=Side)
    silent: bool = False
    missed_at: float | None = None
    unanswered: bool = False

    @property
    def missing_since(self) -> float:
        """The last agreeing beat, or the last report that there is none."""
        return self.beat_at if self.missed_at is None else self.missed_at


@dataclass(frozen=True, slots=True)
class View:
    """What this node does in one group.

    Attributes:
        term: The group's.
        led: The other members, when this node leads.
        followed: The leader, when another one is known to.
    """

    term: int
    led: tuple[str, ...] = ()
    followed: str | None = None


@dataclass(frozen=True, slots=True)
class Due:
    """What `tick` found.

    Attributes:
        beats: Peers that are to be sent a beat, and whether it should go over the link too.
        silent: Peers that have not been heard for an election timeout.
        missing: Peers whose beats have been missing for an election timeout.
    """

    beats: tuple[tuple[str, bool], ...] = ()
    silent: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


class Pairs:
    """All pairs of this node."""

    def __init__(self, generation: int, config: RaftConfig) -> None:
        self._generation = generation
        self._config = config
        self._pairs: dict[str, Pair] = {}
        self._views: dict[str, View] = {}
        self._number = 0
        self._beat_at: float | None = None

    def see(self, group: str, view: View | None, now: float) -> list[str]:
        """This node's part in a group has changed; None when the group is gone.

        Returns the peers that it leads now and that were reported as silent before.
        """
        old = self._views.get(group)
        if old == view:
            return []
        if old is not None:
            self._forget(group, old)
        if view is None:
            self._views.pop(group, None)
        else:
            self._views[group] = view
            self._add(group, view, now)
        touched = [*(old.led if old else ()), *([old.followed] if old and old.followed else [])]
        for peer in touched:
            pair = self._pairs.get(peer)
            if pair is not None and not (pair.led.groups or pair.followed.groups):
                del self._pairs[peer]
        if not any(pair.led.groups for pair in self._pairs.values()):
            self._beat_at = None
        elif self._beat_at is None:
            self._beat_at = now
        return [peer for peer in (view.led if view else ()) if self._pairs[peer].silent]

    def led_with(self, peer: str) -> list[str]:
        """The groups that this node leads with the peer as a member."""
        pair = self._pairs.get(peer)
        return [*pair.led.groups] if pair else []

    def led_by(self, peer: str) -> list[str]:
        """The groups in which this node follows the peer."""
        pair = self._pairs.get(peer)
        return [*pair.followed.groups] if pair else []

    def _forget(self, group: str, view: View) -> None:
        for peer in view.led:
            self._pairs[peer].led.remove(group)
        if view.followed is not None:
            self._pairs[view.followed].followed.remove(group)

    def _add(self, group: str, view: View, now: float) -> None:
        hashed = _hash(group, view.term)
        for peer in view.led:
            pair = self._pairs.setdefault(peer, Pair(now, now))
            if not pair.led.groups:
                pair.heard_at, pair.silent = now, False
            pair.led.add(group, hashed)
        if view.followed is not None:
            pair = self._pairs.setdefault(view.followed, Pair(now, now))
            if not pair.followed.groups:
                pair.beat_at, pair.missed_at = now, None
            pair.followed.add(group, hashed)

    @property
    def deadline(self) -> float | None:
        """When `tick` is due."""
        patience = self._config.election_timeout
        times = [] if self._beat_at is None else [self._beat_at]
        for pair in self._pairs.values():
            if pair.led.groups and not pair.silent:
                times.append(pair.heard_at + patience)
            if pair.followed.groups:
                times.append(pair.missing_since + patience)
        return min(times, default=None)

    def tick(self, now: float) -> Due:
        """Time has passed: whom to send a beat, and who has become silent."""
        patience = self._config.election_timeout
        silent, missing = [], []
        for peer, pair in self._pairs.items():
            if pair.led.groups and not pair.silent and now >= pair.heard_at + patience:
                pair.silent = True
                silent.append(peer)
            if pair.followed.groups and now >= pair.missing_since + patience:
                # Again and again: a group may have been reassured by a last message of its own.
                pair.missed_at = now
                missing.append(peer)
        return Due(self._due_beats(now), tuple(silent), tuple(missing))

    def stalled(self, seconds: float) -> None:
        """This node itself did nothing for so long: what it did not hear proves nothing."""
        for pair in self._pairs.values():
            pair.heard_at += seconds
            pair.beat_at += seconds

    def beat(self, peer: str) -> Beat:
        """The beat for a peer."""
        pair = self._pairs[peer]
        return Beat(self._generation, self._number, pair.led.digest)

    def answered(self, peer: str, reply: BeatReply) -> bool:
        """A beat was answered: whether the two agree."""
        pair = self._pairs.get(peer)
        if pair is not None and reply.number == self._number:
            pair.unanswered = False
        return reply.agreed

    def heard(self, peer: str, now: float) -> bool:
        """Something was received from the peer. True when it had been reported as silent."""
        pair = self._pairs.get(peer)
        if pair is None:
            return False
        pair.heard_at = now
        was_silent, pair.silent = pair.silent, False
        return was_silent

    def beaten(self, peer: str, beat: Beat, now: float) -> tuple[BeatReply, bool]:
        """A beat was received: the answer, and whether doubts about the peer are withdrawn.

        Only agreement proves anything: a peer that leads less than is believed must not be
        trusted, however lively it is.
        """
        pair = self._pairs.get(peer)
        if pair is None:
            return BeatReply(beat.number, beat.digest == 0), False
        agreed = beat.digest == pair.followed.digest and pair.generation in (0, beat.generation)
        pair.generation = beat.generation
        return BeatReply(beat.number, agreed), agreed and self._withdraw(pair, now)

    def listed(self, peer: str, generation: int, now: float) -> bool:
        """The full exchange was received: whether doubts about the peer are withdrawn."""
        pair = self._pairs.get(peer)
        if pair is None:
            return False
        pair.generation = generation
        return self._withdraw(pair, now)

    def doubt(self, peer: str, now: float) -> None:
        """There is evidence that the peer is gone."""
        pair = self._pairs.get(peer)
        if pair is not None:
            pair.doubted_at = now

    def trust(self, peer: str, now: float) -> None:
        """The evidence has been withdrawn: wait for its beats once more."""
        pair = self._pairs.get(peer)
        if pair is not None:
            pair.beat_at, pair.missed_at, pair.doubted_at = now, None, None

    def _withdraw(self, pair: Pair, now: float) -> bool:
        # A dead node's last beat may still be on its way: shortly after evidence it proves nothing.
        hold = self._config.evidence_delay_max
        if pair.doubted_at is not None and now < pair.doubted_at + hold:
            return False
        withdrawn = pair.missed_at is not None or pair.doubted_at is not None
        pair.beat_at, pair.missed_at, pair.doubted_at = now, None, None
        return withdrawn

    def _due_beats(self, now: float) -> tuple[tuple[str, bool], ...]:
        if self._beat_at is None or now < self._beat_at:
            return ()
        self._beat_at = now + self._config.heartbeat_interval
        self._number += 1
        beats = []
        for peer, pair in self._pairs.items():
            if pair.led.groups:
                # After an unanswered one the link has to do, whatever else is heard of the peer:
                # lost datagrams must cost nothing.
                beats.append((peer, pair.unanswered))
                pair.unanswered = True
        return tuple(beats)
