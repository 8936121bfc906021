"""What coordination needs from the other rooms, as Protocols; `node.py` hands the rooms in.

`Ports` bundles them. Nothing here has behaviour.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from peerdisco.messages import Assignment, JobSpec, Outcome

NodeId = str


class Rpc(Protocol):
    """Calls between nodes, oneself included; every failure of `call` is an OSError."""

    async def call(self, peer: NodeId, method: str, body: bytes, *, timeout: float) -> bytes:
        """One request, one answer. ConnectionError: not delivered; other OSErrors: unknown."""

    def serve(self, method: str, handler: Callable[[NodeId, bytes], Awaitable[bytes]]) -> None:
        """Answer calls of a method."""


class Members(Protocol):
    """Who is alive, by gossip."""

    def alive(self) -> list[NodeId]:
        """Sorted ids of the nodes that are alive or only suspected, oneself included."""

    def known(self) -> list[NodeId]:
        """Sorted ids of all nodes that have not left, the dead included."""

    def subscribe(self, callback: Callable[[object], None]) -> None:
        """Call back on every change of a member."""


class StateMachine(Protocol):
    """What a group replicates."""

    def apply(self, index: int, command: bytes) -> object:
        """Apply a committed entry."""

    def snapshot(self) -> bytes:
        """All state."""

    def restore(self, data: bytes) -> None:
        """Replace all state."""


class Group(Protocol):
    """One Raft group on this node. Failures are `Failures.election`."""

    @property
    def leader(self) -> NodeId | None:
        """Who leads, as far as this node knows."""

    @property
    def term(self) -> int:
        """The present term."""

    @property
    def is_leader(self) -> bool:
        """Whether this node leads."""

    @property
    def voters(self) -> tuple[NodeId, ...]:
        """The members."""

    @property
    def era(self) -> int:
        """How often the group was recovered by force."""

    @property
    def known_commit(self) -> tuple[int, int]:
        """Index and term of an entry that is committed: the floor for whoever joins."""

    @property
    def superseded(self) -> bool:
        """The group was recovered by force without this node, which may join it anew."""

    async def propose(self, command: bytes, *, timeout: float) -> object:
        """Commit an entry and return what applying it here returned."""

    async def change_voters(self, voters: Sequence[NodeId], *, timeout: float) -> None:
        """Replace the members by joint consensus."""

    def subscribe(self, callback: Callable[[object], None]) -> None:
        """Call back on every change of leader or term."""


class Groups(Protocol):
    """All Raft groups of this node."""

    async def create(
        self,
        name: str,
        voters: Sequence[NodeId],
        machine: StateMachine,
        *,
        campaign: bool = False,
        era: int = 0,
        floor: tuple[int, int] = (0, 0),
    ) -> Group:
        """Join a group, durably; `campaign` makes this node stand for election at once.

        A group that exists elsewhere already is joined with no voters, in its era, and from a
        member's `known_commit`.
        """

    def open(self, name: str, machine: StateMachine) -> Group:
        """Go on with a group that is in the store."""

    def names(self) -> list[str]:
        """All groups in the store."""

    async def dissolve(self, name: str) -> None:
        """Forget a group on this node, durably."""


class Versioned(Protocol):
    """A register's value and the version to change it by."""

    @property
    def version(self) -> int:
        """Grows with each change."""

    @property
    def value(self) -> bytes:
        """The value."""


class Registers(Protocol):
    """Linearizable registers. Failures are `Failures.storage`."""

    async def create(self, key: str, value: bytes) -> bytes:
        """Create a register if it is absent; returns the value that stands."""

    async def read(self, key: str) -> Versioned | None:
        """The register, or None."""

    async def compare_and_set(self, key: str, expected_version: int, value: bytes) -> bool:
        """Write if the version still is the expected one."""


class BlobInfo(Protocol):
    """A stored blob."""

    @property
    def id(self) -> str:
        """Its name, `b3-...`."""


class Blobs(Protocol):
    """Immutable blobs. Failures are `Failures.storage`; a missing blob is a LookupError."""

    async def put_bytes(self, data: bytes, *, owner: str) -> BlobInfo:
        """Store bytes for an owner; returns when a quorum of replicas is durable."""

    async def delete(self, blob_id: str, /, *, owner: str) -> None:
        """Drop the owner's claim; the blob goes when nobody else has one."""

    async def read(self, blob_id: str, /, *, limit_bytes: int) -> bytes:
        """A whole blob."""

    def home(self, blob_id: str, /) -> tuple[NodeId, ...]:
        """The nodes that should hold a blob; no I/O."""


class Tag(Protocol):
    """A tag's contents."""

    @property
    def urls(self) -> Sequence[Sequence[str]]:
        """One list of replicas for each blob."""


class TagPage(Protocol):
    """A page of tag names."""

    @property
    def names(self) -> Sequence[str]:
        """Sorted names."""

    @property
    def next(self) -> str | None:
        """The name behind which the next page begins; None on the last one."""

    @property
    def missing(self) -> Sequence[int]:
        """Parts of the key space that did not answer: their names are lacking."""


class Tags(Protocol):
    """Named lists of URLs. Failures are `Failures.storage`; a missing tag is a LookupError."""

    async def get(self, name: str) -> Tag:
        """A tag."""

    async def replace(self, name: str, urls: Sequence[Sequence[str]]) -> object:
        """Set a tag's whole contents, creating it if need be; all blobs must exist."""

    async def record(self, name: str, urls: Sequence[Sequence[str]], *, owner: str) -> object:
        """Like `replace`, but blobs may be missing, and those that exist go with the owner."""

    async def delete(self, name: str) -> object:
        """Delete a tag; a missing one is no error, or a LookupError."""

    async def list(self, prefix: str, *, after: str = "", limit: int = 1000) -> TagPage:
        """Names that begin with a prefix, behind `after`."""


class Execution(Protocol):
    """Runs attempts on this node."""

    @property
    def slots(self) -> int:
        """How many attempts may run at the same time."""

    async def run(self, assignment: Assignment) -> Outcome:
        """Run an attempt to its end. Cancelling kills it."""

    async def jobs(self) -> list[str]:
        """Jobs that have segments on this node."""

    async def forget(self, job: str) -> None:
        """The job is over: delete what its attempts left on this node."""


@dataclass(frozen=True, slots=True)
class Failures:
    """What the other rooms raise when something did not work, in tuples that catch it.

    Attributes:
        election: Of a Group: not leader, dropped, or unknown; and OSError.
        storage: Of Registers, Blobs and Tags: unavailable, missing, or conflicting; and OSError.
    """

    election: tuple[type[Exception], ...]
    storage: tuple[type[Exception], ...]

    @property
    def any(self) -> tuple[type[Exception], ...]:
        """Either."""
        return self.election + self.storage


@dataclass(frozen=True, slots=True)
class Ports:
    """The world of this room.

    Attributes:
        me: This node.
        wall_time: Seconds since the epoch, for people.
        rng: This room's random stream.
        read_spec: Reads the plain header of a job pack; raises ValueError for anything else.
    """

    me: NodeId
    rpc: Rpc
    members: Members
    groups: Groups
    registers: Registers
    blobs: Blobs
    tags: Tags
    execution: Execution
    failures: Failures
    wall_time: Callable[[], float]
    rng: random.Random
    read_spec: Callable[[bytes], JobSpec]
