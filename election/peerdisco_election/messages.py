"""What Raft says between nodes and writes to disk.

Every value is a frozen Struct carried as CBOR arrays: append fields with a default, never reorder
them. `encode` and `decode` are the only way in and out, and the only error is `BadMessage`.

Messages name neither their sender, whom the link has authenticated, nor their group, which the
`Envelope` carries. The rules that give them meaning are in `core.py` and the three roles.
"""

from __future__ import annotations

import enum
from typing import Annotated, TypeVar

import cbor2
import msgspec

T = TypeVar("T")

Count = Annotated[int, msgspec.Meta(ge=0, lt=2**62)]
"""An index, a term or a length: never negative, and far from any overflow."""


class BadMessage(ValueError):
    """Bytes that are not the message they should be. Nothing was changed."""


def encode(message: object) -> bytes:
    """The CBOR bytes of a message."""
    return cbor2.dumps(msgspec.to_builtins(message, builtin_types=(bytes,)))


def decode(data: bytes, kind: type[T]) -> T:
    """The message of the given kind in CBOR bytes; raises BadMessage for anything else."""
    try:
        return msgspec.convert(cbor2.loads(data), kind, builtin_types=(bytes,))
    except (msgspec.ValidationError, cbor2.CBORDecodeError, ValueError, RecursionError) as error:
        raise BadMessage(f"not a {getattr(kind, '__name__', kind)}: {error}") from None


class Message(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=False):
    """Base of everything below."""


class EntryKind(enum.IntEnum):
    """What an entry of the log is for."""

    COMMAND = 0
    """Input of the state machine."""
    EMPTY = 1
    """A new leader's first entry (paper, section 8): commits what its predecessors left."""
    CONFIGURATION = 2
    """An encoded `Configuration`."""


class Entry(Message, frozen=True, array_like=True):
    """One place of the log.

    Attributes:
        index: Its position, from 1.
        term: Of the leader that created it; index and term together name it for ever.
        kind: What it is for.
        data: The command, the encoded configuration, or nothing.
    """

    index: Count
    term: Count
    kind: EntryKind
    data: bytes


class Configuration(Message, frozen=True, array_like=True):
    """Who belongs to a group (paper, section 6).

    Attributes:
        voters: Who votes and counts. Sorted and distinct.
        outgoing: While joint, the voters that are being replaced; else empty.
        learners: Who receives the log but never counts.
    """

    voters: tuple[str, ...]
    outgoing: tuple[str, ...] = ()
    learners: tuple[str, ...] = ()


class HardState(Message, frozen=True, array_like=True):
    """What a node must not forget.

    Attributes:
        term: The latest term it has seen.
        vote: Whom it voted for in that term.
        commit: Known to be committed when this was written. It always travels to disk together
            with the entries of the same message: see "Membership" in the README for why.
    """

    term: Count = 0
    vote: str | None = None
    commit: Count = 0


class Snapshot(Message, frozen=True, array_like=True):
    """The state machine and the configuration after an entry was applied.

    Attributes:
        index: The last entry that it contains.
        term: That entry's term.
        configuration: In force after that entry.
        data: Whatever the state machine wrote.
    """

    index: Count
    term: Count
    configuration: Configuration
    data: bytes


class Descriptor(Message, frozen=True, array_like=True):
    """A group as it was when this node joined it.

    Attributes:
        name: The group's.
        configuration: Before entry 1.
        era: How often the group was recovered by force; see `recovery.py`.
        floor: Index and term of an entry that was committed already; zeros for a new group.
    """

    name: str
    configuration: Configuration
    era: Count = 0
    floor: tuple[Count, Count] = (0, 0)


class Recovery(Message, frozen=True, array_like=True):
    """A recovery by force, for the record.

    Attributes:
        era: That it began.
        index: The last entry that was kept.
        term: That entry's term.
        committed: Up to here entries were known to be committed before.
        lost: The members that were given up.
    """

    era: Count
    index: Count
    term: Count
    committed: Count
    lost: tuple[str, ...]


class VoteRequest(Message, frozen=True, array_like=True, tag="vote?"):
    """A candidate asks for a vote (section 5.2), or whether it would get one (pre-vote, 9.6).

    Attributes:
        term: The term that the candidate stands for; when `pre`, the one it would stand for.
        last_index: Index of its last entry.
        last_term: Term of its last entry.
        pre: Nothing is promised by the answer.
        transfer: The leader wishes it, so voters do not protect the leader.
        commit: The candidate's commit index.
        commit_term: The term of that entry; 0 when it is folded away.
    """

    term: Count
    last_index: Count
    last_term: Count
    pre: bool = False
    transfer: bool = False
    commit: Count = 0
    commit_term: Count = 0


class VoteReply(Message, frozen=True, array_like=True, tag="vote"):
    """The answer; a granted pre-vote repeats the requested term, all else has the voter's own.

    Like the request it tells a commit index: two members that see different configurations could
    otherwise refuse each other for ever, the removed one for its longer log.
    """

    term: Count
    granted: bool
    pre: bool = False
    commit: Count = 0
    commit_term: Count = 0


class Append(Message, frozen=True, array_like=True, tag="append"):
    """The leader's entries after a given one (section 5.3).

    Attributes:
        term: The leader's.
        previous_index: The entry before the first of `entries`.
        previous_term: Its term.
        commit: The leader's commit index.
        entries: Consecutive; may be empty, to probe or to tell `commit`.
    """

    term: Count
    previous_index: Count
    previous_term: Count
    commit: Count
    entries: tuple[Entry, ...] = ()


class AppendReply(Message, frozen=True, array_like=True, tag="appended"):
    """How far the follower's durable log agrees with the leader's.

    Attributes:
        term: The follower's.
        index: Agreed up to here; when rejected, the `previous_index` that did not match.
        rejected: The follower has no such previous entry.
        hint_index: When rejected: the two logs cannot agree beyond this index.
        hint_term: The follower's term at `hint_index`; 0 when unknown.
        commit: The follower's commit index.
    """

    term: Count
    index: Count
    rejected: bool = False
    hint_index: Count = 0
    hint_term: Count = 0
    commit: Count = 0


class Heartbeat(Message, frozen=True, array_like=True, tag="beat"):
    """The leader asserts itself in one group.

    Attributes:
        term: The leader's.
        commit: What the follower is known to have of the commit index.
        context: The latest read that waits for a quorum (section 8); 0 for none.
    """

    term: Count
    commit: Count = 0
    context: Count = 0


class HeartbeatReply(Message, frozen=True, array_like=True, tag="beaten"):
    """Acknowledges a heartbeat and its context; `commit` is the follower's."""

    term: Count
    context: Count = 0
    commit: Count = 0


class SnapshotChunk(Message, frozen=True, array_like=True, tag="chunk"):
    """A piece of the leader's snapshot for a follower that is too far behind (section 7).

    Attributes:
        term: The leader's.
        index: The snapshot's last entry.
        index_term: That entry's term.
        configuration: The snapshot's.
        size: Bytes of the whole snapshot.
        offset: Where `data` belongs.
        data: The piece.
    """

    term: Count
    index: Count
    index_term: Count
    configuration: Configuration
    size: Count
    offset: Count
    data: bytes


class SnapshotReply(Message, frozen=True, array_like=True, tag="chunked"):
    """The follower holds the first `received` bytes of the snapshot at `index`."""

    term: Count
    index: Count
    received: Count


class TimeoutNow(Message, frozen=True, array_like=True, tag="now"):
    """The leader asks a voter to stand for election at once (leadership transfer, 3.10)."""

    term: Count


GroupMessage = (
    VoteRequest
    | VoteReply
    | Append
    | AppendReply
    | Heartbeat
    | HeartbeatReply
    | SnapshotChunk
    | SnapshotReply
    | TimeoutNow
)
"""What the members of one group say to each other."""


class Envelope(Message, frozen=True, array_like=True, tag="to"):
    """A message of one group, in the sender's era of it."""

    group: str
    message: GroupMessage
    era: Count = 0


class Beat(Message, frozen=True, array_like=True, tag="pair?"):
    """One node tells another that it is alive and, in digest, what it leads towards it.

    Attributes:
        generation: Counts the sender's starts.
        number: Repeated in the answer.
        digest: Of all (group, term) that the sender leads with the receiver as a member.
    """

    generation: Count
    number: Count
    digest: Count


class BeatReply(Message, frozen=True, array_like=True, tag="pair"):
    """Answers a `Beat`; unless `agreed`, the sender is asked for its `Leading`."""

    number: Count
    agreed: bool


class Leading(Message, frozen=True, array_like=True, tag="leads"):
    """Everything that the sender leads with the receiver as a member: the full exchange.

    `groups` are names and terms, `eras` names and eras of those whose era is not 0.
    """

    generation: Count
    groups: tuple[tuple[str, Count], ...]
    eras: tuple[tuple[str, Count], ...] = ()


PairMessage = Beat | BeatReply
"""What two nodes say to each other on behalf of all groups."""


class Pulse(Message, frozen=True, array_like=True):
    """A datagram."""

    part: PairMessage


class Frame(Message, frozen=True, array_like=True):
    """All that one node has to say to another in one turn of its loop."""

    parts: tuple[Envelope | Beat | BeatReply | Leading, ...]
