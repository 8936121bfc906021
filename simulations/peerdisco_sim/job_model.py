"""What clients may be told of one job, one operation after the other: the model for R7. Pure.

A job is submitted once, ends once, by itself or because somebody kills it, and may be purged then.
Its end by itself is no client's operation; whoever judges a history adds it, from when the job was
submitted to when its end was committed.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from peerdisco_sim.linearizability import Operation

ABSENT, ACTIVE, READY, DEAD, PURGED = "absent", "active", "ready", "dead", "purged"
UNKNOWN = "unknown"
"""What somebody is told who looks for a job that is not there."""


@dataclass(frozen=True, slots=True)
class Submit:
    """Take the job; repeating it changes nothing."""


@dataclass(frozen=True, slots=True)
class End:
    """The job came to this end by itself: nobody had killed it before."""

    phase: str


@dataclass(frozen=True, slots=True)
class Kill:
    """End it; one that has ended stays as it is."""


@dataclass(frozen=True, slots=True)
class Purge:
    """Forget it, after its end: whoever purges a job kills it first."""


@dataclass(frozen=True, slots=True)
class Look:
    """Ask how it stands; the result is a state, or UNKNOWN."""


class JobModel:
    """See linearizability.Model. States are the words above."""

    def initial(self) -> Hashable:
        """Nobody has heard of it."""
        return ABSENT

    def step(self, state: Hashable, operation: Operation) -> Hashable | None:
        """See Model."""
        match operation.action:
            case Submit():
                return ACTIVE if state == ABSENT else state
            case End(phase):
                return phase if state == ACTIVE else None
            case Kill():
                return DEAD if state == ACTIVE else state
            case Purge():
                return PURGED if state in (READY, DEAD) else state
            case Look():
                told = UNKNOWN if state in (ABSENT, PURGED) else state
                return state if told == operation.result else None
        raise AssertionError(f"a job cannot {operation.action}")
