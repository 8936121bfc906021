"""What a core asks its driver to do, in the order of the list.

`Persist` does not block the core. A `Send` that depends on it names its number in `after` and
leaves when the driver has reported `persisted(number)`; everything else is done at once. Later
persists imply earlier ones: the driver writes them in order.
"""

from __future__ import annotations

from dataclasses import dataclass

from peerdisco_election.messages import (
    Configuration,
    Entry,
    GroupMessage,
    HardState,
    Snapshot,
)


@dataclass(frozen=True, slots=True)
class Persist:
    """Make this durable, atomically, after all earlier ones.

    Attributes:
        number: Counts from 1 in the life of a core.
        hard_state: To be written every time.
        erase: First and last index of entries to delete, before `entries` are written.
        entries: To be written under their index.
        snapshot: Replaces the stored one when present.
    """

    number: int
    hard_state: HardState
    erase: tuple[int, int] | None = None
    entries: tuple[Entry, ...] = ()
    snapshot: Snapshot | None = None


@dataclass(frozen=True, slots=True)
class Send:
    """Hand a message to the link; losing it is allowed.

    Attributes:
        to: The peer.
        message: What to say.
        after: Number of the persist that must be durable before; 0 for at once.
    """

    to: str
    message: GroupMessage
    after: int = 0


@dataclass(frozen=True, slots=True)
class Proposed:
    """The first `count` of the offered commands now stand in the log, from `index` on."""

    index: int
    term: int
    count: int


@dataclass(frozen=True, slots=True)
class Apply:
    """These entries are committed: feed them to the state machine."""

    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Restore:
    """Replace the state machine's state by this snapshot."""

    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class ReadReady:
    """A quorum confirmed the leadership: reads up to `token` may see state from `index` on."""

    token: int
    index: int


@dataclass(frozen=True, slots=True)
class ReadFailed:
    """The leadership ended: reads up to `token` must be tried elsewhere."""

    token: int


@dataclass(frozen=True, slots=True)
class Changed:
    """A quorum of the new members has written that they are: the old ones may go."""

    configuration: Configuration


@dataclass(frozen=True, slots=True)
class LeaderChanged:
    """This node's view of who leads has changed.

    Attributes:
        leader: None while nobody is known to.
        term: The term of that view.
        group: The group's name, filled in by the driver.
    """

    leader: str | None
    term: int
    group: str = ""


Effect = (
    Persist | Send | Proposed | Apply | Restore | ReadReady | ReadFailed | Changed | LeaderChanged
)
"""Anything that a core may ask for."""
