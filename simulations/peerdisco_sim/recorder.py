"""What happened, in order: the one list that the timeline shows and checkers look through.

Append-only, in virtual time. Not every message is here (turn those on in `timeline.py`): only what
a colleague would tell, such as faults, elections, changes of members, phases of jobs, operations
and violations.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

EVENTS_MAX = 2_000_000
Data = dict[str, float | int | str | bool]


@dataclass(frozen=True, slots=True)
class TimedEvent:
    """One thing that happened.

    Attributes:
        at: Virtual second, from the world's beginning.
        node: Name of the machine; empty for the world.
        kind: A short stable word: `fault`, `phase`, `boot`, `ready`, `down`, `member`, `leader`,
            `job`, `operation`, `violation`, ...
        detail: One line for people.
        data: The same for programs.
    """

    at: float
    node: str
    kind: str
    detail: str
    data: Data = field(default_factory=dict)


class Recorder:
    """An append-only list of events with subscribers."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.events: list[TimedEvent] = []
        self.closed = False
        self._now = now
        self._subscribers: list[Callable[[TimedEvent], None]] = []

    def note(self, kind: str, detail: str, node: str = "", /, **data: float | str | bool) -> None:
        """Record one event now, unless the play is over."""
        if self.closed:
            return
        assert len(self.events) < EVENTS_MAX, "a recorder is full; something repeats for ever"
        event = TimedEvent(self._now(), node, kind, detail, data)
        self.events.append(event)
        for subscriber in self._subscribers:
            subscriber(event)

    def subscribe(self, callback: Callable[[TimedEvent], None]) -> None:
        """Call back after each event."""
        self._subscribers.append(callback)

    def of_kind(self, kind: str) -> list[TimedEvent]:
        """All events of one kind, in order."""
        return [event for event in self.events if event.kind == kind]
