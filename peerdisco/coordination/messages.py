"""What the coordination rooms of different nodes say to each other, and what they tell people.

Frozen Structs in CBOR, by `encode` and `decode` of `peerdisco.messages`. First what people see
(`JobStatus`, `JobRecord`), then the job pointer, then the calls between nodes.
"""

from __future__ import annotations

import enum

from peerdisco.coordination.facts import JobPhase
from peerdisco.messages import Assignment, JobSpec, Message, Outcome, TaskError


class Event(Message, frozen=True, array_like=True):
    """Something worth telling about a job.

    Attributes:
        at: Wall time, in seconds since the epoch.
        node: Where it happened; empty for the coordinator's own decisions.
        message: One line.
    """

    at: float
    node: str
    message: str


class StageStatus(Message, frozen=True, array_like=True):
    """A stage in Disco's five counts, and what it has processed so far.

    Attributes:
        name: Of the stage.
        pending: Tasks whose inputs are not there (any more).
        waiting: Tasks that wait for a free slot.
        running: Tasks with an attempt that runs.
        done: Tasks that have succeeded.
        failed: Attempts that failed.
        records_in: Records that the done tasks read.
        records_out: Records that they wrote.
        cpu_s: CPU seconds of their workers.
        opened: Whether its tasks are known yet.
    """

    name: str
    pending: int = 0
    waiting: int = 0
    running: int = 0
    done: int = 0
    failed: int = 0
    records_in: int = 0
    records_out: int = 0
    cpu_s: float = 0.0
    opened: bool = False


class RunningAttempt(Message, frozen=True, array_like=True):
    """An attempt that runs now; `since` is wall time."""

    stage: str
    task: int
    attempt: int
    node: str
    since: float
    backup: bool = False


class JobStatus(Message, frozen=True, array_like=True):
    """A job as people see it.

    Attributes:
        name: The submission's unique name.
        owner: Who asked for it.
        status: Disco's word for where it stands.
        version: Grows with every change, across coordinators; ask for changes since one.
        stages: All stages, opened or not.
        records: Records read by the first stage so far.
        coordinator: Node that leads the job's group; of an archived job, the last one that did.
        term: Term of the group's leader: how often it was elected anew.
        voters: Nodes that hold the job's log.
        submitted: Wall time of acceptance.
        ended: Wall time of the end; 0 while it is active.
        error: Why it is dead.
        results: URLs, one list of replicas for each result.
        events: The latest, oldest first.
        events_told: How many there have been, those that were dropped included.
        running: Attempts that run now (the first hundred).
        inputs: Number of inputs, tags expanded.
    """

    name: str
    owner: str
    status: JobPhase
    version: int
    stages: tuple[StageStatus, ...] = ()
    records: int = 0
    coordinator: str = ""
    term: int = 0
    voters: tuple[str, ...] = ()
    submitted: float = 0.0
    ended: float = 0.0
    error: TaskError | None = None
    results: tuple[tuple[str, ...], ...] = ()
    events: tuple[Event, ...] = ()
    events_told: int = 0
    running: tuple[RunningAttempt, ...] = ()
    inputs: int = 0


class JobHandle(Message, frozen=True, array_like=True):
    """What a submission is told: the job is acknowledged and survives.

    Attributes:
        name: Of the job.
        coordinator: Who leads it; empty when it had ended already.
        voters: Who holds its log.
    """

    name: str
    coordinator: str = ""
    voters: tuple[str, ...] = ()


class JobRecord(Message, frozen=True, array_like=True):
    """A job that has ended, as it lies in DDFS.

    Attributes:
        status: Its last status, events and results included.
        spec: What was asked for; None when the functions never arrived.
        pack: Blob of the job pack.
    """

    status: JobStatus
    spec: JobSpec | None
    pack: str


class PointerState(enum.StrEnum):
    """Where to look for a job: in its group, in the archive, or nowhere any more."""

    ACTIVE = "active"
    DONE = "done"
    PURGED = "purged"


class JobPointer(Message, frozen=True, array_like=True):
    """The value of the register `job/<name>`, created once per submission.

    Attributes:
        state: Where to look.
        voters: Members of the job's group, first leader first.
        digest: SHA-256 of the pack, which tells a repeated submission from a stolen name.
        removals: How often voters were left out. Until then no voter can have forgotten the group.
    """

    state: PointerState
    voters: tuple[str, ...]
    digest: bytes
    removals: int = 0


class ReplyCode(enum.StrEnum):
    """How a node answers a call that only a job's coordinator can serve."""

    OK = "ok"
    NOT_LEADER = "not_leader"
    UNKNOWN = "unknown"
    REFUSED = "refused"


class Reply(Message, frozen=True, array_like=True):
    """The envelope of every answer.

    Attributes:
        code: OK with a body, or why there is none. UNKNOWN: this node has no such group.
        body: The answer itself, encoded.
        leader: Who leads, as far as this node knows.
        voters: The group's members, as far as this node knows.
        reason: Of a refusal, for people.
    """

    code: ReplyCode
    body: bytes = b""
    leader: str = ""
    voters: tuple[str, ...] = ()
    reason: str = ""


class Form(Message, frozen=True, array_like=True):
    """Asks a node to join a job's group; `campaign` makes it the first leader.

    A node that joins a group which exists already gets no voters: the group tells it. `era` counts
    recoveries of the group by force; what the node has of an earlier one is given up. `floor` is
    the sender's `known_commit`, so that a node which forgot the group before undoes nothing.
    """

    job: str
    voters: tuple[str, ...]
    campaign: bool
    era: int = 0
    floor: tuple[int, int] = (0, 0)


class Start(Message, frozen=True, array_like=True):
    """Hands the coordinator its job. Repeating it changes nothing."""

    job: str
    spec: JobSpec
    pack: str


class JobRequest(Message, frozen=True, array_like=True):
    """A call about a job that needs no more than its name."""

    job: str


class StatusRequest(Message, frozen=True, array_like=True):
    """Asks for a status newer than `since`, waiting up to `timeout_s` for one."""

    job: str
    since: int = -1
    timeout_s: float = 0.0


class Offer(Message, frozen=True, array_like=True):
    """A coordinator has work, or wants to hear how its attempts on this node are doing.

    Attributes:
        job: Name of the job.
        leader: Who offers.
        voters: Where to look when it does not answer.
        submitted: Wall time of the submission, by which `fifo` orders jobs.
    """

    job: str
    leader: str
    voters: tuple[str, ...]
    submitted: float


class Report(Message, frozen=True, array_like=True):
    """How an attempt ended."""

    attempt: int
    outcome: Outcome


class Exchange(Message, frozen=True, array_like=True):
    """A node tells a coordinator everything about one job, and asks for more.

    Attributes:
        job: Name of the job.
        session: Identifies the node's present run.
        number: Grows with each exchange of a session; the coordinator ignores older ones.
        slots: How many assignments it can take now.
        running: All attempts of the job that this node still works on. What the coordinator
            assigned to it and is neither here nor in `reports` is lost.
        reports: Attempts that ended and whose reports were not acknowledged yet.
    """

    job: str
    session: str
    number: int
    slots: int
    running: tuple[int, ...] = ()
    reports: tuple[Report, ...] = ()


class ExchangeAnswer(Message, frozen=True, array_like=True):
    """The coordinator's answer; all reports of the exchange are committed.

    Attributes:
        assignments: New attempts, committed.
        unwanted: Attempts of the node that may stop: somebody else was first.
        over: The job has ended: forget it.
    """

    assignments: tuple[Assignment, ...] = ()
    unwanted: tuple[int, ...] = ()
    over: bool = False


class JobSummary(Message, frozen=True, array_like=True):
    """One line in a list of jobs."""

    name: str
    owner: str
    status: JobPhase
    submitted: float
    ended: float = 0.0
    coordinator: str = ""
    tasks_done: int = 0
    tasks: int = 0


class JobSummaries(Message, frozen=True, array_like=True):
    """The jobs that one node coordinates."""

    jobs: tuple[JobSummary, ...] = ()
