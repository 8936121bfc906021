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
from dataclasses import dataclass
from hashlib import blake2b

from peerdisco_election.config import RaftConfig
from peerdisco_election.messages import Beat, BeatReply


def digest(groups: Iterable[tuple[str, int]]) -> int:
    """A short name for a set of (group, term), whatever its order."""
    total = 0
    for group, term in groups:
        hashed = blake2b(f"{term} {group}".encode(), digest_size=8).digest()
        total ^= int.from_bytes(hashed)
    # Within the bounds of every number on the wire.
    return total >> 2


@dataclass(slots=True)
class Pair:
    """What this node knows of the life of one other.

    Attributes:
        heard_at: When anything was last received from it.
        beat_at: When its last beat, or its last leadership, was seen.
        doubted_at: When evidence against it last came; None when it was withdrawn.
        generation: Of its latest beat.
        leading: This node leads towards it: beats are due.
        following: It leads towards this node: its beats are expected.
        silent: It was reported as not heard.
        missed: Its beats were reported as missing.
        led_digest: Of what this node leads towards it.
        followed_digest: Of what this node follows it in.
    """

    heard_at: float
    beat_at: float
    doubted_at: float | None = None
    generation: int = 0
    leading: bool = False
    following: bool = False
    silent: bool = False
    missed: bool = False
    led_digest: int = 0
    followed_digest: int = 0


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
        self._number = 0
        self._beat_at: float | None = None

    def update(
        self,
        led: dict[str, list[tuple[str, int]]],
        followed: dict[str, list[tuple[str, int]]],
        now: float,
    ) -> None:
        """What this node leads and follows has changed, by peer."""
        for peer in sorted({*led, *followed, *self._pairs}):
            pair = self._pairs.get(peer)
            if pair is None:
                pair = self._pairs[peer] = Pair(now, now)
            if peer in led and not pair.leading:
                pair.heard_at, pair.silent = now, False
            if peer in followed and not pair.following:
                pair.beat_at, pair.missed = now, False
            pair.leading, pair.following = peer in led, peer in followed
            pair.led_digest = digest(led.get(peer, ()))
            pair.followed_digest = digest(followed.get(peer, ()))
            if not (pair.leading or pair.following):
                del self._pairs[peer]
        if not led:
            self._beat_at = None
        elif self._beat_at is None:
            self._beat_at = now

    @property
    def deadline(self) -> float | None:
        """When `tick` is due."""
        patience = self._config.election_timeout
        times = [] if self._beat_at is None else [self._beat_at]
        for pair in self._pairs.values():
            if pair.leading and not pair.silent:
                times.append(pair.heard_at + patience)
            if pair.following and not pair.missed:
                times.append(pair.beat_at + patience)
        return min(times, default=None)

    def tick(self, now: float) -> Due:
        """Time has passed: whom to send a beat, and who has become silent."""
        patience = self._config.election_timeout
        silent, missing = [], []
        for peer, pair in self._pairs.items():
            if pair.leading and not pair.silent and now >= pair.heard_at + patience:
                pair.silent = True
                silent.append(peer)
            if pair.following and not pair.missed and now >= pair.beat_at + patience:
                pair.missed = True
                missing.append(peer)
        return Due(self._due_beats(now), tuple(silent), tuple(missing))

    def silent(self) -> list[str]:
        """Peers that this node leads towards and has reported as silent."""
        return [peer for peer, pair in self._pairs.items() if pair.leading and pair.silent]

    def beat(self, peer: str) -> Beat:
        """The beat for a peer."""
        pair = self._pairs[peer]
        return Beat(self._generation, self._number, pair.led_digest)

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
        agreed = beat.digest == pair.followed_digest and pair.generation in (0, beat.generation)
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
            pair.beat_at, pair.missed, pair.doubted_at = now, False, None

    def _withdraw(self, pair: Pair, now: float) -> bool:
        # A dead node's last beat may still be on its way: shortly after evidence it proves nothing.
        hold = self._config.evidence_delay_max
        if pair.doubted_at is not None and now < pair.doubted_at + hold:
            return False
        withdrawn = pair.missed or pair.doubted_at is not None
        pair.beat_at, pair.missed, pair.doubted_at = now, False, None
        return withdrawn

    def _due_beats(self, now: float) -> tuple[tuple[str, bool], ...]:
        if self._beat_at is None or now < self._beat_at:
            return ()
        interval = self._config.heartbeat_interval
        self._beat_at = now + interval
        self._number += 1
        return tuple(
            # Unanswered datagrams may be blocked for good: then the link has to do.
            (peer, now - pair.heard_at > 2 * interval)
            for peer, pair in self._pairs.items()
            if pair.leading
        )
