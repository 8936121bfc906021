"""What a scenario is, and how one is played under a seed."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from peerdisco_sim.report import Report
from peerdisco_sim.world import World


@dataclass(slots=True)
class Tally:
    """What a scenario counted."""

    operations: int = 0
    undecided: int = 0
    faults: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Scenario:
    """A play with a name.

    Attributes:
        name: One word, for the command line.
        summary: One line, for people.
        nodes: Size of the cluster unless the caller wants another.
        play: Plays it in a fresh world.
    """

    name: str
    summary: str
    nodes: int
    play: Callable[[World, int], Tally]


def play(scenario: Scenario, seed: int, nodes: int | None = None) -> Report:
    """Play a scenario; never raises for what goes wrong inside the world."""
    size = scenario.nodes if nodes is None else nodes
    began = time.process_time()
    tally = Tally()
    with World(seed) as world:
        try:
            tally = scenario.play(world, size)
        except Exception:  # a bug of the scenario, or what its client met
            if not world.failures:
                world.fail("scenario", traceback.format_exc())
        failures = tuple(world.failures)
        virtual_s, steps, digest = world.now, world.steps, world.digest
    return Report(
        scenario=scenario.name,
        seed=seed,
        nodes=size,
        virtual_s=virtual_s,
        steps=steps,
        digest=digest,
        cpu_s=time.process_time() - began,
        operations=tally.operations,
        faults=dict(tally.faults),
        failures=failures,
        undecided=tally.undecided,
    )
