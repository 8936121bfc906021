"""Plays a schedule on real daemons, from the first start to the verdict.

The storm is real time. After it everything is healed, all that is down is started, and within
`SETTLE_S_MAX` the daemons must agree again, running jobs end exactly, and all that was acknowledged
be there. A daemon that ends by itself, a traceback in a log or a daemon that does not stop when it
is told to are violations too.
"""

from __future__ import annotations

import collections
import heapq
import itertools
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from peerdisco.errors import PeerdiscoError
from peerdisco_sim.real.abilities import Abilities
from peerdisco_sim.real.cluster import RealCluster, open_cluster
from peerdisco_sim.real.inflict import Disasters
from peerdisco_sim.real.namespaces import run_inside
from peerdisco_sim.real.shell import ToolFailed
from peerdisco_sim.real.skipping import NotNow, Skipped
from peerdisco_sim.real.targets import Targets
from peerdisco_sim.real.workload import Clients
from peerdisco_sim.schedule import Fault, Schedule

SETTLE_S_MAX = 120.0
WATCH_S = 0.5
WAIT_S, LOOK_AGAIN_S = 6.0, 0.3
"""How long a fault looks for a victim, as in the simulator."""

Tell = Callable[[str], None]


@dataclass(slots=True)
class RealReport:
    """What came of one play.

    Attributes:
        seed: Of the schedule.
        nodes: At the beginning.
        lasted_s: From the first start to the verdict.
        faults: Inflicted, by kind.
        skipped: Not inflicted: kind and reason, with how often.
        violations: Rule and detail.
        operations: Answered operations of clients, jobs included.
        jobs: That ended with exact counts.
        unknown: Operations without an answer.
    """

    seed: int
    nodes: int
    lasted_s: float = 0.0
    faults: collections.Counter[str] = field(default_factory=collections.Counter)
    skipped: collections.Counter[str] = field(default_factory=collections.Counter)
    violations: list[tuple[str, str]] = field(default_factory=list)
    operations: int = 0
    jobs: int = 0
    unknown: int = 0

    def text(self) -> str:
        """For people."""
        head = (
            f"seed {self.seed}: {self.nodes} real nodes, {self.lasted_s:.0f} s, "
            f"{sum(self.faults.values())} faults, {self.operations} operations "
            f"({self.unknown} unknown), {self.jobs} jobs"
        )
        lines = [head + (": FAILED" if self.violations else ": all exact")]
        lines += [f"  skipped {count}x {what}" for what, count in sorted(self.skipped.items())]
        lines += [f"  {rule}: {detail}" for rule, detail in self.violations]
        return "\n".join(lines)


def play_real(schedule: Schedule, abilities: Abilities, tell: Tell) -> RealReport:
    """Play it. Violations are in the report; raises only what keeps a cluster from starting."""
    report = RealReport(schedule.seed, schedule.nodes)
    began = time.monotonic()
    interrupted = threading.Event()
    with open_cluster(abilities) as cluster:
        play = _Play(cluster, schedule, abilities, report, interrupted, tell)
        try:
            run_inside(cluster.client_wire, play.run)
        except BaseException:
            interrupted.set()
            raise
    report.lasted_s = time.monotonic() - began
    return report


class _Play:
    """One play in one open cluster."""

    def __init__(
        self,
        cluster: RealCluster,
        schedule: Schedule,
        abilities: Abilities,
        report: RealReport,
        interrupted: threading.Event,
        tell: Tell,
    ) -> None:
        self._cluster = cluster
        self._schedule = schedule
        self._abilities = abilities
        self._report = report
        self._interrupted = interrupted
        self._tell = tell
        self._clients = Clients(cluster.rest, schedule.seed, self._fail)
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._serial = itertools.count()
        self._began = 0.0

    def run(self) -> None:
        """From start to verdict."""
        self._cluster.start(self._schedule.nodes)
        self._cluster.wait_settled()
        self._tell(f"{self._schedule.nodes} daemons are one cluster")
        disasters = self._disasters()
        self._clients.start()
        self._storm(disasters)
        self._tell("the storm is over: healing everything")
        disasters.heal()
        try:
            self._cluster.wait_settled(SETTLE_S_MAX)
        except PeerdiscoError as error:
            self._fail("no agreement", str(error))
        self._clients.stop()
        self._clients.judge()
        self._judge_daemons()
        self._report.operations = self._clients.operations
        self._report.jobs = self._clients.jobs
        self._report.unknown = self._clients.unknown

    def _disasters(self) -> Disasters:
        draws = random.Random(f"{self._schedule.seed}/real/choices")
        targets = Targets(self._cluster, lambda: self._clients.running_job, draws)
        return Disasters(self._cluster, self._abilities, targets, self._later, draws)

    def _storm(self, disasters: Disasters) -> None:
        self._began = time.monotonic()
        for fault in self._schedule.faults:
            self._at(fault.at, lambda fault=fault: self._inflict(disasters, fault))  # type: ignore[misc]  # mypy does not infer defaults of lambdas
        while (now := self._now()) < self._schedule.duration_s:
            until = min(self._agenda[0][0] if self._agenda else now + WATCH_S, now + WATCH_S)
            if self._interrupted.wait(max(0.0, until - now)):
                raise KeyboardInterrupt
            while self._agenda and self._agenda[0][0] <= self._now():
                self._act(heapq.heappop(self._agenda)[2])
            self._watch(disasters)
        self._agenda.clear()

    def _act(self, action: Callable[[], None]) -> None:
        try:
            action()
        except ToolFailed as error:
            self._fail("harness", str(error))

    def _inflict(self, disasters: Disasters, fault: Fault) -> None:
        try:
            victims = disasters.inflict(fault)
        except NotNow as reason:
            if self._now() < fault.at + WAIT_S:
                self._later(LOOK_AGAIN_S, lambda: self._inflict(disasters, fault))
                return
            self._skip(fault, reason)
            return
        except Skipped as reason:
            self._skip(fault, reason)
            return
        self._report.faults[fault.kind] += 1
        self._tell(f"{self._now():6.1f} s  {fault.kind} {victims}")

    def _skip(self, fault: Fault, reason: Skipped) -> None:
        self._report.skipped[f"{fault.kind}: {reason}"] += 1
        self._tell(f"{self._now():6.1f} s  skipped {fault.kind} of {fault.target}: {reason}")

    def _watch(self, disasters: Disasters) -> None:
        """Nobody may end by itself, but for want of a disk."""
        for name, daemon in self._cluster.daemons.items():
            if daemon.is_running or name in disasters.meant_down:
                continue
            if name in disasters.refused:
                disasters.supervise(daemon)
            else:
                disasters.meant_down[name] = None
                self._fail("a daemon ended by itself", f"{name}:\n{daemon.tail()}")

    def _judge_daemons(self) -> None:
        for name, daemon in self._cluster.daemons.items():
            if daemon.is_running and not daemon.stop():
                self._fail("does not stop", f"{name}:\n{daemon.tail()}")
            for line, count in collections.Counter(daemon.tracebacks()).items():
                self._fail("unhandled exception", f"{name}, {count} times: {line}")

    def _fail(self, rule: str, detail: str) -> None:
        self._report.violations.append((rule, detail))
        self._tell(f"VIOLATION {rule}: {detail}")

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        self._at(self._now() + seconds, action)

    def _at(self, when: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (when, next(self._serial), action))

    def _now(self) -> float:
        """Seconds since the storm began."""
        return time.monotonic() - self._began
