"""`JobState`: everything a job's group agrees on, built from facts and from nothing else.

It reads no clock and draws no random number, so the same facts give the same state on every voter.
Every fact may arrive twice or too late without harm: attempts carry numbers that are used once, the
first success of a task wins, and after the last fact nothing changes any more.

It does not choose who runs what (`scheduler.py`) and does not talk to anybody (`coordinator.py`).
Losing outputs is the subtle part: see `_reopen`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

import msgspec

from peerdisco.coordination.facts import (
    Assigned,
    AttemptEnded,
    AttemptLost,
    CoordinatorElected,
    Fact,
    InputsResolved,
    JobEnded,
    JobPhase,
    JobSubmitted,
    NodeLost,
    OutputsLost,
    StageOpened,
)
from peerdisco.coordination.grouping import Part, group
from peerdisco.coordination.messages import Event
from peerdisco.coordination.tasks import (
    Attempt,
    Stage,
    Task,
    TaskKey,
    holds_segments,
    output_as_inputs,
)
from peerdisco.messages import (
    ErrorKind,
    Failed,
    Finished,
    Input,
    InputsLost,
    JobSpec,
    TaskError,
    decode,
    encode,
)

EVENTS_MAX = 200
STRAYS_MAX = 1000
"""Lost attempts that are remembered, in case their node was only silent and they succeed."""
NODE_FAILURES_MAX = 16
"""How often the machines may fail one task (disk full, no worker) before the job gives up."""


class Snapshot(msgspec.Struct, frozen=True, array_like=True):
    """All of a state that is not derived, in the form in which it lies in the store."""

    spec: JobSpec | None
    pack: str
    submitted_at: float
    inputs: tuple[Input, ...] | None
    input_nodes: tuple[str, ...]
    stages: list[Stage]
    attempts: dict[int, Attempt]
    strays: dict[int, Attempt]
    attempts_given: int
    phase: JobPhase
    results: tuple[tuple[str, ...], ...]
    error: TaskError | None
    doom: TaskError | None
    ended_at: float
    events: list[Event]
    events_told: int
    coordinator: str
    version: int


class JobState:
    """A job's replicated state.

    Attributes:
        spec: What was asked for; None until JobSubmitted.
        inputs: The job's inputs; None until InputsResolved.
        stages: The stages opened so far.
        attempts: All attempts that run, by number.
        strays: Attempts declared lost, whose late success is still welcome.
        attempts_given: The highest attempt number handed out.
        phase: ACTIVE until JobEnded.
        doom: Why the job cannot succeed any more; the leader answers it with JobEnded.
        idle: For each stage its tasks that are neither done nor running, oldest first.
        version: Number of facts applied while the job was active.
    """

    def __init__(self) -> None:
        self.spec: JobSpec | None = None
        self.pack = ""
        self.submitted_at = 0.0
        self.inputs: tuple[Input, ...] | None = None
        self.input_nodes: tuple[str, ...] = ()
        self.stages: list[Stage] = []
        self.attempts: dict[int, Attempt] = {}
        self.strays: dict[int, Attempt] = {}
        self.attempts_given = 0
        self.phase = JobPhase.ACTIVE
        self.results: tuple[tuple[str, ...], ...] = ()
        self.error: TaskError | None = None
        self.doom: TaskError | None = None
        self.ended_at = 0.0
        self.events: list[Event] = []
        self.events_told = 0
        self.coordinator = ""
        self.version = 0
        self.idle: list[dict[int, None]] = []

    # What the leader asks.

    @property
    def ended(self) -> bool:
        """Whether the last fact was applied."""
        return self.phase is not JobPhase.ACTIVE

    @property
    def next_stage(self) -> int | None:
        """The stage that may be opened now, if there is one."""
        if self.spec is None or self.inputs is None or len(self.stages) == len(self.spec.stages):
            return None
        return len(self.stages) if not self.stages or self.stages[-1].complete else None

    @property
    def complete(self) -> bool:
        """Whether every task of every stage is done."""
        if self.spec is None or self.inputs is None or len(self.stages) < len(self.spec.stages):
            return False
        return not self.stages or self.stages[-1].complete

    def task(self, key: TaskKey) -> Task:
        """The task with this stage and number."""
        return self.stages[key[0]].tasks[key[1]]

    def ready(self, key: TaskKey) -> bool:
        """Whether everything that a task reads is there."""
        stage, number = key
        if stage == 0 or self.stages[stage - 1].complete:
            return True
        producers = self.stages[stage - 1].tasks
        return all(producers[producer].done for producer, _ in self.task((stage, number)).sources)

    def inputs_of(self, key: TaskKey) -> tuple[Input, ...]:
        """What a ready task reads now."""
        assert self.ready(key), "a task that is given a part of its inputs loses records silently"
        sources = self.task(key).sources
        if key[0] == 0:
            assert self.inputs is not None
            return tuple(self.inputs[number] for number, _ in sources)
        producers = self.stages[key[0] - 1].tasks
        return tuple(
            item
            for producer, label in sources
            for item in output_as_inputs(producers[producer], producer, label)
        )

    def final_results(self) -> tuple[tuple[str, ...], ...]:
        """What the job leaves behind once it is complete."""
        assert self.complete
        if not self.stages:
            return tuple(item.urls for item in self.inputs or ())
        return tuple((output.url,) for task in self.stages[-1].tasks for output in task.outputs)

    def holders(self) -> list[str]:
        """Nodes that run attempts or hold segments, each once."""
        nodes = {attempt.node: None for attempt in self.attempts.values()}
        for stage in self.stages:
            nodes.update(
                (task.home, None)
                for task in stage.tasks
                if task.available and task.home and holds_segments(task)
            )
        return list(nodes)

    # Facts.

    def apply(self, fact: Fact) -> None:
        """Take note of a fact. One that is late, repeated or impossible changes nothing."""
        if self.ended:
            return
        self.version += 1
        match fact:
            case CoordinatorElected():
                self._elected(fact)
            case JobSubmitted():
                self._submitted(fact)
            case InputsResolved():
                self._resolved(fact)
            case StageOpened():
                self._opened(fact)
            case Assigned():
                self._assigned(fact)
            case AttemptEnded():
                self._attempt_ended(fact)
            case AttemptLost():
                self._attempt_lost(fact)
            case OutputsLost():
                self._outputs_lost(fact)
            case NodeLost():
                self._node_lost(fact)
            case JobEnded():
                self._job_ended(fact)
            case _:
                assert_never(fact)

    def _elected(self, fact: CoordinatorElected) -> None:
        if self.coordinator and self.coordinator != fact.node:
            self._tell(fact.at, f"Took over from {self.coordinator}", fact.node)
        self.coordinator = fact.node

    def _submitted(self, fact: JobSubmitted) -> None:
        if self.spec is None:
            self.spec, self.pack, self.submitted_at = fact.spec, fact.pack, fact.at
            self._tell(fact.at, "New job initialized!")

    def _resolved(self, fact: InputsResolved) -> None:
        if self.inputs is None:
            self.inputs, self.input_nodes = fact.inputs, fact.nodes

    def _opened(self, fact: StageOpened) -> None:
        if fact.stage != self.next_stage:
            return
        assert self.spec is not None
        step = self.spec.stages[fact.stage]
        predecessors = len(self.stages[-1].tasks) if self.stages else 1
        tasks = [
            Task(found.label, found.node, found.sources)
            for found in group(step.grouping, self._parts(), predecessors=predecessors)
        ]
        self.stages.append(Stage(tasks, fact.at))
        self.idle.append(dict.fromkeys(range(len(tasks))))
        self._tell(fact.at, f"Stage {step.name} scheduled with {len(tasks)} tasks")

    def _parts(self) -> list[Part]:
        """What the next stage groups: the outputs of the last one, or the job's inputs."""
        if not self.stages:
            placed = enumerate(zip(self.inputs or (), self.input_nodes, strict=True))
            return [Part(number, item.label, node) for number, (item, node) in placed if item.urls]
        return [
            Part(producer, output.label, task.home)
            for producer, task in enumerate(self.stages[-1].tasks)
            for output in task.outputs
        ]

    def _assigned(self, fact: Assigned) -> None:
        if fact.attempt <= self.attempts_given or not self._known(fact.stage, fact.task):
            return
        self.attempts_given = fact.attempt
        task = self.task((fact.stage, fact.task))
        if task.done:
            return
        self.attempts[fact.attempt] = Attempt(
            fact.stage, fact.task, fact.node, fact.at, self.version, fact.backup
        )
        task.running.append(fact.attempt)
        self.idle[fact.stage].pop(fact.task, None)
        what = "Backup of " if fact.backup else ""
        self._tell(fact.at, f"{what}{self._name(fact.stage, fact.task)} assigned", fact.node)

    def _attempt_ended(self, fact: AttemptEnded) -> None:
        attempt = self._retire(fact.attempt)
        stray = self.strays.pop(fact.attempt, None)
        if attempt is None and (stray is None or not isinstance(fact.outcome, Finished)):
            return
        attempt = attempt or stray
        assert attempt is not None
        match fact.outcome:
            case Finished():
                self._tell_log(attempt, fact.outcome.log, fact.at)
                self._finished(attempt, fact.outcome, fact.at)
            case Failed(error):
                self._tell_log(attempt, fact.outcome.log, fact.at)
                self._failed(attempt, error, fact.at)
            case InputsLost(producers):
                self._inputs_lost(attempt, producers, fact.at)
            case _:
                assert_never(fact.outcome)

    def _finished(self, attempt: Attempt, outcome: Finished, at: float) -> None:
        task = self.task((attempt.stage, attempt.task))
        if task.done:
            return
        for other in list(task.running):
            self._retire(other)
        self.idle[attempt.stage].pop(attempt.task, None)
        task.done = task.available = True
        task.outputs = tuple(sorted(outcome.outputs, key=lambda output: output.label))
        task.home, task.finished_version = attempt.node, self.version
        task.records_in, task.records_out = outcome.records_in, outcome.records_out
        task.cpu_s = outcome.cpu_s
        stage = self.stages[attempt.stage]
        stage.done += 1
        name = self._name(attempt.stage, attempt.task)
        self._tell(at, f"DONE: [{name}] Task finished in {at - attempt.at:.3f} s", attempt.node)
        if stage.complete:
            self._tell(at, f"Stage {self._stage_name(attempt.stage)} finished")

    def _failed(self, attempt: Attempt, error: TaskError, at: float) -> None:
        task = self.task((attempt.stage, attempt.task))
        task.failures[error.kind] = task.failures.get(error.kind, 0) + 1
        if attempt.node not in task.failed_on:
            task.failed_on.append(attempt.node)
        self.stages[attempt.stage].failed += 1
        name = self._name(attempt.stage, attempt.task)
        self._tell(at, f"WARNING: [{name}] {error.message}", attempt.node)
        if self._hopeless(task, error):
            self.doom = self.doom or self._at(attempt, error)

    def _hopeless(self, task: Task, error: TaskError) -> bool:
        """Whether a task that failed with this error need not be tried again.

        The user's code that raises the same thing twice is deterministic: the scheduler ran the
        second attempt on another node if there was one.
        """
        assert self.spec is not None
        count = task.failures[error.kind]
        if error.kind is ErrorKind.NODE:
            return count >= NODE_FAILURES_MAX
        if error.kind is ErrorKind.USER:
            repeated = error.message in task.user_errors
            task.user_errors.append(error.message)
            return repeated or count >= self.spec.attempts_max
        return count >= self.spec.attempts_max

    def _inputs_lost(self, attempt: Attempt, producers: Iterable[int], at: float) -> None:
        name = self._name(attempt.stage, attempt.task)
        if attempt.stage == 0:
            error = TaskError(ErrorKind.INPUT, f"no replica of an input of {name} can be read")
            self._failed(attempt, error, at)
            return
        self._tell(at, f"WARNING: [{name}] inputs lost", attempt.node)
        self._count_loss(attempt, "its inputs were lost", starved=True)
        before = self.stages[attempt.stage - 1].tasks
        for number in producers:
            # What ran again since the attempt was assigned is not what the attempt missed.
            if 0 <= number < len(before) and before[number].finished_version <= attempt.version:
                before[number].available = False
        self._reopen(at)

    def _attempt_lost(self, fact: AttemptLost) -> None:
        attempt = self._retire(fact.attempt)
        if attempt is None:
            return
        self.strays[fact.attempt] = attempt
        if len(self.strays) > STRAYS_MAX:
            del self.strays[next(iter(self.strays))]
        name = self._name(attempt.stage, attempt.task)
        self._tell(fact.at, f"WARNING: [{name}] lost: {fact.why}", attempt.node)
        self._count_loss(attempt, fact.why)

    def _outputs_lost(self, fact: OutputsLost) -> None:
        if not 0 <= fact.stage < len(self.stages):
            return
        tasks = self.stages[fact.stage].tasks
        for number in fact.tasks:
            if 0 <= number < len(tasks):
                tasks[number].available = False
        self._reopen(fact.at)

    def _node_lost(self, fact: NodeLost) -> None:
        self._tell(fact.at, "WARNING: node lost", fact.node)
        for number, attempt in list(self.attempts.items()):
            if attempt.node == fact.node:
                self._attempt_lost(AttemptLost(number, "node lost", fact.at))
        for stage in self.stages:
            for task in stage.tasks:
                if task.home == fact.node and holds_segments(task):
                    task.available = False
        self._reopen(fact.at)

    def _job_ended(self, fact: JobEnded) -> None:
        self.phase = JobPhase.DEAD if fact.phase is JobPhase.ACTIVE else fact.phase
        self.results, self.error, self.ended_at = fact.results, fact.error, fact.at
        self.attempts.clear()
        self.strays.clear()
        for stage in self.stages:
            for task in stage.tasks:
                task.running.clear()
        match self.phase:
            case JobPhase.READY:
                took = fact.at - self.submitted_at
                self._tell(fact.at, f"READY: Job done in {took:.3f} s")
            case JobPhase.KILLED:
                self._tell(fact.at, "WARN: Job killed")
            case _:
                self._tell(fact.at, f"ERROR: {fact.error.message if fact.error else 'Job died'}")

    # Recovery.

    def _reopen(self, at: float) -> None:
        """Re-open, from the last stage to the first, each done task whose lost outputs are needed.

        Outputs are needed by the tasks of the next stage that are not done. A task that is
        re-opened needs its own inputs again, so the walk goes against the flow and each stage is
        settled before its producers are looked at. Of the last opened stage everything is needed.
        """
        for number in range(len(self.stages) - 1, -1, -1):
            stage = self.stages[number]
            last = number == len(self.stages) - 1
            wanted = range(len(stage.tasks)) if last else self._wanted(number + 1)
            opened = 0
            for index in wanted:
                task = stage.tasks[index]
                if task.done and not task.available:
                    task.done, task.outputs, task.home = False, (), ""
                    stage.done -= 1
                    self.idle[number][index] = None
                    opened += 1
            if opened:
                name = self._stage_name(number)
                self._tell(at, f"WARNING: outputs lost, {opened} tasks of {name} run again")

    def _wanted(self, consumer_stage: int) -> list[int]:
        """Producers that some unfinished task of a stage reads, each once."""
        wanted: dict[int, None] = {}
        for task in self.stages[consumer_stage].tasks:
            if not task.done:
                wanted.update((producer, None) for producer, _ in task.sources)
        return list(wanted)

    # Helpers.

    def _retire(self, number: int) -> Attempt | None:
        """Take an attempt off the list of those that run; its task is idle if it was the only."""
        attempt = self.attempts.pop(number, None)
        if attempt is None:
            return None
        task = self.task((attempt.stage, attempt.task))
        task.running.remove(number)
        if not task.running and not task.done:
            self.idle[attempt.stage][attempt.task] = None
        return attempt

    def _count_loss(self, attempt: Attempt, why: str, *, starved: bool = False) -> None:
        task = self.task((attempt.stage, attempt.task))
        task.losses, task.starved = task.losses + (not starved), task.starved + starved
        if task.lost_too_often and self.doom is None:
            times = task.losses + task.starved
            name = self._name(attempt.stage, attempt.task)
            message = f"{name} was lost {times} times, the last time because {why}"
            self.doom = self._at(attempt, TaskError(ErrorKind.NODE, message, node=attempt.node))

    def _at(self, attempt: Attempt, error: TaskError) -> TaskError:
        """The error, and which task it was."""
        stage = self._stage_name(attempt.stage)
        return msgspec.structs.replace(error, stage=stage, task=attempt.task)

    def _known(self, stage: int, task: int) -> bool:
        return 0 <= stage < len(self.stages) and 0 <= task < len(self.stages[stage].tasks)

    def _stage_name(self, stage: int) -> str:
        assert self.spec is not None
        return self.spec.stages[stage].name

    def _name(self, stage: int, task: int) -> str:
        return f"{self._stage_name(stage)}:{task}"

    def _tell_log(self, attempt: Attempt, lines: Iterable[str], at: float) -> None:
        """What the user's code printed, as Disco shows it."""
        name = self._name(attempt.stage, attempt.task)
        for line in lines:
            self._tell(at, f"MSG: [{name}] {line}", attempt.node)

    def _tell(self, at: float, message: str, node: str = "") -> None:
        self.events.append(Event(at, node, message))
        self.events_told += 1
        if len(self.events) > EVENTS_MAX:
            del self.events[0]

    # Snapshots.

    def snapshot(self) -> bytes:
        """The whole state; equal states give equal bytes."""
        values = {name: getattr(self, name) for name in Snapshot.__struct_fields__}
        return encode(Snapshot(**values))

    @classmethod
    def restored(cls, data: bytes) -> JobState:
        """The state of a snapshot. Raises BadMessage."""
        image = decode(data, Snapshot)
        state = cls()
        for name in Snapshot.__struct_fields__:
            setattr(state, name, getattr(image, name))
        state.idle = [
            {n: None for n, task in enumerate(stage.tasks) if not task.done and not task.running}
            for stage in state.stages
        ]
        return state
