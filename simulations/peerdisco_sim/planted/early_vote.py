"""Votes and acknowledgements leave before they are durable."""

from __future__ import annotations

from peerdisco_election.core import Core
from peerdisco_sim.planted.bug import Bug, asked_for, put


def plant() -> None:
    """Send at once what should wait for the disk."""
    put(Core, "promise", Core.send)


BUG = Bug(
    "early-vote",
    "a member votes and acknowledges before its disk knows",
    ("R1", "R3", "R5", "R9"),
    plant,
    asked_for("small_jobs"),
)
