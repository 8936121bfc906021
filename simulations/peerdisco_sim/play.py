"""Playing a schedule: boot, storm, calm, rest, verdict.

SAFETY: while the storm lasts, anything may fail, and nothing wrong may be seen. LIVENESS: then a
core is healed, all other damage stays for good, and every workload must finish and the core agree
within a bound. At rest the checkers and the workloads give their verdicts.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

from peerdisco_gossip import MemberState
from peerdisco_sim.arena import Arena, Checker, Phase, Workload
from peerdisco_sim.checkers import CHECKERS
from peerdisco_sim.checkers.marks import merged
from peerdisco_sim.failures import Failure
from peerdisco_sim.knobs import KNOBS
from peerdisco_sim.logs import recorded
from peerdisco_sim.network import Conditions
from peerdisco_sim.recorder import TimedEvent
from peerdisco_sim.schedule import BadSchedule, Fault, Schedule
from peerdisco_sim.sharing import share
from peerdisco_sim.storm import Storm, check_fault
from peerdisco_sim.workloads import WORKLOADS
from peerdisco_sim.world import World

BOOT_S_MAX = 90.0
LIVENESS_S_MAX = 240.0
"""How long the core may take after the storm until all work is done and everybody agrees."""

STEP_S = 0.25


Factory = Callable[[Mapping[str, Any]], Workload]
"""Makes a workload from its parameters."""

NO_WORKLOADS: Mapping[str, Factory] = MappingProxyType({})


class Watcher(Protocol):
    """Somebody who only looks on."""

    def begin(self, arena: Arena) -> None:
        """Install hooks; nothing has been booted yet."""


@runtime_checkable
class Patient(Protocol):
    """A checker that knows whether what it judges has come to rest."""

    def waiting_for(self) -> str:
        """What is still under way; empty when at rest."""


@dataclass(slots=True)
class Outcome:
    """What a play came to.

    Attributes:
        schedule: What was played.
        failures: What must not happen and did.
        fired: How often each kind of fault happened.
        missed: How often it found nobody, or nothing to do.
        fired_faults: What happened, by name and time: the schedule without selectors.
        events: The record.
        virtual_s, steps, digest, cpu_s: See `Report`.
        operations: Client operations that were checked.
        undecided: Histories that could not be judged within their budget.
        calm_s: How long it took from the calm to the rest.
        facts: What workloads measured, by name.
        marks: How often each rare branch was reached; see `checkers/marks.py`.
    """

    schedule: Schedule
    failures: Sequence[Failure] = ()
    fired: dict[str, int] = field(default_factory=dict)
    missed: dict[str, int] = field(default_factory=dict)
    fired_faults: Sequence[Fault] = ()
    events: Sequence[TimedEvent] = ()
    virtual_s: float = 0.0
    steps: int = 0
    digest: str = ""
    cpu_s: float = 0.0
    operations: int = 0
    undecided: int = 0
    calm_s: float = 0.0
    facts: dict[str, float] = field(default_factory=dict)
    marks: dict[str, int] = field(default_factory=dict)


def play(
    schedule: Schedule,
    *,
    log_level: int = logging.WARNING,
    more_workloads: Mapping[str, Factory] = NO_WORKLOADS,
    watchers: Sequence[Watcher] = (),
) -> Outcome:
    """Play a schedule; never raises for what goes wrong inside.

    Raises BadSchedule when the schedule asks for what does not exist.

    Args:
        schedule: What to play.
        log_level: What nodes log at this level or above is in the record.
        more_workloads: What a schedule may name beside `WORKLOADS`.
        watchers: Told of the arena before the first boot; they judge nothing.
    """
    workloads = {**WORKLOADS, **more_workloads}
    check(schedule, workloads)
    share()
    began = time.process_time()
    with World(schedule.seed) as world:
        stage = _Stage(world, schedule, workloads)
        for watcher in watchers:
            watcher.begin(stage.arena)
        try:
            with recorded(world, stage.arena.recorder, log_level):
                stage.play()
        except Exception:
            if not world.failures:
                world.fail("harness", traceback.format_exc())
        finally:
            stage.close()
        outcome = stage.outcome()
    outcome.cpu_s = time.process_time() - began
    return outcome


def check(schedule: Schedule, workloads: Mapping[str, Factory] = WORKLOADS) -> None:
    """Raises BadSchedule, naming what does not exist."""
    for fault in schedule.faults:
        check_fault(fault)
    for spec in schedule.workloads:
        if spec.kind not in workloads:
            raise BadSchedule(f"no workload is called {spec.kind!r}: {', '.join(workloads)}")
    for name in schedule.checkers:
        if name not in CHECKERS:
            raise BadSchedule(f"no checker is called {name!r}: {', '.join(CHECKERS)}")
    for name in schedule.knobs:
        if name not in KNOBS:
            raise BadSchedule(f"no knob is called {name!r}; see peerdisco_sim/knobs.py")
    fields = [item.name for item in dataclasses.fields(Conditions)]
    for name in schedule.network:
        if name not in fields:
            raise BadSchedule(f"the network has no {name!r}: {', '.join(fields)}")


class _Stage:
    """One play under way."""

    def __init__(self, world: World, schedule: Schedule, workloads: Mapping[str, Factory]) -> None:
        self.world = world
        self.schedule = schedule
        self.conditions = Conditions(**schedule.network)
        self.arena = Arena(world, schedule)
        self.storm = Storm(self.arena, self.conditions)
        names = schedule.checkers or tuple(CHECKERS)
        self.checkers: list[Checker] = [CHECKERS[name]() for name in names]
        self.workloads: list[Workload] = [
            workloads[spec.kind](spec.params) for spec in schedule.workloads
        ]
        self._running = 0
        self._calm_s = 0.0

    def play(self) -> None:
        """From boot to verdict, or to the first violation."""
        for act in (self._boot, self._rage, self._calm, self._judge):
            act()
            if self.world.failures:
                return

    def close(self) -> None:
        """Let workloads that changed something of this process undo it."""
        for workload in self.workloads:
            close = getattr(workload, "close", None)
            if close is not None:
                close()

    def _boot(self) -> None:
        self.arena.enter(Phase.BOOT)
        for checker in self.checkers:
            checker.begin(self.arena)
        count = self.schedule.nodes
        for number in range(1, count + 1):
            self.arena.add_node(f"n{number}")
        self.arena.born = dict.fromkeys(self.arena.born, 0.0)
        self._until(self._not_booted, BOOT_S_MAX)
        self.world.network.conditions = self.conditions

    def _rage(self) -> None:
        arena = self.arena
        arena.enter(Phase.STORM)
        for number, workload in enumerate(self.workloads):
            task = arena.spawn(lambda w=workload: w.run(arena), f"client-{number}")  # type: ignore[misc]  # mypy does not infer defaults of lambdas
            self._running += 1
            task.add_done_callback(self._one_ended)
        self.storm.begin(self.schedule.faults)
        self.world.run_for(self.schedule.duration_s)

    def _calm(self) -> None:
        arena, began = self.arena, self.world.now
        arena.stopping = True
        arena.core = self.storm.choose_core() if self.schedule.heal else tuple(arena.cluster.names)
        arena.enter(Phase.CALM)
        if self.schedule.heal:
            self.storm.calm(arena.core)
        self._until(self._unfinished, LIVENESS_S_MAX)
        self._calm_s = self.world.now - began

    def _judge(self) -> None:
        self.arena.enter(Phase.REST)
        for workload in self.workloads:
            workload.verify()
        for checker in self.checkers:
            checker.at_rest()

    # -- waiting ------------------------------------------------------------------------------

    def _until(self, missing: object, seconds: float) -> None:
        """Let time pass until nothing is missing; what still is when time is up is a violation."""
        assert callable(missing)
        deadline = self.world.now + seconds
        while not self.world.failures and (what := missing()):
            if self.world.now >= deadline:
                phase = self.arena.phase.value
                self.arena.fail(f"{phase} takes too long", f"after {seconds:.0f} s: {what}")
                return
            self.world.run_for(STEP_S)

    def _not_booted(self) -> str:
        nodes = {name: self.arena.node(name) for name in self.arena.cluster.names}
        down = [name for name, node in nodes.items() if node is None]
        if down:
            return f"not ready: {', '.join(down)}"
        sizes = {n: len(node.storage.layout.nodes) for n, node in nodes.items() if node}
        short = [name for name, size in sizes.items() if size < len(nodes)]
        return f"no layout of all nodes on {', '.join(short)}" if short else ""

    def _unfinished(self) -> str:
        """What the core still has to do."""
        if self._running:
            names = ", ".join(each.name for each in self.workloads if not _is_done(each))
            return f"workloads still run: {names}"
        arena = self.arena
        down = [name for name in arena.core if arena.node(name) is None]
        if down:
            return f"not ready: {', '.join(down)}"
        if self.schedule.heal and (doubts := self._doubts()):
            return doubts
        waiting = (each.waiting_for() for each in self.checkers if isinstance(each, Patient))
        return next(itertools.chain(filter(None, waiting), [""]))

    def _doubts(self) -> str:
        """Who in the core does not see another of the core alive."""
        nodes = {name: self.arena.node(name) for name in self.arena.core}
        ids = {n: node.identity.node_id for n, node in nodes.items() if node is not None}
        for name, node in nodes.items():
            for other, node_id in ids.items():
                member = node.membership.member(node_id) if node is not None else None
                if member is None or member.state is not MemberState.ALIVE:
                    return f"{name} does not see {other} alive"
        return ""

    def _one_ended(self, _: object) -> None:
        self._running -= 1

    def outcome(self) -> Outcome:
        """What it came to."""
        world = self.world
        self.arena.recorder.closed = True
        for client in self.arena.clients:
            client.abandon()
        return Outcome(
            schedule=self.schedule,
            failures=tuple(world.failures),
            fired=dict(self.storm.fired),
            missed=dict(self.storm.missed),
            fired_faults=tuple(self.storm.fired_faults),
            events=self.arena.recorder.events,
            virtual_s=world.now,
            steps=world.steps,
            digest=world.digest,
            operations=sum(workload.operations for workload in self.workloads),
            undecided=sum(getattr(checker, "undecided", 0) for checker in self.checkers),
            calm_s=self._calm_s,
            marks=merged([*self.checkers, *self.workloads]),
            facts={k: v for w in self.workloads for k, v in getattr(w, "facts", {}).items()},
        )


def _is_done(workload: Workload) -> bool:
    return bool(getattr(workload, "done", False))
