"""The parts of a job's state: tasks, attempts and stages, as they stand in a snapshot.

These Structs are mutable, unlike messages: `JobState` is their only writer. They hold no method
that changes anything.
"""

from __future__ import annotations

from bisect import bisect_left

import msgspec

from peerdisco.messages import ErrorKind, Input, Output

TaskKey = tuple[int, int]
"""A task's stage and its number within the stage."""

LOSSES_MAX = 32
"""How often attempts of one task may vanish: beyond it the task itself kills its nodes."""
STARVED_MAX = 300
"""How often a task may find its inputs out of reach: minutes of nodes that come and go."""

SEGMENT = "segment:"
"""Scheme of outputs that live on one node only and are lost with it."""


class Attempt(msgspec.Struct, frozen=True, array_like=True):
    """One run of a task on one node.

    Attributes:
        stage: Stage of the task.
        task: Number of the task within it.
        node: Who runs it.
        at: Wall time of the assignment.
        version: The job's version at the assignment: what it was told to read is as old as this.
        backup: Whether it is a second copy of a slow attempt.
    """

    stage: int
    task: int
    node: str
    at: float
    version: int
    backup: bool


class Task(msgspec.Struct, array_like=True):
    """One task. Invariant: `done` implies that `outputs` are what its consumers read.

    Attributes:
        label: Label of its group.
        node: Node of its group, empty when the grouping ignores nodes.
        sources: (producer, label) of what it reads: tasks of the stage before, or job inputs.
        running: Numbers of its attempts that run now; two only when one is a backup.
        done: It succeeded, and no consumer has asked for its outputs again.
        available: Its outputs can be read. A done task whose outputs are gone is re-opened when,
            and only when, somebody needs them.
        outputs: What the first success left behind, in label order.
        home: Node that holds the outputs.
        finished_version: The job's version at that success.
        failures: How often it failed, by kind.
        failed_on: Nodes on which it failed, in order.
        user_errors: Messages of the user's exceptions.
        losses: How often an attempt went away.
        starved: How often an attempt could not read what its producers had made.
    """

    label: int
    node: str
    sources: tuple[tuple[int, int], ...]
    running: list[int] = []
    done: bool = False
    available: bool = False
    outputs: tuple[Output, ...] = ()
    home: str = ""
    finished_version: int = 0
    failures: dict[ErrorKind, int] = {}
    failed_on: list[str] = []
    user_errors: list[str] = []
    losses: int = 0
    records_in: int = 0
    records_out: int = 0
    cpu_s: float = 0.0
    starved: int = 0

    @property
    def lost_too_often(self) -> bool:
        """Whether trying it again makes no sense."""
        return self.losses >= LOSSES_MAX or self.starved >= STARVED_MAX


class Stage(msgspec.Struct, array_like=True):
    """An opened stage.

    Attributes:
        tasks: All its tasks; their number never changes.
        opened_at: Wall time.
        done: How many tasks are done.
        failed: How many attempts failed.
    """

    tasks: list[Task]
    opened_at: float
    done: int = 0
    failed: int = 0

    @property
    def complete(self) -> bool:
        """Whether every task is done."""
        return self.done == len(self.tasks)


def holds_segments(task: Task) -> bool:
    """Whether some output of a task lives on its node only."""
    return any(output.url.startswith(SEGMENT) for output in task.outputs)


def output_as_inputs(task: Task, producer: int, label: int) -> list[Input]:
    """What a consumer of one label of a task reads; nothing when the label is empty."""
    outputs = task.outputs
    position = bisect_left(outputs, label, key=lambda output: output.label)
    found = []
    while position < len(outputs) and outputs[position].label == label:
        output = outputs[position]
        found.append(Input((output.url,), label, output.size, producer, output.records))
        position += 1
    return found
