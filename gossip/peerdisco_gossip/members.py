"""The table of members and the order in which claims about them win.

A claim is ordered by (generation, incarnation, state): the generation counts the starts of the
node, the incarnation its objections within one start, and of two claims with equal numbers the
graver one wins. Only the node itself raises its numbers, so it can always outdo an accusation.

This file holds state and answers questions about it; who may change what is in `ledger.py`.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from peerdisco_gossip.limits import BUCKETS, COUNT_MAX, SUM_BYTES
from peerdisco_gossip.messages import Alive, Claim, Dead, Entry, Left, Row, Suspect
from peerdisco_gossip.rosters import Facts, fingerprint
from peerdisco_gossip.suspicion import Suspicion

Address = tuple[str, int]
Precedence = tuple[int, int, int]


class MemberState(enum.IntEnum):
    """What is believed about a member; the greater value is the graver claim."""

    ALIVE = 1
    """It answers."""
    SUSPECT = 2
    """It failed to answer and has a while to object. Nothing should be taken from it yet."""
    DEAD = 3
    """It did not object in time, or said that it stops; it is tried again now and then."""
    LEFT = 4
    """It said that it leaves for good."""


@dataclass(frozen=True, slots=True)
class Member:
    """A node as the membership list sees it.

    Attributes:
        id: Who it is.
        address: Host and port P, for datagrams and peer HTTP alike.
        state: What is believed about it.
        generation: Counts its starts.
        incarnation: Counts its objections within this start.
        metadata: Its own small facts.
        back_by: The local loop's time by which it means to be back; None unless it said so.
    """

    id: str
    address: Address
    state: MemberState
    generation: int
    incarnation: int
    metadata: Mapping[str, bytes]
    back_by: float | None = None


@dataclass(frozen=True, slots=True)
class MemberChanged:
    """A member is new, or differs from before; `previous` is its state then, None when new."""

    member: Member
    previous: MemberState | None


def state_of(claim: Claim) -> MemberState:
    """The state that a claim asserts."""
    match claim:
        case Alive():
            return MemberState.ALIVE
        case Suspect():
            return MemberState.SUSPECT
        case Dead():
            return MemberState.DEAD
        case Left():
            return MemberState.LEFT


def precedence_of(claim: Claim) -> Precedence:
    """The claim's place in the order: the greater wins, equal changes nothing."""
    return (claim.generation, claim.incarnation, state_of(claim))


@dataclass(slots=True)
class Record:
    """What is kept of one member. `suspicion` is set exactly while the state is SUSPECT.

    `fingerprint` is the table's: who writes anything else here tells it (`Members.changed`).
    """

    id: str
    address: Address
    generation: int
    incarnation: int
    state: MemberState
    since: float
    metadata: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    suspicion: Suspicion | None = None
    back_by: float | None = None
    accuser: str = ""
    fingerprint: int = 0

    @property
    def precedence(self) -> Precedence:
        """The place of what is believed in the order of claims."""
        return (self.generation, self.incarnation, self.state)

    @property
    def life(self) -> tuple[int, int]:
        """Its own numbers: which start, and how often it objected since."""
        return (self.generation, self.incarnation)

    @property
    def digest(self) -> int:
        """Sum of the metadata's versions: equal to the member's own when nothing is missing."""
        if not self.metadata:
            return 0
        return sum(version for version, _ in self.metadata.values()) & COUNT_MAX

    @property
    def is_present(self) -> bool:
        """Whether it takes part: ALIVE or SUSPECT."""
        return self.state <= MemberState.SUSPECT

    def snapshot(self) -> Member:
        """The frozen view that leaves the core."""
        metadata = {key: value for key, (_, value) in sorted(self.metadata.items())}
        return Member(
            self.id,
            self.address,
            self.state,
            self.generation,
            self.incarnation,
            MappingProxyType(metadata),
            self.back_by,
        )

    def claim(self) -> Claim:
        """What is believed, as something that can be told to others."""
        match self.state:
            case MemberState.ALIVE:
                return Alive(self.id, self.generation, self.incarnation, *self.address)
            case MemberState.SUSPECT:
                return Suspect(self.id, self.generation, self.incarnation, self.accuser)
            case MemberState.DEAD:
                return Dead(self.id, self.generation, self.incarnation, self.accuser)
            case MemberState.LEFT:
                return Left(self.id, self.generation, self.incarnation)

    def news(self) -> tuple[Claim, ...]:
        """What it must hear about itself first of all (Lifeguard's buddy system, IV.C)."""
        return () if self.state == MemberState.ALIVE else (self.claim(),)

    def row(self, now: float) -> Row:
        """What is believed, as a row of a roster."""
        entries = sorted(self.metadata.items())
        return Row(
            self.id,
            self.generation,
            self.incarnation,
            int(self.state),
            *self.address,
            back_in_s=max(0.0, self.back_by - now) if self.back_by is not None else 0.0,
            metadata=tuple(Entry(key, version, value) for key, (version, value) in entries),
            absent_s=0.0 if self.is_present else max(0.0, now - self.since),
        )

    def facts(self) -> Facts:
        """All that takes part when two views are compared."""
        metadata = tuple(sorted(self.metadata.items())) if self.metadata else ()
        state = int(self.state)
        return (self.id, self.generation, self.incarnation, state, *self.address, metadata)


_SCANNED_MAX = 32
_TRIES_PER_MEMBER = 4


class Members:
    """All records by id, with those who take part counted and those who do not in reach."""

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}
        self._list: list[Record] = []
        self._absent: dict[str, None] = {}
        self._suspects: dict[str, None] = {}
        self._sums = dict.fromkeys(BUCKETS, 0)

    def __len__(self) -> int:
        return len(self._records)

    def get(self, node_id: str) -> Record | None:
        """The record, or None when nothing is known."""
        return self._records.get(node_id)

    def add(self, record: Record) -> None:
        """Remember somebody new."""
        assert record.id not in self._records
        self._records[record.id] = record
        self._list.append(record)
        self.changed(record)

    def changed(self, record: Record) -> None:
        """Bring counts and sums up to date; to be called whenever a record was written."""
        before, record.fingerprint = record.fingerprint, fingerprint(record.facts())
        self._sums[record.id[0]] ^= before ^ record.fingerprint
        _file(self._absent, record.id, belongs=not record.is_present)
        _file(self._suspects, record.id, belongs=record.state == MemberState.SUSPECT)

    def forget(self, node_id: str) -> None:
        """Drop a record."""
        record = self._records.pop(node_id)
        self._list.remove(record)
        self._sums[node_id[0]] ^= record.fingerprint
        self._absent.pop(node_id, None)
        self._suspects.pop(node_id, None)

    @property
    def present_count(self) -> int:
        """How many are ALIVE or SUSPECT."""
        return len(self._records) - len(self._absent)

    def all(self) -> list[Record]:
        """Every record, in the order in which they were learned."""
        return list(self._list)

    def present(self) -> list[Record]:
        """Those who take part."""
        return [record for record in self._list if record.is_present]

    def sample(
        self, count: int, fits: Callable[[Record], bool], rng: random.Random
    ) -> list[Record]:
        """That many different members that fit, or all who do, in random order.

        In a big cluster a few looks suffice; only where few members fit is everybody looked at.
        """
        chosen: dict[str, Record] = {}
        if len(self._list) > _SCANNED_MAX:
            for _ in range(_TRIES_PER_MEMBER * count):
                record = self._list[rng.randrange(len(self._list))]
                if fits(record):
                    chosen[record.id] = record
                    if len(chosen) == count:
                        return list(chosen.values())
        fitting = [record for record in self._list if fits(record)]
        return rng.sample(fitting, min(count, len(fitting)))

    def absent(self) -> list[Record]:
        """The dead and those who left."""
        return [self._records[node_id] for node_id in self._absent]

    @property
    def has_suspects(self) -> bool:
        """Whether anybody is under suspicion."""
        return bool(self._suspects)

    def suspects(self) -> list[Record]:
        """Those under suspicion."""
        return [self._records[node_id] for node_id in self._suspects]

    def sums(self) -> bytes:
        """What the views of two nodes are compared by: see `rosters.py`."""
        return b"".join(number.to_bytes(SUM_BYTES, "big") for number in self._sums.values())


def _file(index: dict[str, None], node_id: str, *, belongs: bool) -> None:
    if belongs:
        index[node_id] = None
    else:
        index.pop(node_id, None)
