"""The output of a task counts twice when two copies of it succeed."""

from __future__ import annotations

from peerdisco.coordination.state import JobState
from peerdisco.coordination.tasks import Attempt
from peerdisco.messages import Finished
from peerdisco_sim.planted.bug import DURATION_S, Bug, focused, put
from peerdisco_sim.schedule import Fault, Schedule
from peerdisco_sim.streams import stream

SLOW = 25


def plant() -> None:
    """Take what a second copy brings, too."""
    original = JobState._finished

    def finished(self: JobState, attempt: Attempt, outcome: Finished, at: float) -> None:
        task = self.task((attempt.stage, attempt.task))
        if task.done:
            outputs = [*task.outputs, *outcome.outputs]
            task.outputs = tuple(sorted(outputs, key=lambda output: output.label))
            return
        others = {number: self.attempts[number] for number in task.running}
        original(self, attempt, outcome, at)
        self.strays.update(others)

    put(JobState, "_finished", finished)


def schedule(seed: int) -> Schedule:
    """Slow workers, so that backups are started while several tasks are still to be done."""
    draws = stream(seed, "planted", "double output")
    faults = [
        Fault(
            round(draws.uniform(1.0, DURATION_S - 5), 3),
            draws.choice(("worker_slow", "worker_slow", "pause")),
            draws.choice(("worker", "any:2")),
        )
        for _ in range(SLOW)
    ]
    return focused(
        seed,
        work={"wordcount": {}, "sort": {}},
        kinds=("worker_slow", "pause", "slow", "disk_slow", "partition"),
        faults=faults,
        knobs={"coordination.scheduler.backup_after_s": 0.5},
    )


BUG = Bug(
    "double-output",
    "records are counted twice when a task and its backup both succeed",
    ("J1", "J2", "wrong result"),
    plant,
    schedule,
)
