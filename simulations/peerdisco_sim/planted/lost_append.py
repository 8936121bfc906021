"""A new coordinator goes on from any answer of its quorum, not from the newest one."""

from __future__ import annotations

from collections.abc import Mapping

from peerdisco_dht.registers import quorum
from peerdisco_dht.registers.messages import Held
from peerdisco_sim.planted.bug import Bug, asked_for, put


def plant() -> None:
    """Whoever comes first by name."""

    def newest(answers: Mapping[str, Held]) -> Held:
        return answers[min(answers)]

    put(quorum, "newest", newest)


BUG = Bug(
    "lost-append",
    "an append that was acknowledged is overwritten by the next coordinator",
    ("B5", "R7", "B1", "J5"),
    plant,
    asked_for("tags"),
)
