"""The output of a task counts twice when two copies of it succeed."""

from __future__ import annotations

from peerdisco.coordination.state import JobState
from peerdisco.coordination.tasks import Attempt
from peerdisco.messages import Finished
from peerdisco_sim.planted.bug import Bug, focused, put
from peerdisco_sim.schedule import Schedule


def plant() -> None:
    """Take what a second copy brings, too."""
    original = JobState._finished

    def finished(self: JobState, attempt: Attempt, outcome: Finished, at: float) -> None:
        task = self.task((attempt.stage, attempt.task))
        if task.done:
            outputs = [*task.outputs, *outcome.outputs]
            task.outputs = tuple(sorted(outputs, key=lambda output: output.label))
            return
        others, task.running = task.running, []
        original(self, attempt, outcome, at)
        task.running = others

    put(JobState, "_finished", finished)


def schedule(seed: int) -> Schedule:
    """Slow workers, so that backups are started, and jobs with many tasks."""
    return focused(
        seed,
        work={"wordcount": {}, "sort": {}},
        kinds=("worker_slow", "worker_hang", "pause", "slow", "disk_slow", "partition"),
        knobs={"coordination.scheduler.backup_after_s": 0.5},
    )


BUG = Bug(
    "double-output",
    "records are counted twice when a task and its backup both succeed",
    ("J1", "J2", "wrong result"),
    plant,
    schedule,
)
