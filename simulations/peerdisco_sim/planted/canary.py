"""The canary: a bug so gross that every campaign must fail with it at once."""

from __future__ import annotations

from peerdisco_dht.registers import acceptor
from peerdisco_dht.registers.messages import Accept, AcceptorRow, Held
from peerdisco_sim.planted.bug import Bug, focused, put
from peerdisco_sim.schedule import Schedule


def plant() -> None:
    """Acceptors say yes and forget."""

    def accept(row: AcceptorRow, request: Accept) -> tuple[AcceptorRow, Held]:
        promised = max(request.ballot, request.upcoming)
        return row, Held(granted=True, promised=promised, accepted=request.ballot)

    put(acceptor, "accept", accept)


def schedule(seed: int) -> Schedule:
    """A cluster that is asked for tags."""
    return focused(seed, work={"tags": {}}, nodes=3, duration_s=20.0)


BUG = Bug(
    "canary",
    "acceptors acknowledge and forget",
    ("B5", "T1", "R7", "B1"),
    plant,
    schedule,
)
