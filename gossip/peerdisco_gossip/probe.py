"""One round of probing as a value, and the order in which members are probed.

The order is SWIM's (section 4.3): everybody once per cycle in shuffled order, newcomers at a
random place, a new shuffle for every cycle. So no member waits longer than two cycles.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from peerdisco_gossip.members import Members, Record


@dataclass(slots=True)
class Probe:
    """A question that awaits its answer.

    Attributes:
        target: Who was asked.
        life: Its generation and incarnation then; silence says nothing about later ones.
        indirect_at: When helpers are asked; None once they were, or when none will be.
        ends_at: When silence counts as failure.
        is_evidence: Whether outside evidence started it: no helpers, and a short suspicion.
        helpers: Who was asked to help, and whether it reported failure.
        is_stretched: Whether a stall of this node fell into the round; a failure then says
            nothing about this node's health beyond what the stall said.
    """

    target: str
    life: tuple[int, int]
    indirect_at: float | None
    ends_at: float
    is_evidence: bool = False
    helpers: dict[str, bool] = field(default_factory=dict)
    is_stretched: bool = False

    @property
    def deadline(self) -> float:
        """When something is to be done."""
        return self.ends_at if self.indirect_at is None else min(self.indirect_at, self.ends_at)

    @property
    def missing_nacks(self) -> int:
        """Helpers that said nothing at all."""
        return sum(1 for reported in self.helpers.values() if not reported)

    def accepts(self, sender: str, subject: str) -> bool:
        """Whether this sender may say that this subject is there."""
        return subject == self.target and (sender == subject or sender in self.helpers)

    def postpone(self, seconds: float, earliest: float) -> None:
        """Grant the time during which this node could not hear, and a moment to catch up."""
        self.is_stretched = True
        if self.indirect_at is not None:
            self.indirect_at = max(self.indirect_at + seconds, earliest)
        self.ends_at = max(self.ends_at + seconds, earliest)


class ProbeOrder:
    """Whom to probe next."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._waiting: list[str] = []
        self._known: dict[str, None] = {}

    def notice(self, node_id: str) -> None:
        """Give a newcomer a random place in the current cycle; others keep theirs."""
        if node_id not in self._known:
            self._known[node_id] = None
            self._waiting.insert(self._rng.randint(0, len(self._waiting)), node_id)

    def next(self, members: Members, me: str) -> Record | None:
        """The next member that takes part, or None when there is nobody else."""
        for _ in range(2):
            while self._waiting:
                record = members.get(self._waiting.pop())
                if record is not None and record.is_present and record.id != me:
                    return record
            self._waiting = [record.id for record in members.present() if record.id != me]
            self._known = dict.fromkeys(self._waiting)
            self._rng.shuffle(self._waiting)
        return None
