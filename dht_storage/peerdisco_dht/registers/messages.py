"""What the register service says between nodes and keeps on disk.

A register is named by a string; its partition follows from the name. Requests travel inside
`epochs.Request`, which carries the epoch. Messages hold tuples of items, so that many registers
can share one call.
"""

from __future__ import annotations

import enum

from peerdisco_dht.messages import Message

NAME_BYTES_MAX = 1024


class Ballot(Message, frozen=True, array_like=True, order=True):
    """The number of a proposal; unique, since it ends with its proposer."""

    round: int = 0
    node: str = ""


ZERO = Ballot()


class AcceptorRow(Message, frozen=True, array_like=True):
    """What an acceptor must never forget about one register.

    Attributes:
        promised: No proposal below this ballot is accepted any more.
        accepted: The ballot of `value`; ZERO when nothing was accepted.
        value: An encoded RegisterValue; empty when nothing was accepted.
    """

    promised: Ballot = ZERO
    accepted: Ballot = ZERO
    value: bytes = b""


class Prepare(Message, frozen=True, array_like=True, tag="prepare"):
    """CASPaxos phase one (Rystsov 2018, section 2.2): promise this ballot, say what you hold."""

    name: str
    ballot: Ballot


class Accept(Message, frozen=True, array_like=True, tag="accept"):
    """CASPaxos phase two: accept the value, and promise `upcoming` to its proposer at once.

    The promise spares the proposer phase one of its next proposal (section 2.2.1).

    Attributes:
        name: The register.
        ballot: The ballot of the value.
        value: An encoded RegisterValue.
        upcoming: The proposer's next ballot.
        listed: Whether the register exists with this value, for listings.
    """

    name: str
    ballot: Ballot
    value: bytes
    upcoming: Ballot
    listed: bool


class Peek(Message, frozen=True, array_like=True, tag="peek"):
    """Say what you hold; promises nothing."""

    name: str


Ask = Prepare | Accept | Peek


class Asks(Message, frozen=True, array_like=True):
    """Requests to one acceptor."""

    items: tuple[Ask, ...]


class Held(Message, frozen=True, array_like=True):
    """An acceptor's answer.

    Attributes:
        granted: Whether the promise or the acceptance was given (always for Peek).
        promised: The acceptor's present promise.
        accepted: The ballot that it has accepted.
        value: The value of that ballot; left out in answers to Accept.
    """

    granted: bool
    promised: Ballot = ZERO
    accepted: Ballot = ZERO
    value: bytes = b""


class HeldItems(Message, frozen=True, array_like=True):
    """Answers in the order of the requests."""

    items: tuple[Held, ...]


class Session(Message, frozen=True, array_like=True):
    """Which operations of one client session a register has seen.

    Attributes:
        name: The session.
        floor: Sequence numbers up to this one are too old to tell.
        sequences: The operations that are remembered, ascending.
        versions: The version that each of them made.
    """

    name: str
    floor: int
    sequences: tuple[int, ...]
    versions: tuple[int, ...]


class RegisterValue(Message, frozen=True, array_like=True):
    """The value of a register: all that its acceptors agree on.

    Attributes:
        version: Grows with every change that users can see.
        data: The content, or None when the register does not exist (any more).
        sessions: For recognising retries; the least recently used session first.
    """

    version: int = 0
    data: bytes | None = None
    sessions: tuple[Session, ...] = ()


class Operation(Message, frozen=True, array_like=True):
    """A change of one register, or a read of it.

    Attributes:
        action: Encoded; which actions exist depends on the kind of register.
        session: Session of the client, or empty when repeating the action is harmless by itself.
        sequence: Number within the session.
    """

    action: bytes
    session: str = ""
    sequence: int = 0


class Submit(Message, frozen=True, array_like=True):
    """Please coordinate these operations on a register, in this order."""

    name: str
    operations: tuple[Operation, ...]


class Result(enum.StrEnum):
    """What became of an operation."""

    APPLIED = "applied"
    KEPT = "kept"
    """It holds without a change: a read, or nothing to do."""
    REFUSED = "refused"
    """Its condition did not hold, or it asked for too much; see `answer` for the reason."""
    FORGOTTEN = "forgotten"
    """A retry too late to tell whether its first try was applied. It was not applied now."""


class Reply(Message, frozen=True, array_like=True):
    """The result of one operation.

    Attributes:
        result: What became of it.
        version: The register's version after it (for a retry: after its first try).
        answer: What the action returns.
    """

    result: Result
    version: int
    answer: bytes = b""


class Replies(Message, frozen=True, array_like=True):
    """Results in order, or why the coordinator reached none (`unavailable`)."""

    items: tuple[Reply, ...] = ()
    unavailable: str = ""


class Submits(Message, frozen=True, array_like=True):
    """Operations on different registers, for which the same node is to coordinate."""

    items: tuple[Submit, ...]


class RepliesItems(Message, frozen=True, array_like=True):
    """Answers to Submits, in order."""

    items: tuple[Replies, ...]


class NamesRequest(Message, frozen=True, array_like=True):
    """List registers by name.

    Attributes:
        prefix: What names begin with.
        after: Only names behind this one.
        limit: Rows at most.
    """

    prefix: str
    after: str
    limit: int


class NameEntry(Message, frozen=True, array_like=True):
    """What an acceptor's listing says of a name: whether the register exists as of a ballot."""

    ballot: Ballot
    listed: bool


class NamesPage(Message, frozen=True, array_like=True):
    """Names in order, with an encoded NameEntry each; `more` when the limit cut them.

    The entries stay encoded, since those of different nodes are mostly equal: only where they
    differ has anybody to look inside.
    """

    names: tuple[str, ...]
    entries: tuple[bytes, ...]
    more: bool


class PartitionsRequest(Message, frozen=True, array_like=True):
    """List the names of all registers in some partitions.

    Attributes:
        partitions: Ascending.
        after: Only rows behind this storage key; empty to begin.
    """

    partitions: tuple[int, ...]
    after: bytes = b""


class PartitionsPage(Message, frozen=True, array_like=True):
    """Names, and where to go on; `after` is empty at the end."""

    names: tuple[str, ...]
    after: bytes = b""
