"""A trial: one job, alone, then on a quiet cluster, then under the disasters of many seeds."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from peerdisco_sim.campaign import processors
from peerdisco_sim.result import Result, summary
from peerdisco_sim.runner import Job as Play
from peerdisco_sim.runner import run_all
from peerdisco_sim.schedule import Schedule, WorkloadSpec
from peerdisco_sim.swarm import generate
from peerdisco_sim.userjob.load import Program
from peerdisco_sim.userjob.reference import run_alone
from peerdisco_sim.userjob.workload import NAME, UserJob

STORM_S = 30.0
QUIET_SEED = 0
QUIET_S = 1.0
CHECKERS = ("jobs",)
"""Who judges beside the comparison of results: the other invariants are our business."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of it.

    Attributes:
        records: Different records of the run alone.
        quiet: The play without faults.
        stormy: The plays with faults, by seed.
    """

    records: int
    quiet: Result
    stormy: Sequence[Result]

    @property
    def failed(self) -> list[Result]:
        """The plays in which something was wrong."""
        return [result for result in (self.quiet, *self.stormy) if result.violations]

    @property
    def exact(self) -> bool:
        """Whether every result of every run was that of the run alone."""
        return not self.failed

    def facts(self) -> dict[str, float]:
        """The cost of the failures.

        `jobs` ended under disasters, with `faults` faults; one took `job_s` seconds on average and
        `job_s_max` at worst, against `quiet_s` without faults. Of `attempts`, `lost` did not end
        well, and `repeated` were more than the tasks needed.
        """
        total = functools.partial(_total, self.stormy)
        jobs = max(1.0, total("jobs"))
        quiet = self.quiet.facts
        return {
            "jobs": total("jobs"),
            "faults": sum(sum(result.faults.values()) for result in self.stormy),
            "quiet_s": round(quiet.get("job_s", 0.0) / max(1.0, quiet.get("jobs", 0.0)), 3),
            "job_s": round(total("job_s") / jobs, 3),
            "job_s_max": round(
                max((r.facts.get("job_s_max", 0.0) for r in self.stormy), default=0.0), 3
            ),
            "tasks": total("tasks"),
            "attempts": total("attempts"),
            "lost": total("attempts") - total("finished"),
            "repeated": total("attempts") - total("tasks"),
        }

    def text(self) -> str:
        """For people: the verdict first, then what it cost."""
        facts = self.facts()
        seeds = len(self.stormy)
        lines = []
        if self.exact:
            lines.append(
                f"Right every time: {facts['jobs']:.0f} jobs under {seeds} seeds of disasters "
                f"({facts['faults']:.0f} faults) gave exactly the {self.records} records of a run "
                "in one process."
            )
        else:
            lines.append(f"WRONG in {len(self.failed)} of {seeds + 1} runs.")
            lines += [result.text() for result in self.failed]
        lines.append(
            f"A job took {facts['job_s']:.1f} s on average, {facts['job_s_max']:.1f} s at worst "
            f"and {facts['quiet_s']:.1f} s without faults (virtual time)."
        )
        lines.append(
            f"{facts['attempts']:.0f} attempts for {facts['tasks']:.0f} tasks: "
            f"{facts['lost']:.0f} lost, {facts['repeated']:.0f} repeated."
        )
        return "\n".join(lines)

    def json(self) -> str:
        """The keys of all commands, and the facts."""
        extra = {"exact": self.exact, "records": self.records, **self.facts()}
        known: dict[str, Any] = json.loads(summary(list(self.stormy)))
        return json.dumps({**known, **extra})


def try_job(
    program: Program,
    *,
    nodes: int,
    seeds: Iterable[int],
    replay: Callable[[int], str],
    duration_s: float = STORM_S,
    processes: int | None = None,
    show: Callable[[Result], None] = lambda _: None,
) -> Trial:
    """Run a job alone, then on simulated clusters. Raises JobError when it fails alone.

    Args:
        program: The job.
        nodes: Size of the clusters.
        seeds: Of the disasters.
        replay: The command or call that repeats a seed.
        duration_s: Length of each storm, in virtual seconds.
        processes: How many clusters at a time; one per processor when left out.
        show: Told of each result.
    """
    truth = run_alone(program)
    make = functools.partial(UserJob, program, truth)
    plays = [_play(_quiet(nodes), "no faults", replay(QUIET_SEED), make)]
    plays += [
        _play(_stormy(seed, nodes, duration_s), f"seed {seed}", replay(seed), make)
        for seed in seeds
    ]
    results: dict[str, Result] = {}
    for result in run_all(plays, processes=processes or processors()):
        results[result.label] = result
        show(result)
    ordered = [results[play.label] for play in plays]
    return Trial(len(truth), ordered[0], ordered[1:])


def _play(schedule: Schedule, label: str, replay: str, make: Callable[..., UserJob]) -> Play:
    more: Mapping[str, Callable[..., UserJob]] = {NAME: make}
    return Play(schedule, label, replay, more)


def _quiet(nodes: int) -> Schedule:
    """A cluster to which nothing happens runs the job twice."""
    return Schedule(
        seed=QUIET_SEED,
        nodes=nodes,
        duration_s=QUIET_S,
        workloads=(WorkloadSpec(NAME, {"rounds": 2}),),
        checkers=CHECKERS,
        heal=False,
    )


def _stormy(seed: int, nodes: int, duration_s: float) -> Schedule:
    drawn = generate(seed, {NAME: None}, duration_s=duration_s, nodes=nodes)
    return Schedule(
        seed=seed,
        nodes=nodes,
        duration_s=duration_s,
        knobs=drawn.knobs,
        network=drawn.network,
        faults=drawn.faults,
        workloads=(WorkloadSpec(NAME),),
        checkers=CHECKERS,
    )


def _total(results: Iterable[Result], fact: str) -> float:
    return sum(result.facts.get(fact, 0.0) for result in results)
