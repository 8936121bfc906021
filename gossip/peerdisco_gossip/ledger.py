"""The merge rule: which claims are believed, what follows from them, and how one objects.

Every change of a member goes through here: rumours, the node's own probes, full rosters. A claim
that is newer in the order of `members.py` is believed and told on; an equal or older one changes
nothing, so rumours die out. A claim against this node itself is answered by a higher incarnation.

Believing is safe by order rather than by trust: whatever a relay says about a node, that node can
outdo by raising its own numbers. See the README for what a malicious insider can still do.
"""

from __future__ import annotations

import math
from typing import Final, assert_never

from msgspec.structs import replace

from peerdisco_gossip import suspicion
from peerdisco_gossip.awareness import Awareness
from peerdisco_gossip.broadcast import BroadcastQueue
from peerdisco_gossip.config import GossipConfig
from peerdisco_gossip.limits import (
    COUNT_MAX,
    INCARNATION_JUMP_MAX,
    METADATA_KEY_BYTES_MAX,
    METADATA_KEYS_MAX,
    METADATA_VALUE_BYTES_MAX,
)
from peerdisco_gossip.members import (
    Address,
    MemberChanged,
    Members,
    MemberState,
    Record,
    precedence_of,
    state_of,
)
from peerdisco_gossip.messages import (
    Alive,
    Claim,
    Dead,
    Entry,
    Left,
    Metadata,
    Roster,
    Row,
    Suspect,
    Update,
)
from peerdisco_gossip.outbox import Outbox

STATS: Final = (
    "refuted",
    "implausible",
    "members_refused",
    "metadata_refused",
    "suspected",
    "declared_dead",
    "adopted_generation",
)


class Ledger:
    """What is believed about everybody. `me` is the record of this node, never suspect or dead."""

    def __init__(
        self,
        me: Record,
        members: Members,
        queue: BroadcastQueue,
        outbox: Outbox,
        awareness: Awareness,
        config: GossipConfig,
    ) -> None:
        self.me = me
        self.members = members
        self._queue = queue
        self._outbox = outbox
        self._awareness = awareness
        self._config = config
        self.is_leaving = False
        self.stats = dict.fromkeys(STATS, 0)
        self.revived: Address | None = None
        members.add(me)
        queue.put(me.claim())

    # -- what others say

    def apply(self, update: Update, now: float) -> None:
        """Believe an update if it is news."""
        match update:
            case Metadata():
                self._apply_metadata(update)
            case Alive() | Suspect() | Dead() | Left():
                self._apply_claim(update, now)
            case _:
                assert_never(update)

    def _apply_claim(self, claim: Claim, now: float) -> None:
        if claim.id == self.me.id:
            self._answer_claim_about_me(claim)
            return
        record = self.members.get(claim.id)
        if record is None:
            self._admit(claim, now)
        elif not _is_plausible(claim, record):
            self.stats["implausible"] += 1
        elif isinstance(claim, Suspect) and claim.generation > record.generation:
            pass  # its new life is unknown here, address included: others have to judge it
        elif precedence_of(claim) > record.precedence:
            self._believe(claim, record, now)
            self._queue.put(claim)
        elif isinstance(claim, Suspect) and precedence_of(claim) == record.precedence:
            assert record.suspicion is not None
            if record.suspicion.confirm(claim.by):
                self._queue.put(claim)  # each independent accuser is worth telling (Lifeguard)

    def _admit(self, claim: Claim, now: float) -> None:
        if not isinstance(claim, Alive):
            return  # without an address there is nothing to remember
        if self._add(_new_record(claim, MemberState.ALIVE, now)):
            self._queue.put(claim)

    def _add(self, record: Record) -> bool:
        if len(self.members) >= self._config.members_max:
            self.stats["members_refused"] += 1
            return False
        self.members.add(record)
        self._outbox.changed(MemberChanged(record.snapshot(), None))
        return True

    def _believe(self, claim: Claim, record: Record, now: float) -> None:
        """Write a winning claim into the record. The only place where a state changes."""
        before = (record.state, record.generation, record.address)
        if claim.generation > record.generation:
            record.metadata = {}  # facts of an earlier life
        record.generation = claim.generation
        record.incarnation = claim.incarnation
        record.state = state_of(claim)
        record.since = now
        record.back_by = None
        record.suspicion = None
        record.accuser = ""
        match claim:
            case Alive():
                record.address = (claim.host, claim.port)
            case Suspect():
                record.accuser = claim.by
                present = self.members.present_count
                record.suspicion = suspicion.begin(claim.by, present, self._config, now)
            case Dead():
                record.accuser = claim.by
                if claim.by == claim.id and claim.back_in_s > 0:
                    record.back_by = now + claim.back_in_s
            case Left():
                pass
            case _:
                assert_never(claim)
        self.members.changed(record)
        if before[0] >= MemberState.DEAD and record.is_present:
            self.revived = record.address  # a partition may have healed: compare all we know
        if before != (record.state, record.generation, record.address):
            self._outbox.changed(MemberChanged(record.snapshot(), before[0]))

    # -- what others say about this node

    def _answer_claim_about_me(self, claim: Claim) -> None:
        """Outdo whatever is claimed with our numbers or higher ones, except our own words."""
        if self.is_leaving or self.is_outdone(claim):
            return
        if claim == self.me.claim():
            return
        if claim.generation == self.me.generation and not _is_plausible(claim, self.me):
            self.stats["implausible"] += 1
            return
        if claim.generation > self.me.generation:
            # Our data directory is an old copy: the cluster knows a later life of ours.
            self.stats["adopted_generation"] += 1
        if not isinstance(claim, Alive):
            self._awareness.worsen()
        self._raise_incarnation(claim.generation, claim.incarnation)
        self.stats["refuted"] += 1
        self._queue.put(self.me.claim())

    def is_outdone(self, update: Update) -> bool:
        """Whether this claims something about this node that it has contradicted since."""
        return (
            not isinstance(update, Metadata)
            and update.id == self.me.id
            and precedence_of(update) < self.me.precedence
        )

    def _raise_incarnation(self, generation: int, incarnation: int) -> None:
        """Speak with numbers above these. Past the last incarnation comes the next generation."""
        if generation > self.me.generation:
            for fact in self.own_metadata():
                self._queue.put(replace(fact, generation=generation))
        if incarnation < COUNT_MAX:
            self.me.generation, self.me.incarnation = generation, incarnation + 1
        else:
            self.me.generation, self.me.incarnation = min(generation + 1, COUNT_MAX), 0
        self.members.changed(self.me)

    # -- what this node finds out and says

    def suspect(self, record: Record, now: float, *, due_by: float = math.inf) -> None:
        """Our own probes of a member failed; `due_by` ends the suspicion earlier."""
        if not record.is_present:
            return
        claim = Suspect(record.id, record.generation, record.incarnation, self.me.id)
        if record.state == MemberState.ALIVE:
            self.stats["suspected"] += 1
        self._apply_claim(claim, now)
        assert record.suspicion is not None
        record.suspicion.hasten(due_by)

    def declare_overdue_dead(self, now: float) -> None:
        """End the suspicions whose time is up."""
        for record in self.members.suspects():
            assert record.suspicion is not None
            if record.suspicion.deadline <= now:
                self.stats["declared_dead"] += 1
                claim = Dead(record.id, record.generation, record.incarnation, self.me.id)
                self._apply_claim(claim, now)

    def depart(self, now: float, back_in_s: float | None) -> Claim:
        """Say that this node leaves for good, or stops and means to be back; no return."""
        if not self.is_leaving:
            self.is_leaving = True
            self._raise_incarnation(self.me.generation, self.me.incarnation)
            me = self.me
            claim: Claim = Left(me.id, me.generation, me.incarnation)
            if back_in_s is not None:
                claim = Dead(me.id, me.generation, me.incarnation, me.id, back_in_s)
            self._believe(claim, me, now)
            self._queue.put(claim)
        return self.me.claim()

    def forget_old(self, now: float) -> None:
        """Drop the dead and those who left after `remember_s`."""
        for record in self.members.absent():
            if record is not self.me and now - record.since > self._config.remember_s:
                self.members.forget(record.id)

    # -- metadata

    def set_metadata(self, key: str, value: bytes) -> None:
        """Change one of this node's own facts and tell everybody.

        Raises ValueError, and changes nothing, when it exceeds the limits of `limits.py`.
        """
        if not 0 < len(key) <= METADATA_KEY_BYTES_MAX or len(value) > METADATA_VALUE_BYTES_MAX:
            raise ValueError(f"metadata {key!r} of {len(value)} bytes is out of bounds")
        known = self.me.metadata.get(key)
        if known is not None and known[1] == value:
            return
        if known is None and len(self.me.metadata) >= METADATA_KEYS_MAX:
            raise ValueError(f"a node has at most {METADATA_KEYS_MAX} keys of metadata")
        self._write_metadata(key, value, self._last_version(self.me) + 1)

    def _write_metadata(self, key: str, value: bytes, version: int) -> None:
        self.me.metadata[key] = (version, value)
        self.members.changed(self.me)
        self._queue.put(Metadata(self.me.id, self.me.generation, version, key, value))
        self._outbox.changed(MemberChanged(self.me.snapshot(), self.me.state))

    def own_metadata(self) -> list[Metadata]:
        """All of this node's facts, as updates."""
        return [
            Metadata(self.me.id, self.me.generation, version, key, value)
            for key, (version, value) in sorted(self.me.metadata.items())
        ]

    def _apply_metadata(self, update: Metadata) -> None:
        record = self.members.get(update.id)
        if record is None or update.generation != record.generation:
            return  # the member's own answer to a ping brings it again
        known = record.metadata.get(update.key)
        if known is not None and known[0] >= update.version:
            return
        if known is None and len(record.metadata) >= METADATA_KEYS_MAX:
            self.stats["metadata_refused"] += 1
        elif record is self.me:
            self._reassert_metadata(update)
        else:
            record.metadata[update.key] = (update.version, update.value)
            self.members.changed(record)
            self._queue.put(update)
            self._outbox.changed(MemberChanged(record.snapshot(), record.state))

    def _reassert_metadata(self, update: Metadata) -> None:
        """Somebody speaks of a fact of ours that we do not know: our word stands."""
        mine = self.me.metadata.get(update.key)
        if mine is not None:
            version = max(update.version, self._last_version(self.me)) + 1
            self._write_metadata(update.key, mine[1], min(version, COUNT_MAX))

    @staticmethod
    def _last_version(record: Record) -> int:
        return max((version for version, _ in record.metadata.values()), default=0)

    # -- rosters

    def roster(self, now: float) -> Roster:
        """Everything we know, for a push-pull."""
        return Roster(self.me.id, self._rows(self.members.all(), now))

    def roster_of(self, buckets: str, now: float) -> Roster:
        """What we know of the members in some buckets."""
        records = [record for record in self.members.all() if record.id[0] in buckets]
        return Roster(self.me.id, self._rows(records, now), buckets=buckets)

    @staticmethod
    def _rows(records: list[Record], now: float) -> tuple[Row, ...]:
        return tuple(record.row(now) for record in records)

    def merge(self, roster: Roster, now: float) -> None:
        """Believe what is news in somebody's roster."""
        for row in roster.rows:
            self._merge_row(row, roster.sender, now)

    def _merge_row(self, row: Row, sender: str, now: float) -> None:
        state = MemberState(row.state)
        alive = Alive(row.id, row.generation, row.incarnation, row.host, row.port)
        record = self.members.get(row.id)
        if record is None and state >= MemberState.DEAD:
            self._remember_absent(alive, row, sender, now)
        else:
            # What it once said itself comes first: only that holds its address.
            self._apply_claim(alive, now)
            record = self.members.get(row.id)
        if state != MemberState.ALIVE and record is not None:
            self._apply_claim(_second_hand(row, state, record, sender), now)
        for entry in row.metadata:
            self._apply_metadata(_as_update(row, entry))

    def _remember_absent(self, alive: Alive, row: Row, sender: str, now: float) -> None:
        """Somebody whom we never met died or left: known, so that it is retried or stays out.

        Or somebody whom we have forgotten, and the sender has not yet: it counts from the same
        day, or each would remind the other for ever.
        """
        if row.absent_s > self._config.remember_s:
            return
        record = _new_record(alive, MemberState(row.state), now - row.absent_s)
        record.accuser = sender
        record.back_by = now + row.back_in_s if row.back_in_s > 0 else None
        self._add(record)


def _new_record(alive: Alive, state: MemberState, now: float) -> Record:
    address = (alive.host, alive.port)
    return Record(alive.id, address, alive.generation, alive.incarnation, state, now)


def _second_hand(row: Row, state: MemberState, record: Record, sender: str) -> Claim:
    """A roster's opinion as a claim: death that we did not see is at first only a suspicion."""
    if state == MemberState.LEFT:
        return Left(row.id, row.generation, row.incarnation)
    if state == MemberState.DEAD and row.back_in_s > 0:
        return Dead(row.id, row.generation, row.incarnation, row.id, row.back_in_s)
    if state == MemberState.DEAD and not record.is_present:
        return Dead(row.id, row.generation, row.incarnation, sender)
    return Suspect(row.id, row.generation, row.incarnation, sender)


def _as_update(row: Row, entry: Entry) -> Metadata:
    return Metadata(row.id, row.generation, entry.version, entry.key, entry.value)


def _is_plausible(claim: Claim, record: Record) -> bool:
    """Whether a claim's incarnation is within reach of what is known of the same generation."""
    if claim.generation != record.generation:
        return True
    return claim.incarnation <= record.incarnation + INCARNATION_JUMP_MAX
