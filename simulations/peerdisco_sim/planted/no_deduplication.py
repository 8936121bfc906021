"""Registers do not recognise an operation that was carried out before."""

from __future__ import annotations

from peerdisco_dht.registers import value
from peerdisco_sim.planted.bug import Bug, asked_for, put


def plant() -> None:
    """Every retry is news."""
    put(value, "_recall", lambda _sessions, _operation: None)


BUG = Bug(
    "no-deduplication",
    "an append that is repeated after a lost answer is applied twice",
    ("B5", "R8"),
    plant,
    asked_for("tags"),
)
