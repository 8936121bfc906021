"""Jobs, checked from their facts to their answers: see `job_rules.py`.

Facts are taken from whichever voter applies an entry first. At rest every acknowledged job has
ended and is known to the whole core, and nothing of it is left behind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from peerdisco.coordination import JobPhase, NoSuchJob
from peerdisco.coordination.errors import JobUnreachable
from peerdisco.coordination.facts import (
    Assigned,
    AttemptEnded,
    AttemptLost,
    Batch,
    CoordinatorElected,
    Fact,
    InputsResolved,
    JobEnded,
    JobSubmitted,
    NodeLost,
    OutputsLost,
    StageOpened,
)
from peerdisco.coordination.messages import JobHandle, JobStatus
from peerdisco.coordination.pointers import PREFIX
from peerdisco.coordination.replica import JobReplica
from peerdisco.execution.paths import SEGMENTS, SPOOL, job_of
from peerdisco.messages import Assignment, Finished, InputsLost, Outcome, decode
from peerdisco.node import Node
from peerdisco.worker.messages import RunTask
from peerdisco_sim.arena import Arena
from peerdisco_sim.checkers import taps
from peerdisco_sim.checkers.job_rules import JobRules
from peerdisco_sim.disk import SimDisk
from peerdisco_sim.histories import JobHistory
from peerdisco_sim.job_model import DEAD, READY, End, JobModel
from peerdisco_sim.linearizability import Operation, Verdict, decide
from peerdisco_sim.processes import SimProcesses

OWNER = "simulation"
"""Jobs of this owner read all that they are given."""

ANSWER_S_MAX = 60.0

GARBAGE_S_MAX = 30.0
"""Segments are looked for only where the sweep that deletes the last ones comes this often."""


class JobChecker:
    """F1, J2 to J8 and R7 of the list in `__init__.py`; J1 is the workloads' own.

    Attributes:
        undecided: Histories that could not be judged within their budget.
    """

    name = "jobs"

    def begin(self, arena: Arena) -> None:
        """See Checker."""
        self._arena = arena
        self.rules = JobRules(self._fail)
        self.marks: Counter[str] = Counter()
        self.undecided = 0
        self._coordinators: dict[str, str] = {}
        arena.observe(self._observe)

    # -- listening ----------------------------------------------------------------------------

    def _observe(self, _: str, node: Node) -> None:
        me, directory = node.identity.node_id, node.coordination.directory

        def admitted(group: str, recovered: object, machine: object) -> None:
            del recovered
            if isinstance(machine, JobReplica):
                job = group.removeprefix(PREFIX)
                taps.before(machine, "apply", lambda i, data: self._applied(job, i, data))

        def submitted(_: bytes) -> taps.Observer:
            def acknowledged(handle: JobHandle) -> None:
                self.rules.acknowledged(handle.name)

            return acknowledged

        def waited(name: str, **_: object) -> taps.Observer:
            before = self.rules.asked(name)

            def told(status: JobStatus) -> None:
                self.rules.told(name, before, status.version, status.status.value, me)

            return told

        taps.before(node.groups, "_admit", admitted)
        taps.around_async(node.runner, "run", lambda assignment: self._runs(node, assignment))
        taps.before(node.runner._pool, "execute", lambda request, _: self._begins(node, request))
        taps.around_async(directory, "submit", submitted)
        taps.around_async(directory, "wait", waited)
        taps.around_async(directory, "kill", lambda job: lambda _: self.rules.killed(job, me))
        taps.before(directory, "purge", self.rules.purged)

    def _applied(self, job: str, index: int, command: bytes) -> None:
        if self.rules.is_news(job, index):
            for fact in decode(command, Batch).facts:
                self._fact(job, fact)

    def _fact(self, job: str, fact: Fact) -> None:
        rules = self.rules
        match fact:
            case JobSubmitted():
                rules.submitted(job, exact=fact.spec.owner == OWNER)
                self._note(job, "submitted")
            case CoordinatorElected():
                before = self._coordinators.setdefault(job, fact.node)
                self.marks["job.taken_over"] += before != fact.node
                self._coordinators[job] = fact.node
            case Assigned():
                self.marks["job.backup"] += fact.backup
                key = (fact.stage, fact.task)
                now = self._arena.world.now
                rules.assigned(job, fact.attempt, key, fact.node, now, backup=fact.backup)
            case AttemptEnded():
                self.marks["job.inputs_lost"] += isinstance(fact.outcome, InputsLost)
                if isinstance(fact.outcome, Finished):
                    self.marks["job.late"] += not rules.is_running(job, fact.attempt)
                    rules.finished(job, fact.attempt)
                else:
                    rules.retired(job, fact.attempt)
            case AttemptLost():
                self.marks["job.attempt_lost"] += 1
                rules.retired(job, fact.attempt)
            case NodeLost():
                self.marks["job.node_lost"] += 1
                rules.node_lost(job, fact.node)
            case OutputsLost() | InputsResolved():
                pass
            case StageOpened():
                self._note(job, f"stage {fact.stage}")
            case JobEnded():
                self.marks["job.killed"] += fact.phase is JobPhase.KILLED
                self.marks["job.failed"] += fact.phase is JobPhase.DEAD
                cause = fact.error.message if fact.error is not None else ""
                rules.ended(job, fact.phase.value, cause, self._arena.world.now)
                self._note(job, fact.phase.value)

    def _note(self, job: str, what: str) -> None:
        self._arena.recorder.note("job", f"{job}: {what}", job=job, what=what)

    def _runs(self, node: Node, assignment: Assignment) -> taps.Observer:
        me, job, attempt = node.identity.node_id, assignment.job, assignment.attempt
        key = (assignment.stage, assignment.task)
        busy, slots = len(node.runner._running) + 1, node.runner.slots
        self.rules.runs(job, attempt, key, me, self._arena.world.now, busy=busy, slots=slots)

        def ended(outcome: Outcome) -> None:
            if isinstance(outcome, Finished) and assignment.stage > 0:
                written = sum(each.records for each in assignment.inputs)
                self.rules.read(job, attempt, me, outcome.records_in, written)

        return ended

    def _begins(self, node: Node, request: RunTask) -> None:
        """J7: a worker is told how much memory this node's machine can spare for one task."""
        usual = node.config.task_memory_bytes
        allowed = int(self._arena.schedule.knobs.get("execution.memory_bytes_max", usual))
        if request.memory_bytes_max > allowed:
            detail = f"{request.assignment.job}: {request.memory_bytes_max} of {allowed} bytes"
            self._fail("J7 too much memory", detail, node.identity.node_id)

    def _fail(self, rule: str, detail: str, node: str) -> None:
        self._arena.fail(rule, detail, self._arena.name_of(node) if node else "")

    # -- at rest ------------------------------------------------------------------------------

    def waiting_for(self) -> str:
        """J3, J6: until acknowledged jobs have ended, and nothing of them is left on the core."""
        for name, job in self.rules.jobs.items():
            if job.acknowledged and not job.ended:
                return f"J3: {name} has not ended"
        return next((f"J6: {left}" for left in self._left_behind()), "")

    def at_rest(self) -> None:
        """J5, R7: the core can tell how every acknowledged job ended, and always told the truth."""
        if wrong := self.waiting_for():
            self._arena.fail("J6 left behind", wrong)
        for name, history in self._arena.histories.items():
            if isinstance(history, JobHistory):
                self._judge(name, history)
        for name, job in self.rules.jobs.items():
            if job.acknowledged and not job.purged:
                self._known(name)

    def _judge(self, name: str, history: JobHistory) -> None:
        """R7. The job's end by itself is added to what clients did."""
        operations = history.known()
        job = self.rules.jobs.get(name.removeprefix("job "))
        if job is not None and job.ended in (READY, DEAD) and operations:
            operations.append(Operation(operations[0].call, job.ended_at, End(job.ended)))
        decision = decide(operations, JobModel())
        self.undecided += decision.verdict is Verdict.UNDECIDED
        if decision.verdict is Verdict.VIOLATION:
            self._arena.fail("R7 not linearizable", f"{name}: nothing explains {decision.stuck}")

    def _known(self, name: str) -> None:
        machine = next((each for each in self._arena.core if self._arena.node(each)), "")
        node = self._arena.node(machine) if machine else None
        if node is None:
            return
        try:
            task = self._arena.cluster.node(machine).spawn(node.coordination.directory.status(name))
            self._arena.world.run_until_done(task, ANSWER_S_MAX)
        except (NoSuchJob, JobUnreachable) as error:
            self._arena.fail("J5 job lost", f"{name}: {type(error).__name__}: {error}", machine)

    def _left_behind(self) -> list[str]:
        """What is still there of jobs that have ended."""
        return [
            f"{what} on {name}"
            for name in self._arena.core
            if (node := self._arena.node(name)) is not None
            for what in self._rests(node, self._arena.cluster.node(name).devices)
        ]

    def _rests(self, node: Node, devices: Mapping[str, object]) -> list[str]:
        disk, processes = devices["disk"], devices["processes"]
        assert isinstance(disk, SimDisk)
        assert isinstance(processes, SimProcesses)
        over = {name for name, job in self.rules.jobs.items() if job.ended}
        jobs = (group.removeprefix(PREFIX) for group in node.groups.names())
        rests = [f"the group of {job}" for job in jobs if job in over]
        running = [each.assignment for each in node.runner.running()]
        rests += [f"attempt {each.attempt} of {each.job}" for each in running if each.job in over]
        pool = node.runner._pool
        lost = len(processes.running) - len(pool._idle) - len(pool._busy)
        rests += [f"{lost} worker processes that nobody knows"] if lost > 0 else []
        roots = [SPOOL]
        if node.coordination.agent._config.garbage_interval_s <= GARBAGE_S_MAX:
            roots.append(SEGMENTS)
        for root in roots:
            found = (job_of(each) for each in disk.files.list(root))
            rests += [f"{root} of {job}" for job in found if job in over]
        return rests
