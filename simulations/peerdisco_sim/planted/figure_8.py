"""A leader commits entries of earlier terms by counting copies (Raft, section 5.4.2, figure 8).

It takes a chain of leaders that each lose their power at the wrong moment; chance alone does not
find it. So leaders fall within a tenth of a second of their election, again and again, and entries
travel one by one.
"""

from __future__ import annotations

from peerdisco_election import quorum
from peerdisco_election.leader import Leader
from peerdisco_sim.planted.bug import Bug, focused, put
from peerdisco_sim.schedule import Fault, Schedule, Value
from peerdisco_sim.streams import stream

LEADERS = 60
DURATION_S = 60.0
FAR = {"latency_s_min": 0.02, "latency_s_max": 0.05}
"""Messages that take long: there is time to fall between one's own disk and the others'."""


def plant() -> None:
    """Commit whatever a majority has."""

    def advance(self: Leader, now: float) -> None:
        core, log = self._core, self._core.log
        before = log.committed
        index = quorum.agreed(core.configuration, self.match())
        if index > log.committed:
            entries = log.slice(log.committed + 1, index, 1 << 62, 1 << 62)
            self._uncommitted -= sum(len(entry.data) for entry in entries)
            core.commit_to(index, now)
        if log.committed > before:
            self._tell(now)
            if self._reads.begin(log.committed):
                self._ask_quorum()

    put(Leader, "_advance", advance)


def schedule(seed: int) -> Schedule:
    """Power cuts, kills and isolations of new leaders, one after the other."""
    draws = stream(seed, "planted", "figure 8")
    faults = []
    for _ in range(LEADERS):
        kind = draws.choice(("power_cut", "power_cut", "kill", "partition"))
        key = "for_s" if kind == "partition" else "back_s"
        after = round(draws.uniform(0.0, 0.12), 4)
        params: dict[str, Value] = {key: round(draws.uniform(0.2, 3.0), 3), "after_s": after}
        at = round(draws.uniform(1.0, DURATION_S - 5), 3)
        faults.append(Fault(at, kind, draws.choice(("leader:new", "coordinator")), params))
    return focused(
        seed,
        work={"wordcount": {}},
        kinds=("none but these",),
        faults=faults,
        knobs={
            "raft.append_entries_max": 1,
            "raft.inflight_appends_max": 1,
            "raft.election_timeout": 0.6,
            "raft.heartbeat_interval": 0.1,
        },
        network=FAR,
        nodes=draws.choice((3, 4, 5)),
        duration_s=DURATION_S,
    )


BUG = Bug(
    "figure-8",
    "a leader commits entries of earlier terms by counting copies",
    ("R3", "R4"),
    plant,
    schedule,
)
