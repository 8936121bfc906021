"""N3: a crash at any step of the disk leaves what boots again without anybody's help.

A busy node makes some hundred steps (write, sync, rename, sync of a directory, commit). `sweep`
makes one schedule for every so many of them: the process or the power ends right there, and once
more during the recovery that follows. All checkers judge each play.
"""

from __future__ import annotations

from collections.abc import Iterator

from peerdisco_sim.schedule import Fault, Schedule, WorkloadSpec

VICTIM = "n2"
BEGIN_S, RECOVERY_S, DURATION_S, BACK_S = 0.5, 3.5, 6.0, 0.4
RECOVERY_STEPS = (1, 3, 8)
"""At which steps of the recovery the second crash comes, in turn."""

WORK = (
    WorkloadSpec("tags", {"clients": 2, "lists": 1, "mixed": 1, "pause_s": 0.15}),
    WorkloadSpec("blobs", {"clients": 2, "pause_s": 0.3}),
    WorkloadSpec("wordcount", {"jobs_max": 3, "pause_s": 0.3}),
)


def crash_point(seed: int, step: int, *, power: bool) -> Schedule:
    """A play in which the victim ends at its `step`-th step of the disk, and again soon after."""
    recovery = RECOVERY_STEPS[step % len(RECOVERY_STEPS)]
    crash = {"power": power, "back_s": BACK_S}
    return Schedule(
        seed=seed,
        nodes=3,
        duration_s=DURATION_S,
        workloads=WORK,
        faults=(
            Fault(BEGIN_S, "crash_at_step", VICTIM, {**crash, "steps": step}),
            Fault(RECOVERY_S, "kill", VICTIM, {"back_s": BACK_S}),
            Fault(RECOVERY_S + BACK_S, "crash_at_step", VICTIM, {**crash, "steps": recovery}),
        ),
        why=f"crash at step {step} of the disk of {VICTIM}",
    )


def sweep(seed: int, *, first: int = 1, last: int = 400, every: int = 1) -> Iterator[Schedule]:
    """A schedule for every so many steps; kills and power cuts take turns."""
    for number, step in enumerate(range(first, last + 1, every)):
        yield crash_point(seed, step, power=number % 2 == 0)
