"""What a planted bug is, and how one is put into a class of the product."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from peerdisco_sim.schedule import Fault, Schedule, Value, WorkloadSpec
from peerdisco_sim.swarm import generate
from peerdisco_sim.workloads import WORKLOADS

DURATION_S = 45.0


@dataclass(frozen=True, slots=True)
class Bug:
    """A planted bug.

    Attributes:
        name: For the command line.
        story: What is wrong, in one line.
        expected: Beginnings of the names of rules, any of which may complain.
        plant: Puts it in; never undone, so it is called in a process that ends soon.
        schedule: What is played for a seed: a storm over a cluster that is asked for what the bug
            spoils. `swarm_schedule` is the general alternative, which takes more seeds.
    """

    name: str
    story: str
    expected: Sequence[str]
    plant: Callable[[], None]
    schedule: Callable[[int], Schedule]

    def is_found_by(self, rules: Sequence[str]) -> bool:
        """Whether one of these violated rules is an expected one."""
        return any(rule.startswith(start) for rule in rules for start in self.expected)


def swarm_schedule(seed: int) -> Schedule:
    """What `simulate run --swarm` plays for a seed."""
    return generate(seed, WORKLOADS)


def asked_for(*kinds: str) -> Callable[[int], Schedule]:
    """The swarm's storms over clusters that are asked for these workloads."""
    return lambda seed: focused(seed, work={kind: {} for kind in kinds})


def put(owner: Any, name: str, wrong: Any) -> None:
    """Replace a method of a class, or a function of a module, that is there."""
    assert hasattr(owner, name), f"{owner} has no {name}: the product has changed"
    setattr(owner, name, wrong)


def focused(
    seed: int,
    *,
    work: Mapping[str, Mapping[str, Value]],
    kinds: Sequence[str] = (),
    faults: Sequence[Fault] = (),
    knobs: Mapping[str, Value] | None = None,
    network: Mapping[str, float] | None = None,
    nodes: int | None = None,
    duration_s: float = DURATION_S,
) -> Schedule:
    """The swarm's schedule of a seed, with what brings a bug to light more often.

    Args:
        seed: Everything else follows from it.
        work: The workloads and their parameters, instead of the drawn ones.
        kinds: Only these kinds of the drawn faults stay; all when empty.
        faults: These are added.
        knobs: These are set over the drawn ones.
        network: How it behaves, instead of what was drawn.
        nodes: Size of the cluster, unless it is drawn.
        duration_s: Length of the storm.
    """
    drawn = generate(seed, WORKLOADS, duration_s=duration_s, nodes=nodes)
    kept = [fault for fault in drawn.faults if not kinds or fault.kind in kinds]
    return msgspec.structs.replace(
        drawn,
        workloads=tuple(WorkloadSpec(kind, dict(params)) for kind, params in work.items()),
        faults=tuple(sorted([*kept, *faults], key=lambda fault: fault.at)),
        knobs={**drawn.knobs, **(knobs or {})},
        network=drawn.network if network is None else dict(network),
    )
