"""An old rumour that a member is alive is believed although its death has the same number."""

from __future__ import annotations

from peerdisco_gossip.ledger import Ledger
from peerdisco_gossip.members import MemberState
from peerdisco_gossip.messages import Alive, Claim
from peerdisco_sim.planted.bug import Bug, asked_for, put


def plant() -> None:
    """Alive beats dead at equal numbers."""
    original = Ledger._apply_claim

    def apply_claim(self: Ledger, claim: Claim, now: float) -> None:
        record = self.members.get(claim.id)
        if (
            isinstance(claim, Alive)
            and record is not None
            and record.state is MemberState.DEAD
            and (claim.generation, claim.incarnation) == (record.generation, record.incarnation)
        ):
            self._believe(claim, record, now)
            self._queue.put(claim)
            return
        original(self, claim, now)

    put(Ledger, "_apply_claim", apply_claim)


BUG = Bug(
    "resurrection",
    "a dead member comes back to life by an old rumour",
    ("M5",),
    plant,
    asked_for("tags"),
)
