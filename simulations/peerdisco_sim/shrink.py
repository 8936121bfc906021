"""Making a failing schedule small: what is left is what it takes.

Faults first, by delta debugging; then what the cluster is asked to do and how long, then nodes,
knobs and the network. A smaller schedule counts when the same rule is broken again: another
failure may be another bug. Every candidate is a play of its own process, so no run disturbs the
next, and a few are tried at once.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from peerdisco_sim.result import Result
from peerdisco_sim.runner import Job, run_all
from peerdisco_sim.schedule import Fault, Schedule, WorkloadSpec

T = TypeVar("T")
RUNS_MAX = 300
AFTER_S = 5.0
"""A storm is cut to this long after its last fault."""

Judge = Callable[[Sequence[Schedule]], int | None]
"""Plays candidates; the index of the first that fails in the same way, or None."""


@dataclass(slots=True)
class Shrunk:
    """What shrinking came to.

    Attributes:
        schedule: The smallest that still fails.
        result: What it came to.
        runs: How many plays it took.
    """

    schedule: Schedule
    result: Result
    runs: int


class NotFailing(ValueError):
    """The schedule does not fail, so there is nothing to shrink."""


class Shrinker:
    """Shrinks one schedule.

    Args:
        processes: How many plays at a time.
        runs_max: When to be content.
        say: Told of progress.
    """

    def __init__(
        self,
        *,
        processes: int,
        runs_max: int = RUNS_MAX,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._processes = processes
        self._runs_max = runs_max
        self._say = say
        self._runs = 0
        self._rule = ""
        self._last: Result | None = None

    def shrink(self, schedule: Schedule) -> Shrunk:
        """The smallest schedule found that breaks the same rule. Raises NotFailing."""
        (result,) = self._play([schedule])
        if not result.violations:
            raise NotFailing(f"{schedule.nodes} nodes, {len(schedule.faults)} faults: no violation")
        self._rule, self._last = result.violations[0].name, result
        self._say(f"rule: {self._rule}")
        schedule = self._until(schedule, result.violations[0].at)
        before = None
        while schedule != before and self._runs < self._runs_max:
            before = schedule
            for step in (_fewer_faults, _less_work, _shorter, _fewer_nodes, _fewer_knobs, _plainer):
                schedule = step(schedule, self._first_failing)
                self._say(_size(schedule, self._runs))
        return Shrunk(schedule, self._last, self._runs)

    def _until(self, schedule: Schedule, at: float) -> Schedule:
        """Without what came after the violation: the storm begins a little after time 0."""
        faults = tuple(fault for fault in schedule.faults if fault.at <= at)
        shorter = msgspec.structs.replace(schedule, faults=faults)
        if len(faults) == len(schedule.faults) or self._first_failing([shorter]) is None:
            return schedule
        self._say(_size(shorter, self._runs))
        return shorter

    def _first_failing(self, candidates: Sequence[Schedule]) -> int | None:
        """The judge. Looks at no more than the runs that are left."""
        step = self._processes
        for start in range(0, len(candidates), step):
            if self._runs >= self._runs_max:
                return None
            for offset, result in enumerate(self._play(candidates[start : start + step])):
                if result.violations and result.violations[0].name == self._rule:
                    self._last = result
                    return start + offset
        return None

    def _play(self, schedules: Sequence[Schedule]) -> list[Result]:
        self._runs += len(schedules)
        jobs = [Job(each, str(index), "shrink") for index, each in enumerate(schedules)]
        results = run_all(jobs, processes=self._processes)
        return sorted(results, key=lambda result: int(result.label))


def _fewer_faults(schedule: Schedule, judge: Judge) -> Schedule:
    def with_faults(faults: Sequence[Fault]) -> Schedule:
        return msgspec.structs.replace(schedule, faults=tuple(faults))

    return with_faults(minimize(schedule.faults, with_faults, judge))


def _less_work(schedule: Schedule, judge: Judge) -> Schedule:
    def with_work(workloads: Sequence[WorkloadSpec]) -> Schedule:
        return msgspec.structs.replace(schedule, workloads=tuple(workloads))

    schedule = with_work(minimize(schedule.workloads, with_work, judge))
    for index, spec in enumerate(schedule.workloads):
        for name, value in spec.params.items():
            while type(value) is int and value > 1:
                value //= 2
                params = {**spec.params, name: value}
                candidate = _replaced(schedule, index, WorkloadSpec(spec.kind, params))
                if judge([candidate]) is None:
                    break
                schedule, spec = candidate, candidate.workloads[index]
    return schedule


def _replaced(schedule: Schedule, index: int, spec: WorkloadSpec) -> Schedule:
    workloads = list(schedule.workloads)
    workloads[index] = spec
    return msgspec.structs.replace(schedule, workloads=tuple(workloads))


def _shorter(schedule: Schedule, judge: Judge) -> Schedule:
    """End the storm soon after the last fault."""
    last = max((fault.at for fault in schedule.faults), default=0.0)
    lengths = [length for length in (last + AFTER_S,) if length < schedule.duration_s]
    candidates = [msgspec.structs.replace(schedule, duration_s=length) for length in lengths]
    found = judge(candidates)
    return schedule if found is None else candidates[found]


def _fewer_nodes(schedule: Schedule, judge: Judge) -> Schedule:
    candidates = [
        msgspec.structs.replace(schedule, nodes=nodes) for nodes in range(1, schedule.nodes)
    ]
    found = judge(candidates)
    return schedule if found is None else candidates[found]


def _fewer_knobs(schedule: Schedule, judge: Judge) -> Schedule:
    def with_knobs(names: Sequence[str]) -> Schedule:
        knobs = {name: schedule.knobs[name] for name in names}
        return msgspec.structs.replace(schedule, knobs=knobs)

    return with_knobs(minimize(tuple(schedule.knobs), with_knobs, judge))


def _plainer(schedule: Schedule, judge: Judge) -> Schedule:
    """A usual network, and faults as they are by default."""
    if schedule.network:
        plain = msgspec.structs.replace(schedule, network={})
        if judge([plain]) is not None:
            schedule = plain
    for index, fault in enumerate(schedule.faults):
        if fault.params:
            faults = list(schedule.faults)
            faults[index] = msgspec.structs.replace(fault, params={})
            plain = msgspec.structs.replace(schedule, faults=tuple(faults))
            if judge([plain]) is not None:
                schedule = plain
    return schedule


def minimize(items: Sequence[T], build: Callable[[Sequence[T]], Schedule], judge: Judge) -> list[T]:
    """The smallest part of the items that still fails, by delta debugging (Zeller's ddmin)."""
    kept = list(items)
    if kept and judge([build([])]) is not None:
        return []
    pieces = 2
    while len(kept) >= 2:
        candidates = list(_without_a_piece(kept, pieces))
        found = judge([build(candidate) for candidate in candidates])
        if found is not None:
            kept, pieces = candidates[found], max(pieces - 1, 2)
        elif pieces >= len(kept):
            break
        else:
            pieces = min(2 * pieces, len(kept))
    return kept


def _without_a_piece(items: list[T], pieces: int) -> Iterator[list[T]]:
    bounds = [len(items) * index // pieces for index in range(pieces + 1)]
    for start, end in itertools.pairwise(bounds):
        yield items[:start] + items[end:]


def _size(schedule: Schedule, runs: int) -> str:
    return (
        f"{len(schedule.faults)} faults, {len(schedule.workloads)} workloads, "
        f"{schedule.nodes} nodes, {len(schedule.knobs)} knobs after {runs} runs"
    )
