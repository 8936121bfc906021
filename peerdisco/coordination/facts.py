"""The facts in a job's replicated log.

Each is something that happened, decided by the leader and stamped with its time; `JobState.apply`
turns them into state and never decides anything a later version might decide differently. Facts
that arrive together travel as one `Batch`, which is one log entry and one commit.

Next: `state.py`, which applies them.
"""

from __future__ import annotations

import enum

from peerdisco.messages import Input, JobSpec, Message, Outcome, TaskError


class JobPhase(enum.StrEnum):
    """Where a job stands, in Disco's words; all but ACTIVE are final."""

    ACTIVE = "active"
    READY = "ready"
    DEAD = "dead"
    KILLED = "killed"


class CoordinatorElected(Message, frozen=True, array_like=True, tag="elected"):
    """A node began to lead the job's group in this term."""

    node: str
    term: int
    at: float


class JobSubmitted(Message, frozen=True, array_like=True, tag="submitted"):
    """The job was accepted; `pack` is the blob that holds its functions."""

    spec: JobSpec
    pack: str
    at: float


class InputsResolved(Message, frozen=True, array_like=True, tag="inputs"):
    """The job's inputs with all tags expanded.

    Attributes:
        inputs: One per task of a `split` first stage.
        nodes: For each input the node that counts as its place when a stage groups by node;
            empty when it has none.
        at: Wall time at the leader.
    """

    inputs: tuple[Input, ...]
    nodes: tuple[str, ...]
    at: float


class StageOpened(Message, frozen=True, array_like=True, tag="opened"):
    """The stage before is complete, so this one's tasks follow from its outputs (`grouping`)."""

    stage: int
    at: float


class Assigned(Message, frozen=True, array_like=True, tag="assigned"):
    """A node was given an attempt. `backup` marks a second copy of a slow attempt."""

    stage: int
    task: int
    attempt: int
    node: str
    at: float
    backup: bool = False


class AttemptEnded(Message, frozen=True, array_like=True, tag="ended"):
    """The node that ran an attempt told how it ended."""

    attempt: int
    outcome: Outcome
    at: float


class AttemptLost(Message, frozen=True, array_like=True, tag="lost"):
    """An attempt that its node does not know of any more, or that must be presumed so."""

    attempt: int
    why: str
    at: float


class OutputsLost(Message, frozen=True, array_like=True, tag="outputs_lost"):
    """Outputs of these tasks of one stage cannot be read by anybody."""

    stage: int
    tasks: tuple[int, ...]
    at: float


class NodeLost(Message, frozen=True, array_like=True, tag="node_lost"):
    """A node is dead: its attempts have ended and the segments on it are gone."""

    node: str
    at: float


class JobEnded(Message, frozen=True, array_like=True, tag="job_ended"):
    """The job's last fact."""

    phase: JobPhase
    results: tuple[tuple[str, ...], ...]
    error: TaskError | None
    at: float


Fact = (
    CoordinatorElected
    | JobSubmitted
    | InputsResolved
    | StageOpened
    | Assigned
    | AttemptEnded
    | AttemptLost
    | OutputsLost
    | NodeLost
    | JobEnded
)


class Batch(Message, frozen=True, array_like=True):
    """One log entry: facts that are committed together, in order."""

    facts: tuple[Fact, ...]
