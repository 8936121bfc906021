"""What one play came to, small enough to travel between processes, and what many came to."""

from __future__ import annotations

import collections
import json
import resource
from collections.abc import Iterable, Sequence

import msgspec

from peerdisco_sim.checkers.marks import MARKS
from peerdisco_sim.faults import FAULTS
from peerdisco_sim.knobs import KNOBS
from peerdisco_sim.play import Outcome
from peerdisco_sim.schedule import Schedule
from peerdisco_sim.version import code_version

DETAIL_CHARACTERS_MAX = 20_000


class Violation(msgspec.Struct, frozen=True):
    """One thing that must not happen; see `failures.Failure`."""

    at: float
    name: str
    detail: str
    node: str = ""

    def line(self) -> str:
        """The violation in one line."""
        where = f" on {self.node}" if self.node else ""
        last = self.detail.strip().splitlines()[-1:] or [""]
        return f"t={self.at:.3f}: {self.name}{where}: {last[0]}"


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One play; the fields are those of `play.Outcome`, and what it took.

    Attributes:
        label: What was played, for people: `seed 17` or the name of a file.
        replay: The command that plays it again.
    """

    label: str
    replay: str
    seed: int = 0
    nodes: int = 0
    virtual_s: float = 0.0
    calm_s: float = 0.0
    steps: int = 0
    digest: str = ""
    cpu_s: float = 0.0
    wall_s: float = 0.0
    memory_mib: float = 0.0
    operations: int = 0
    undecided: int = 0
    faults: dict[str, int] = {}
    missed: dict[str, int] = {}
    knobs: tuple[str, ...] = ()
    workloads: tuple[str, ...] = ()
    violations: tuple[Violation, ...] = ()
    facts: dict[str, float] = {}
    marks: dict[str, int] = {}

    def text(self) -> str:
        """For people: one line when all is well, else every violation and how to replay it."""
        head = (
            f"{self.label}: {self.nodes} nodes, {self.virtual_s:.0f} s, "
            f"{sum(self.faults.values())} faults, {self.operations} operations "
            f"({', '.join(self.workloads)}), {self.cpu_s:.1f} CPU s, digest {self.digest[:12]}"
        )
        if not self.violations:
            return head
        lines = [f"{each.line()}\n{each.detail}" for each in self.violations]
        return "\n".join([f"{head}: FAILED", *lines, f"replay: {self.replay}  # {code_version()}"])


def result_of(outcome: Outcome, label: str, replay: str, wall_s: float) -> Result:
    """The part of an outcome that travels."""
    schedule = outcome.schedule
    return Result(
        label=label,
        replay=replay,
        seed=schedule.seed,
        nodes=schedule.nodes,
        virtual_s=round(outcome.virtual_s, 6),
        calm_s=round(outcome.calm_s, 3),
        steps=outcome.steps,
        digest=outcome.digest,
        cpu_s=round(outcome.cpu_s, 4),
        wall_s=round(wall_s, 4),
        memory_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        operations=outcome.operations,
        undecided=outcome.undecided,
        faults=outcome.fired,
        missed=outcome.missed,
        knobs=tuple(schedule.knobs),
        workloads=tuple(spec.kind for spec in schedule.workloads),
        violations=tuple(
            Violation(each.at, each.name, each.detail[-DETAIL_CHARACTERS_MAX:], each.node)
            for each in outcome.failures
        ),
        facts=outcome.facts,
        marks=outcome.marks,
    )


def broken(schedule: Schedule, label: str, replay: str, name: str, detail: str) -> Result:
    """The result of a play that came to no end."""
    return Result(
        label=label,
        replay=replay,
        seed=schedule.seed,
        nodes=schedule.nodes,
        violations=(Violation(0.0, name, detail),),
    )


def unused(results: Iterable[Result]) -> list[str]:
    """Kinds of faults and knobs that no play used, each in words."""
    kinds: dict[str, None] = {}
    knobs: dict[str, None] = {}
    for result in results:
        kinds |= dict.fromkeys(result.faults)
        knobs |= dict.fromkeys(result.knobs)
    missing = [f"the fault {kind} never happened" for kind in FAULTS if kind not in kinds]
    return missing + [f"the knob {name} was never turned" for name in KNOBS if name not in knobs]


def unreached(results: Iterable[Result]) -> list[str]:
    """Rare branches that no play reached, each in words."""
    marks: dict[str, None] = {}
    for result in results:
        marks |= dict.fromkeys(name for name, count in result.marks.items() if count)
    return [f"never reached: {words}" for name, words in MARKS.items() if name not in marks]


def summary(results: Sequence[Result], **more: object) -> str:
    """One JSON object about many plays."""
    kinds: collections.Counter[str] = collections.Counter()
    knobs: collections.Counter[str] = collections.Counter()
    for result in results:
        kinds.update(result.faults)
        knobs.update(result.knobs)
    virtual_s = sum(result.virtual_s for result in results)
    cpu_s = sum(result.cpu_s for result in results)
    return json.dumps(
        {
            "seeds": len(results),
            "cluster_hours": round(virtual_s / 3600, 4),
            "faults": sum(kinds.values()),
            "ops": sum(result.operations for result in results),
            "violations": sum(len(result.violations) for result in results),
            "undecided": sum(result.undecided for result in results),
            "cpu_s": round(cpu_s, 3),
            "fault_kinds": dict(sorted(kinds.items())),
            "knobs": dict(sorted(knobs.items())),
            "cluster_s_per_cpu_s": round(virtual_s / cpu_s, 2) if cpu_s else 0.0,
            "memory_mib_max": round(max((r.memory_mib for r in results), default=0.0), 1),
            "failed": [result.replay for result in results if result.violations],
            **more,
        }
    )
