"""Draws schedules for real time: fewer faults than in the simulator, as nothing goes faster here.

A different mix for every seed, only of kinds that make sense for real processes, and never so many
at once that no majority is left: what a real cluster must not survive is no test of it.
"""

from __future__ import annotations

import random

from peerdisco_sim.faults import FAULTS
from peerdisco_sim.real.inflict import IMPOSSIBLE
from peerdisco_sim.schedule import Fault, Schedule, Value

GAP_S = (1.5, 4.0)
LASTS_S = (1.0, 6.0)
WEIGHTS = {
    "kill": 6,
    "power_cut": 5,
    "stop": 1,
    "pause": 4,
    "partition": 4,
    "one_way": 3,
    "cut_link": 2,
    "swizzle": 1,
    "degrade": 2,
    "bad_link": 2,
    "disk_full": 1,
    "worker_kill": 2,
    "worker_crash": 1,
    "worker_hang": 1,
}
TARGETS = {"any": 5, "coordinator": 4, "follower": 2, "worker": 2}
LASTING = ("back_s", "for_s")


def draw_schedule(seed: int, nodes: int, duration_s: float) -> Schedule:
    """The schedule of a seed."""
    draws = random.Random(f"{seed}/real/schedule")
    kinds = [kind for kind in WEIGHTS if draws.random() < 0.75] or ["kill"]
    faults: list[Fault] = []
    busy_until: list[float] = []
    at = draws.uniform(*GAP_S)
    while at < duration_s:
        busy_until = [until for until in busy_until if until > at]
        if len(busy_until) < max(1, (nodes - 1) // 2):
            kind = draws.choices(kinds, [WEIGHTS[kind] for kind in kinds])[0]
            lasts = round(draws.uniform(*LASTS_S), 2)
            faults.append(Fault(round(at, 2), kind, _target(draws, kind), _params(kind, lasts)))
            busy_until.append(at + lasts)
        at += draws.uniform(*GAP_S)
    return Schedule(seed=seed, nodes=nodes, duration_s=duration_s, faults=tuple(faults))


def _target(draws: random.Random, kind: str) -> str:
    if not FAULTS[kind].needs_target:
        return ""
    if kind in ("partition", "swizzle"):
        return "minority"
    return draws.choices(list(TARGETS), list(TARGETS.values()))[0]


def _params(kind: str, lasts: float) -> dict[str, Value]:
    return {name: lasts for name in LASTING if name in FAULTS[kind].params}


assert not set(WEIGHTS) & set(IMPOSSIBLE)
assert set(WEIGHTS) < set(FAULTS)
