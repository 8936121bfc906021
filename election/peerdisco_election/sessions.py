"""Exactly-once proposals: client sessions as a wrapper around a state machine (dissertation, 6.3).

A proposal whose outcome is unknown may be repeated, at any member, as long as it is the same
bytes: the group remembers what it answered. A client first proposes `register()` and gets a number;
`Session` then wraps its commands:

    session = Session(await group.propose(register(), timeout=5))
    once = session.wrap(command)
    result = await group.propose(once.command, timeout=5)       # again and again if need be
    session.settled(once)

The table is part of the replicated state and bounded in log order, so all members forget alike. A
session that was forgotten is answered `Refusal.EXPIRED` and its command is not applied: whether
it was applied before, nobody can say. Registering may be repeated freely; a number that nobody uses
is the first to be forgotten.

Not here: who retries, and where. A command may be wrapped or plain; plain ones pass through.
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from dataclasses import dataclass
from typing import Protocol, assert_never

from peerdisco_election.errors import Dropped
from peerdisco_election.messages import BadMessage, Count, Message, decode, encode

SESSIONS_MAX = 1024
"""Sessions that a group remembers; a further one makes it forget the longest unused."""

OUTSTANDING_MAX = 64
"""Commands of one session whose results the client may not have seen yet."""

Value = None | bool | int | float | bytes
"""What a state machine inside sessions may return: it is remembered in snapshots."""


class Refusal(enum.StrEnum):
    """Why a command of a session was not applied."""

    EXPIRED = "the session was forgotten, or the result of this command was"
    AHEAD = "too many commands of the session are outstanding"
    MALFORMED = "not a command of a session"


class Inner(Protocol):
    """A state machine as `group.py` has it, with results that can be remembered."""

    def apply(self, index: int, command: bytes) -> Value:
        """Take a committed command."""

    def snapshot(self) -> bytes:
        """The whole state."""

    def restore(self, data: bytes) -> None:
        """Replace the whole state."""


class Register(Message, frozen=True, array_like=True, tag="register"):
    """Open a session; the result is its number."""


class Once(Message, frozen=True, array_like=True, tag="once"):
    """A command of a session.

    Attributes:
        session: Its number.
        sequence: From 1, the command's own.
        settled: The client knows the results of all commands up to this one.
        command: For the inner state machine.
    """

    session: Count
    sequence: Count
    settled: Count
    command: bytes


class Plain(Message, frozen=True, array_like=True, tag="plain"):
    """A command without a session: applied as often as it is committed."""

    command: bytes


class Command(Message, frozen=True, array_like=True):
    """What stands in the log."""

    said: Register | Once | Plain


class Remembered(Message, frozen=True, array_like=True):
    """A session in a snapshot: its number, what is settled, and results by sequence."""

    number: Count
    settled: Count
    results: dict[Count, Value]


class Table(Message, frozen=True, array_like=True):
    """A snapshot: the sessions, the longest unused first, and the inner state."""

    sessions: tuple[Remembered, ...]
    inner: bytes


def register() -> bytes:
    """The command that opens a session."""
    return encode(Command(Register()))


def plain(command: bytes) -> bytes:
    """The command without a session."""
    return encode(Command(Plain(command)))


@dataclass(slots=True)
class _Open:
    settled: int
    results: dict[int, Value]


class Sessions:
    """The state machine that a group replicates, around the one that it is about.

    Results are the inner machine's, a session's number, or a `Refusal`.
    """

    def __init__(self, inner: Inner, *, sessions_max: int = SESSIONS_MAX) -> None:
        self._inner = inner
        self._sessions_max = sessions_max
        self._open: OrderedDict[int, _Open] = OrderedDict()

    def apply(self, index: int, command: bytes) -> Value | Refusal:
        """Take a committed command; one that was applied before is only answered."""
        try:
            said = decode(command, Command).said
        except BadMessage:
            return Refusal.MALFORMED
        match said:
            case Register():
                self._open[index] = _Open(0, {})
                if len(self._open) > self._sessions_max:
                    self._open.popitem(last=False)
                return index
            case Once():
                return self._apply_once(index, said)
            case Plain():
                return self._inner.apply(index, said.command)
            case _:
                assert_never(said)

    def snapshot(self) -> bytes:
        """The whole state, sessions included."""
        sessions = (Remembered(at, one.settled, one.results) for at, one in self._open.items())
        return encode(Table(tuple(sessions), self._inner.snapshot()))

    def restore(self, data: bytes) -> None:
        """Replace the whole state, sessions included."""
        table = decode(data, Table)
        self._open = OrderedDict(
            (one.number, _Open(one.settled, dict(one.results))) for one in table.sessions
        )
        self._inner.restore(table.inner)

    def _apply_once(self, index: int, once: Once) -> Value | Refusal:
        session = self._open.get(once.session)
        if session is None:
            return Refusal.EXPIRED
        self._open.move_to_end(once.session)
        if once.settled > session.settled:
            session.settled = once.settled
            session.results = {
                sequence: result
                for sequence, result in session.results.items()
                if sequence > once.settled
            }
        if once.sequence in session.results:
            return session.results[once.sequence]
        if once.sequence <= session.settled:
            return Refusal.EXPIRED
        if once.sequence > session.settled + OUTSTANDING_MAX:
            return Refusal.AHEAD
        result = session.results[once.sequence] = self._inner.apply(index, once.command)
        return result


@dataclass(frozen=True, slots=True)
class Wrapped:
    """A command that may be proposed any number of times and is applied at most once."""

    sequence: int
    command: bytes


class Session:
    """The client's side of a session: numbers commands, and tells which results it has seen."""

    def __init__(self, number: object) -> None:
        assert isinstance(number, int), "the result of `register()`"
        self._number = number
        self._sequence = 0
        self._settled = 0
        self._early: dict[int, None] = {}

    def wrap(self, command: bytes) -> Wrapped:
        """Number a command. Raises Dropped while too many are outstanding."""
        if self._sequence - self._settled >= OUTSTANDING_MAX:
            raise Dropped(f"{OUTSTANDING_MAX} commands of this session are outstanding")
        self._sequence += 1
        once = Once(self._number, self._sequence, self._settled, command)
        return Wrapped(self._sequence, encode(Command(once)))

    def settled(self, wrapped: Wrapped) -> None:
        """The result is known, or wanted no more: the group may forget it."""
        self._early[wrapped.sequence] = None
        while self._settled + 1 in self._early:
            self._settled += 1
            del self._early[self._settled]
