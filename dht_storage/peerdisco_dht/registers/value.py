"""How operations change a register's value: pure, and each operation at most once.

The coordinator decodes a value once, applies a batch of operations to it and encodes it again. A
`Kind` says what the actions of a kind of register mean; retries are recognised here, for all kinds
alike, by session and sequence number kept in the value itself, so that every coordinator knows
them.
"""

from __future__ import annotations

from bisect import bisect
from dataclasses import dataclass
from typing import Protocol

from peerdisco_dht.messages import BadMessage, decode, encode
from peerdisco_dht.registers.messages import (
    Operation,
    RegisterValue,
    Reply,
    Result,
    Session,
)

READ = b""
"""The action that every kind has: change nothing, return the RegisterValue without sessions."""

SESSIONS_MAX = 64
"""Sessions that a register remembers; the least recently used one is forgotten first."""
RECENT_MAX = 128
"""Operations of a session that are recognised in any order."""


@dataclass(frozen=True, slots=True)
class Change:
    """The action changes the content.

    Attributes:
        content: The new content, or None to delete it.
        answer: What the operation returns.
        quiet: True when users cannot see the change, so that the version stays.
    """

    content: object | None
    answer: bytes = b""
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class Keep:
    """The action changes nothing, and that is fine."""

    answer: bytes = b""


@dataclass(frozen=True, slots=True)
class Refuse:
    """The action's condition does not hold."""

    reason: str


Verdict = Change | Keep | Refuse


class Kind(Protocol):
    """What the content and the actions of one kind of register mean. Pure."""

    def load(self, data: bytes) -> object:
        """The content in its bytes."""

    def dump(self, content: object) -> bytes:
        """The bytes of a content."""

    def apply(self, content: object | None, version: int, action: bytes) -> Verdict:
        """What an action does to the content; raises BadMessage for an unknown action."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A register's value with its content decoded."""

    version: int
    content: object | None
    sessions: tuple[Session, ...]


def open_value(data: bytes, kind: Kind) -> Opened:
    """Decode what acceptors hold; nothing accepted is the value of a register never written."""
    value = decode(data, RegisterValue) if data else RegisterValue()
    content = kind.load(value.data) if value.data is not None else None
    return Opened(value.version, content, value.sessions)


def close_value(opened: Opened, kind: Kind) -> bytes:
    """Encode a value for acceptors."""
    data = kind.dump(opened.content) if opened.content is not None else None
    return encode(RegisterValue(opened.version, data, opened.sessions))


def perform(opened: Opened, operation: Operation, kind: Kind) -> tuple[Opened, Reply]:
    """Apply one operation, unless it was applied before."""
    if operation.action == READ:
        seen = close_value(Opened(opened.version, opened.content, ()), kind)
        return opened, Reply(Result.KEPT, opened.version, seen)
    if operation.session:
        earlier = _recall(opened.sessions, operation)
        if earlier is not None:
            return opened, earlier
    try:
        verdict = kind.apply(opened.content, opened.version, operation.action)
    except BadMessage as error:
        verdict = Refuse(str(error))
    version = opened.version
    match verdict:
        case Refuse(reason):
            return opened, Reply(Result.REFUSED, version, reason.encode())
        case Keep(answer):
            # Remembered as well: a late duplicate would find something to change, and nobody that
            # asked for it. An answer could not be given again, so who gets one is not remembered.
            sessions = opened.sessions if answer else _remember(opened.sessions, operation, version)
            kept = Opened(version, opened.content, sessions)
            return kept, Reply(Result.KEPT, version, answer)
        case Change(content, answer, quiet):
            version = version if quiet else version + 1
            sessions = _remember(opened.sessions, operation, version)
            return Opened(version, content, sessions), Reply(Result.APPLIED, version, answer)


def _recall(sessions: tuple[Session, ...], operation: Operation) -> Reply | None:
    """The reply to a retry, or None when the operation is new."""
    for session in sessions:
        if session.name != operation.session:
            continue
        if operation.sequence in session.sequences:
            place = session.sequences.index(operation.sequence)
            return Reply(Result.APPLIED, session.versions[place])
        if operation.sequence <= session.floor:
            return Reply(Result.FORGOTTEN, 0)
    return None


def _remember(
    sessions: tuple[Session, ...], operation: Operation, version: int
) -> tuple[Session, ...]:
    if not operation.session:
        return sessions
    mine = Session(operation.session, 0, (), ())
    others = []
    for session in sessions:
        if session.name == operation.session:
            mine = session
        else:
            others.append(session)
    mine = _with(mine, operation.sequence, version)
    return (*others[max(0, len(others) - SESSIONS_MAX + 1) :], mine)


def _with(session: Session, sequence: int, version: int) -> Session:
    """The session with one more operation; the lowest are forgotten when there are too many."""
    place = bisect(session.sequences, sequence)
    sequences = (*session.sequences[:place], sequence, *session.sequences[place:])
    versions = (*session.versions[:place], version, *session.versions[place:])
    forgotten = sequences[:-RECENT_MAX]
    floor = max(session.floor, *forgotten) if forgotten else session.floor
    return Session(session.name, floor, sequences[-RECENT_MAX:], versions[-RECENT_MAX:])
