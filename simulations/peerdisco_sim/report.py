"""What a run came to, and the one line that replays it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from peerdisco_sim.failures import Failure
from peerdisco_sim.version import code_version


@dataclass(frozen=True, slots=True)
class Report:
    """One scenario under one seed.

    Attributes:
        scenario: Its name.
        seed: From which everything followed.
        nodes: Size of the cluster.
        virtual_s: How much time passed inside.
        steps: Handles and events dispatched.
        digest: Of the wire, the times and the order; equal for equal seeds.
        cpu_s: CPU seconds that it took.
        operations: Client operations that were checked.
        faults: How often each kind of fault was inflicted.
        failures: What must not happen and did.
        undecided: Histories that the checkers could not judge within their budget.
    """

    scenario: str
    seed: int
    nodes: int
    virtual_s: float
    steps: int
    digest: str
    cpu_s: float
    operations: int = 0
    faults: Mapping[str, int] = field(default_factory=dict)
    failures: Sequence[Failure] = ()
    undecided: int = 0

    @property
    def replay(self) -> str:
        """The command that repeats this run; it holds for this code and this Python only."""
        return (
            f"peerdisco simulate run --scenario {self.scenario} --nodes {self.nodes} "
            f"--seed {self.seed}  # {code_version()}"
        )

    def text(self) -> str:
        """For people: one line when all is well, else every failure and how to replay it."""
        head = (
            f"seed {self.seed}: {self.scenario}, {self.nodes} nodes, {self.virtual_s:.1f} s, "
            f"{sum(self.faults.values())} faults, {self.operations} operations, "
            f"digest {self.digest[:16]}"
        )
        if not self.failures:
            return head
        details = [failure.line() + "\n" + failure.detail for failure in self.failures]
        return "\n".join([head + ": FAILED", *details, f"replay: {self.replay}"])


def summary(reports: Sequence[Report]) -> str:
    """One JSON object about many runs."""
    kinds: dict[str, int] = {}
    for report in reports:
        for kind, count in report.faults.items():
            kinds[kind] = kinds.get(kind, 0) + count
    node_seconds = sum(report.virtual_s * report.nodes for report in reports)
    virtual_s = sum(report.virtual_s for report in reports)
    return json.dumps(
        {
            "seeds": len(reports),
            "cluster_hours": round(virtual_s / 3600, 4),
            "node_hours": round(node_seconds / 3600, 4),
            "faults": sum(kinds.values()),
            "ops": sum(report.operations for report in reports),
            "violations": sum(len(report.failures) for report in reports),
            "undecided": sum(report.undecided for report in reports),
            "cpu_s": round(sum(report.cpu_s for report in reports), 3),
            "fault_kinds": dict(sorted(kinds.items())),
            "knobs": {},
            "digests": [report.digest for report in reports],
            "failed_seeds": [report.seed for report in reports if report.failures],
        }
    )
