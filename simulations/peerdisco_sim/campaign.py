"""A campaign: many seeds, or many kept schedules, judged as a whole.

A campaign fails when any play does, when a second play of the same schedule in another process
under another hash seed gives another digest, and, when it is large enough to expect it, when a
kind of fault or a knob was never used, or a rare branch never reached.
"""

from __future__ import annotations

import itertools
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from peerdisco_sim.result import Result, unreached, unused
from peerdisco_sim.runner import Job, differing, run_all
from peerdisco_sim.schedule import Schedule, read_schedule
from peerdisco_sim.swarm import DURATION_S, generate
from peerdisco_sim.workloads import WORKLOADS

REPEAT_SHARE = 0.02
UNUSED_SEEDS_MIN, UNREACHED_SEEDS_MIN = 60, 200
"""From so many seeds on, a fault or a knob that was never used, and a rare branch that was never
reached, cannot be chance."""

CORPUS = Path(__file__).parents[1] / "corpus"


@dataclass(slots=True)
class Campaign:
    """What a campaign came to.

    Attributes:
        results: Of all plays, as they ended.
        repeated: How many were played a second time elsewhere.
        complaints: What is wrong with the campaign as a whole, a line each.
        wall_s: How long it took.
    """

    results: list[Result] = field(default_factory=list)
    repeated: int = 0
    complaints: Sequence[str] = ()
    wall_s: float = 0.0

    @property
    def failed(self) -> bool:
        """Whether anything was wrong."""
        return bool(self.complaints) or any(result.violations for result in self.results)

    def uncovered(self) -> list[str]:
        """What so many plays should have used and reached, and did not."""
        lines = unused(self.results) if len(self.results) >= UNUSED_SEEDS_MIN else []
        enough = len(self.results) >= UNREACHED_SEEDS_MIN
        return lines + (unreached(self.results) if enough else [])


def swarm_job(seed: int, *, duration_s: float = DURATION_S, nodes: int | None = None) -> Job:
    """The play of a seed."""
    schedule = generate(seed, WORKLOADS, duration_s=duration_s, nodes=nodes)
    replay = f"peerdisco simulate run --swarm --seed {seed}"
    if duration_s != DURATION_S:
        replay += f" --duration {duration_s:g}"
    if nodes is not None:
        replay += f" --nodes {nodes}"
    return Job(schedule, f"seed {seed}", replay)


def file_job(path: Path) -> Job:
    """The play of a file. Raises BadSchedule or OSError."""
    return Job(read_schedule(path), path.name, f"peerdisco simulate replay {_shown(path)}")


def corpus_jobs(directory: Path = CORPUS) -> list[Job]:
    """The plays of all kept schedules. Raises BadSchedule or OSError."""
    return [file_job(path) for path in sorted(directory.glob("*.json"))]


def run_campaign(
    jobs: Iterable[Job],
    *,
    processes: int,
    repeat_share: float = 0.0,
    until: float | None = None,
    show: Callable[[Result], None] = lambda _: None,
    keep: Path | None = None,
) -> Campaign:
    """Play all jobs and judge them.

    Args:
        jobs: What to play; may be endless when `until` is given.
        processes: How many at a time.
        repeat_share: Which share is played a second time elsewhere; at least one if not 0.
        until: A time of `time.monotonic` after which nothing new begins.
        show: Told of each result.
        keep: A directory for the schedules of plays that failed.
    """
    began = time.monotonic()
    campaign = Campaign()
    begun: dict[str, Job] = {}

    def noted() -> Iterator[Job]:
        for job in jobs:
            if until is not None and time.monotonic() > until:
                return
            begun[job.label] = job
            yield job

    for result in run_all(noted(), processes=processes):
        campaign.results.append(result)
        show(result)
        if result.violations and keep is not None:
            _keep(keep, begun[result.label].schedule, result)
    if repeat_share:
        every = max(1, round(1 / repeat_share))
        chosen = [(begun[each.label], each) for each in campaign.results[::every]]
        campaign.repeated = len(chosen)
        campaign.complaints = differing(chosen)
    campaign.complaints = [*campaign.complaints, *campaign.uncovered()]
    campaign.wall_s = time.monotonic() - began
    return campaign


def swarm_jobs(
    first: int, number: int | None, *, duration_s: float = DURATION_S, nodes: int | None = None
) -> Iterator[Job]:
    """The plays of that many seeds, counting up; without end when `number` is None."""
    seeds = itertools.count(first) if number is None else range(first, first + number)
    return (swarm_job(seed, duration_s=duration_s, nodes=nodes) for seed in seeds)


def any_seed() -> int:
    """A seed that nobody has chosen."""
    return secrets.randbelow(1 << 40)


def processors() -> int:
    """How many plays may run at a time on this machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _keep(directory: Path, schedule: Schedule, result: Result) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    why = f"{result.violations[0].name}: {result.violations[0].line()}"[:200]
    name = result.label.replace(" ", "-").removesuffix(".json")
    named = msgspec.structs.replace(schedule, why=why)
    (directory / f"{name}.json").write_bytes(named.encode())


def _shown(path: Path) -> str:
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
