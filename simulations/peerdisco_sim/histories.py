"""What clients did to one register and what they saw of it, for the checkers to judge.

A client calls `began` when it asks and `ended` when it knows; what never ended has an unknown
outcome. Times are the world's.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from peerdisco_sim.linearizability import NEVER, Operation
from peerdisco_sim.list_append import Append, Read


@dataclass(slots=True)
class AppendHistory:
    """Of a tag that is only appended to.

    Attributes:
        appends: All that were tried.
        reads: All that were answered.
        final: What was there at rest, oldest first; None while nobody could read it.
    """

    appends: list[Append] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    final: Sequence[str] | None = None


@dataclass(slots=True)
class CallHistory:
    """What anybody asked for, and was told."""

    operations: list[Operation] = field(default_factory=list)

    def began(self, process: str, call: float, action: Hashable) -> int:
        """Note that an operation was asked for; its number, for `ended`."""
        self.operations.append(Operation(call, NEVER, action, None, process))
        return len(self.operations) - 1

    def ended(self, number: int, end: float, result: Hashable) -> None:
        """Note its outcome."""
        known = self.operations[number]
        self.operations[number] = Operation(known.call, end, known.action, result, known.process)

    def failed(self, number: int) -> None:
        """It certainly did nothing, or was a read without an answer: forget it."""
        known = self.operations[number]
        self.operations[number] = Operation(known.call, NEVER, NOTHING, None, known.process)

    def known(self) -> list[Operation]:
        """All operations but those that did nothing."""
        return [each for each in self.operations if each.action is not NOTHING]


class TagHistory(CallHistory):
    """Of a tag to which anything is done."""


class JobHistory(CallHistory):
    """Of a job, by all who submit it, look at it, kill and purge it."""


NOTHING = "nothing"
History = AppendHistory | CallHistory
