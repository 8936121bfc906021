"""What the REST API says and hears, as JSON.

Every body under `/api/v1` is one of these Structs; the pages are drawn from the same values, so
the API can never know less than the page. Clients ignore fields that they do not know: append
fields with a default, never rename or remove them. Times are seconds since the epoch, sizes are
bytes, and -1 stands for a size that is not known. The interfaces that yield these values are in
`ports.py`.
"""

from __future__ import annotations

import enum

import msgspec

PROOF_HEADER = "X-Peerdisco-Tag-Token"
"""A token of the tag that a request is about, percent-encoded; it may be empty."""
USER_HEADER = "X-Peerdisco-User"
"""Who asks, percent-encoded, as `user@host`: the owner of a new tag, the author in its history."""
OPERATION_HEADER = "X-Peerdisco-Operation"
"""`<session>/<number>` of a change of a tag: the same again is not applied again."""


class View(msgspec.Struct, frozen=True, kw_only=True):
    """Base of everything below."""


class MemberState(enum.StrEnum):
    """A member as the membership list sees it."""

    ALIVE = "alive"
    SUSPECT = "suspect"
    DEAD = "dead"
    LEFT = "left"


class MemberView(View, frozen=True, kw_only=True):
    """One node of the cluster.

    Attributes:
        id: The node's identity.
        name: Its friendly name.
        address: Where its peers reach it, `host:port`.
        state: What this node believes of it.
        http: Where clients reach its REST API, `host:port`; empty when unknown.
        slots: How many tasks it may run at once.
        slots_busy: How many it runs now.
        free_bytes: Free space under its data directory.
        total_bytes: Size of that file system.
        version: Of its software.
        storage: Whether the layout counts it as a home of data.
        me: Whether it is the node that answers.
        space: `ok`; `low`: its storage takes no new copies; `read-only`: nor puts of clients.
        rebuild_bytes: What it still has to send, so that all blobs have their copies.
        rebuild_s: How long that takes at the present speed; -1 while it is unknown.
    """

    id: str
    name: str
    address: str
    state: MemberState
    http: str = ""
    slots: int = 0
    slots_busy: int = 0
    free_bytes: int = -1
    total_bytes: int = -1
    version: str = ""
    storage: bool = False
    me: bool = False
    space: str = "ok"
    rebuild_bytes: int = 0
    rebuild_s: int = 0


class ClusterFacts(View, frozen=True, kw_only=True):
    """What one node knows of itself and of the cluster.

    Attributes:
        cluster: Identity of the cluster; clients use it to notice a foreign node.
        node: Identity of the node that answers.
        name: Its friendly name.
        version: Of its software.
        replicas: How many copies the layout wants of everything.
        epoch: Number of the layout; 0 while there is none.
        ready: Whether the node has joined, can write and is not stopping.
        reason: Why it is not ready, for people; empty when it is.
        stuck: Groups of this node that have lost their majority.
    """

    cluster: str
    node: str
    name: str
    version: str
    replicas: int = 3
    epoch: int = 0
    ready: bool = True
    reason: str = ""
    stuck: tuple[str, ...] = ()


class Level(enum.StrEnum):
    """How much attention a verdict asks for."""

    GOOD = "good"
    WARNING = "warning"
    DANGER = "danger"


class Verdict(View, frozen=True, kw_only=True):
    """What the cluster can survive, in words.

    Attributes:
        level: How bad it is.
        headline: One line.
        detail: What to expect or to do; may be empty.
        can_lose: How many more nodes may be lost without losing anything.
    """

    level: Level
    headline: str
    detail: str = ""
    can_lose: int = 0


class ClusterView(View, frozen=True, kw_only=True):
    """Answer of `GET /api/v1/status`."""

    facts: ClusterFacts
    verdict: Verdict
    alive: int
    suspect: int
    dead: int
    slots: int
    slots_busy: int


class MemberList(View, frozen=True, kw_only=True):
    """Answer of `GET /api/v1/members`."""

    members: tuple[MemberView, ...]


class JoinCommand(View, frozen=True, kw_only=True):
    """Answer of `POST /api/v1/join-command`: what to type on another machine."""

    command: str


class ClientString(View, frozen=True, kw_only=True):
    """Answer of `POST /api/v1/tokens`: a value for PEERDISCO, `pdc1.<fingerprint>.<token>@...`."""

    client: str


class JobState(enum.StrEnum):
    """Where a job stands, in Disco's words."""

    INITIALIZING = "initializing"
    ACTIVE = "active"
    READY = "ready"
    DEAD = "dead"

    @property
    def is_final(self) -> bool:
        """Whether nothing will change any more."""
        return self in (JobState.READY, JobState.DEAD)


class StageView(View, frozen=True, kw_only=True):
    """How many tasks of one stage are in which state.

    Attributes:
        name: Of the stage.
        grouping: How its inputs were grouped into tasks.
        waiting: Tasks that wait for a free slot.
        pending: Tasks whose inputs are not there yet.
        running: Tasks with a running attempt.
        done: Finished tasks.
        failed: Attempts of this stage that failed; not a number of tasks.
    """

    name: str
    grouping: str = ""
    waiting: int = 0
    pending: int = 0
    running: int = 0
    done: int = 0
    failed: int = 0

    @property
    def total(self) -> int:
        """Number of tasks known so far."""
        return self.waiting + self.pending + self.running + self.done


class AttemptView(View, frozen=True, kw_only=True):
    """A running attempt."""

    stage: str
    task: int
    attempt: int
    node: str
    started_at: float = 0.0


class EventView(View, frozen=True, kw_only=True):
    """One line of a job's history; `number` counts up from 1."""

    number: int
    at: float
    node: str
    text: str


class EventList(View, frozen=True, kw_only=True):
    """Answer of `GET /api/v1/jobs/{name}/events`, oldest first."""

    events: tuple[EventView, ...]


class ErrorView(View, frozen=True, kw_only=True):
    """Why a job died, for its user.

    Attributes:
        kind: Whose fault it was: `user`, `worker_lost`, `input` or `node`.
        message: One line.
        traceback: The user's traceback; empty when there is none.
        input: URL of the input that was being read, when known.
        record: Number of the record in that input, from 0; -1 when unknown.
        node: Name of the node.
        stage: Name of the stage; empty when no task is to blame.
        task: Number of the task; -1 when no task is to blame.
    """

    kind: str
    message: str
    traceback: str = ""
    input: str = ""
    record: int = -1
    node: str = ""
    stage: str = ""
    task: int = -1


class JobSummary(View, frozen=True, kw_only=True):
    """A job in a list.

    Attributes:
        name: Its unique name.
        owner: Who submitted it.
        state: Where it stands.
        submitted_at: At the client.
        finished_at: 0 while it runs.
        coordinator: Name of the node that leads it; empty when nobody does at the moment.
        tasks: Tasks of the stages that have begun.
        tasks_done: How many of them are done.
        stages: First to last; lists leave them out.
    """

    name: str
    owner: str
    state: JobState
    submitted_at: float = 0.0
    finished_at: float = 0.0
    coordinator: str = ""
    tasks: int = 0
    tasks_done: int = 0
    stages: tuple[StageView, ...] = ()


class JobView(JobSummary, frozen=True, kw_only=True):
    """All about one job.

    Attributes:
        version: Grows with every change; the `since` of the next long poll.
        inputs: Number of inputs.
        voters: Names of the nodes that keep its state.
        term: How often a coordinator was elected.
        attempts: What runs now.
        results: Replica lists of the result URLs, once the job is ready.
        error: Why it died.
    """

    version: int = 0
    inputs: int = 0
    voters: tuple[str, ...] = ()
    term: int = 0
    attempts: tuple[AttemptView, ...] = ()
    results: tuple[tuple[str, ...], ...] = ()
    error: ErrorView | None = None


class JobPage(View, frozen=True, kw_only=True):
    """Answer of `GET /api/v1/jobs`, newest first.

    Attributes:
        jobs: One page of them.
        next: Continues behind it; empty at the end.
        incomplete: The node that answers cannot read all of the archive now, so that ended jobs
            may be lacking; another node may know them.
    """

    jobs: tuple[JobSummary, ...]
    next: str = ""
    incomplete: bool = False


class Submitted(View, frozen=True, kw_only=True):
    """Answer of `POST /api/v1/jobs`: the job is acknowledged and survives."""

    name: str


class JobResults(View, frozen=True, kw_only=True):
    """Answer of `GET /api/v1/jobs/{name}/results`."""

    state: JobState
    results: tuple[tuple[str, ...], ...] = ()


class BlobView(View, frozen=True, kw_only=True):
    """A blob: its id, its bytes and how many verified copies are known."""

    id: str
    size: int
    copies: int = 0

    @property
    def url(self) -> str:
        """As it stands in tags and job inputs."""
        return f"blob:{self.id}"


class TagView(View, frozen=True, kw_only=True):
    """A tag.

    Attributes:
        name: Of the tag.
        version: Grows with every change.
        urls: Replica lists, newest first.
        attributes: What users noted.
        stale: Whether a minority answered, so that newer changes may exist.
        owner: Who created it, as the creator said.
        modified: Time of the last change.
        read_protected: Whether reading it takes a token.
        write_protected: Whether changing it takes a token.
    """

    name: str
    version: int
    urls: tuple[tuple[str, ...], ...] = ()
    attributes: dict[str, str] = {}
    stale: bool = False
    owner: str = ""
    modified: float = 0.0
    read_protected: bool = False
    write_protected: bool = False


class TagEvent(View, frozen=True, kw_only=True):
    """One change of a tag.

    Attributes:
        version: The version that it made.
        at: Its time.
        by: Who made it, as the client said.
        what: `append`, `replace`, `attribute` or `token`.
        entries: How many entries were put in.
        detail: The attribute or token that was set; with a minus in front when it was removed.
    """

    version: int
    at: float
    by: str = ""
    what: str
    entries: int = 0
    detail: str = ""


class TagHistory(View, frozen=True, kw_only=True):
    """Answer of `GET /api/v1/tags/{name}/history`: the last changes, newest first."""

    name: str
    owner: str = ""
    events: tuple[TagEvent, ...] = ()


class TagTokenKind(enum.StrEnum):
    """Which of a tag's two tokens."""

    READ = "read"
    WRITE = "write"


class TokenValue(View, frozen=True, kw_only=True):
    """Body of `PUT /api/v1/tags/{name}/tokens/{kind}`. Tokens are never answered."""

    token: str


class TagPage(View, frozen=True, kw_only=True):
    """Answer of `GET /api/v1/tags`.

    Attributes:
        names: In order.
        next: Pass as `after` to go on; empty at the end.
        missing: How many of the 4096 partitions of the key space did not answer: the list may lack
            names.
        partitions: Their numbers, ascending.
    """

    names: tuple[str, ...]
    next: str = ""
    missing: int = 0
    partitions: tuple[int, ...] = ()


class Append(View, frozen=True, kw_only=True):
    """Body of `POST /api/v1/tags/{name}`.

    Attributes:
        urls: Replica lists to put in front.
        unique: Leave out what the tag already has.
        session: Names the client's run; with `sequence` it makes a repetition harmless.
        sequence: Number of the operation in that session.
        owner: For whom the tag holds its blobs; those of a job go when the job is purged.
        brief: Answer with name and version only, without reading the tag.
        delayed: The append may wait a second for others to this tag, which spares rounds.
        if_version: Refuse when the tag does not have this version (0: does not exist).
    """

    urls: tuple[tuple[str, ...], ...]
    unique: bool = False
    session: str = ""
    sequence: int = 0
    owner: str = ""
    brief: bool = False
    delayed: bool = False
    if_version: int | None = None


class Replace(View, frozen=True, kw_only=True):
    """Body of `PUT /api/v1/tags/{name}`; `if_version` refuses when the tag has moved on."""

    urls: tuple[tuple[str, ...], ...]
    if_version: int | None = None


class AttributeValue(View, frozen=True, kw_only=True):
    """Body and answer of `/api/v1/tags/{name}/attributes/{key}`."""

    value: str


class Attributes(View, frozen=True, kw_only=True):
    """Answer of `GET /api/v1/tags/{name}/attributes`."""

    attributes: dict[str, str]


class Chunked(View, frozen=True, kw_only=True):
    """Answer of `POST /api/v1/tags/{name}/chunks`: the tag and the blobs made of the stream."""

    tag: TagView
    blobs: tuple[BlobView, ...]


PROTECTED_TAG = "peerdisco:protected-tag"
"""The `type` of a problem that only a token of the tag solves."""


class Problem(View, frozen=True, kw_only=True):
    """Any failure (RFC 9457): a short title, and a detail that says what to do."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str = ""
