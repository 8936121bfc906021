"""Looks for a planted bug: seed after seed until an expected rule complains.

The schedule that found it is then played without the bug: a rule that complains all the same has
found something else, and proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace

from peerdisco_sim.arena import Arena
from peerdisco_sim.planted.bug import Bug
from peerdisco_sim.result import Result
from peerdisco_sim.runner import Job, run_all

SEEDS_MAX = 300
PAST_S = 1.0


@dataclass(frozen=True, slots=True)
class Found:
    """What a search came to.

    Attributes:
        bug: Its name.
        seeds: How many were played until it was found, or in vain.
        rule: The rule that complained; empty when none did.
        cpu_s: Of all plays.
    """

    bug: str
    seeds: int
    rule: str
    cpu_s: float

    def text(self) -> str:
        """One line."""
        if not self.rule:
            return f"{self.bug}: NOT FOUND in {self.seeds} seeds, {self.cpu_s:.0f} CPU s"
        return f"{self.bug}: found by {self.rule!r}, seed {self.seeds}, {self.cpu_s:.0f} CPU s"


def search(
    bug: Bug,
    *,
    processes: int,
    seeds_max: int = SEEDS_MAX,
    show: Callable[[Result], None] = lambda _: None,
) -> Found:
    """Play seeds from 1 on with the bug planted until it is found."""
    cpu_s, played = 0.0, 0
    with closing(run_all(_jobs(bug, seeds_max, planted=True), processes=processes)) as plays:
        for result in plays:
            show(result)
            cpu_s += result.cpu_s
            played += 1
            rule = expected_rule(bug, result)
            if rule and not expected_rule(bug, _alone(bug, result)):
                return Found(bug.name, result.seed, rule, cpu_s)
    return Found(bug.name, played, "", cpu_s)


def play_planted(bug: Bug, seed: int) -> Result:
    """Play one seed with the bug planted."""
    return next(run_all([_job(bug, seed, planted=True)], processes=1))


def expected_rule(bug: Bug, result: Result) -> str:
    """The expected rule that complained; empty when none did."""
    rules = [violation.name for violation in result.violations]
    return next((rule for rule in rules if bug.is_found_by([rule])), "")


def _alone(bug: Bug, found: Result) -> Result:
    """The same play without the bug, up to the moment at which it was found."""
    until = _Until(found.violations[0].at + PAST_S)
    job = replace(_job(bug, found.seed, planted=False), watchers=(until,))
    return next(run_all([job], processes=1))


class _Until:
    """Ends a play at a moment."""

    def __init__(self, when: float) -> None:
        self._when = when

    def begin(self, arena: Arena) -> None:
        arena.world.at(self._when, lambda: arena.world.fail("stopped", "seen enough"))


def _jobs(bug: Bug, seeds_max: int, *, planted: bool) -> Iterator[Job]:
    return (_job(bug, seed, planted=planted) for seed in range(1, seeds_max + 1))


def _job(bug: Bug, seed: int, *, planted: bool) -> Job:
    replay = f"peerdisco simulate planted --only {bug.name} --seed {seed}"
    label = f"{bug.name}, seed {seed}" + ("" if planted else ", without the bug")
    return Job(bug.schedule(seed), label, replay, prepare=bug.plant if planted else None)
