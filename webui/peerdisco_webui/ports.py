"""What the web room needs from a node, named by the room itself.

A node hands in one value of each Protocol. Everything that can fail raises an `ApiError` of
`errors.py`, or OSError for "not at the moment". `status` and `members` are local snapshots and
cost no message; everything else may ask other nodes and bounds its own waiting.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from peerdisco_webui.messages import (
    Append,
    BlobView,
    ClusterFacts,
    EventView,
    JobPage,
    JobView,
    MemberView,
    Replace,
    TagHistory,
    TagPage,
    TagTokenKind,
    TagView,
)
from peerdisco_webui.raft_messages import (
    GroupDetail,
    GroupView,
    Recovery,
)
from peerdisco_webui.upkeep_messages import (
    CollectionAction,
    CollectionView,
    FoundView,
    LayoutPlan,
    LayoutRequest,
    LayoutView,
    QuotaKind,
    QuotaList,
    QuotaView,
    ScrubView,
    StorageView,
    UsageView,
)


class Cluster(Protocol):
    """The node itself and its view of the others."""

    def status(self) -> ClusterFacts:
        """What the node knows, without asking anybody."""

    def members(self) -> Sequence[MemberView]:
        """All members that are remembered, this node included, in a stable order."""

    async def join_command(self) -> str:
        """What to type on another machine so that it joins; holds a fresh, expiring grant."""

    async def client_string(self) -> str:
        """A fresh value for PEERDISCO with which a client reaches this cluster."""


class Jobs(Protocol):
    """All jobs of the cluster, whoever coordinates them. Unknown names raise NotFound."""

    async def submit(self, pack: bytes) -> str:
        """Accept a job pack; the job's name. The same submission again is the same job."""

    async def list(self, *, prefix: str, after: str, limit: int) -> JobPage:
        """Jobs whose name begins with the prefix, newest first, from behind the job `after`."""

    async def status(self, name: str) -> JobView:
        """Where the job stands now."""

    async def wait(self, name: str, since: int, timeout_s: float) -> JobView:
        """The status as soon as its version exceeds `since` or it ended, at last after the time."""

    async def events(self, name: str, *, after: int, limit: int) -> Sequence[EventView]:
        """Events with a number above `after`, oldest first."""

    async def kill(self, name: str) -> None:
        """Stop the job; it becomes dead. An ended job stays as it is."""

    async def purge(self, name: str) -> None:
        """Kill the job, forget it, and delete its results and its temporary inputs."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks for something of a tag.

    Attributes:
        token: The token of the tag that came with the request; None when none did.
        user: Who the client says it is.
        operation: The client's session and the number of the operation in it, which make a
            repetition harmless.
    """

    token: str | None = None
    user: str = ""
    operation: tuple[str, int] | None = None


NOBODY = Caller()


class Files(Protocol):
    """DDFS: immutable blobs, and tags that list them. Unknown names raise NotFound.

    TagTokenNeeded is raised when the caller's token does not allow it.
    """

    async def put(
        self,
        source: AsyncIterator[bytes],
        *,
        replicas: int | None,
        owner: str = "",
        tag: str = "",
        size: int = 0,
        caller: Caller = NOBODY,
    ) -> BlobView:
        """Store a stream durably for an owner. A source that raises leaves nothing behind.

        `tag` is where it will be named and `size` how long it is, as far as that is known: quotas
        go by them, and raise OverQuota before the first byte.
        """

    async def stat(self, blob: str) -> BlobView:
        """Size and copies of a blob."""

    def open(
        self, blob: str, *, offset: int, size: int
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """That many verified bytes from the offset. Fails with OSError, never short."""

    async def tag(self, name: str, *, stale_ok: bool, caller: Caller = NOBODY) -> TagView:
        """The tag; Unavailable in a minority, unless a stale answer will do."""

    async def history(self, name: str, *, caller: Caller = NOBODY) -> TagHistory:
        """The last changes of the tag."""

    async def append(self, name: str, change: Append, *, caller: Caller = NOBODY) -> TagView:
        """Put URLs in front, creating the tag when there is none.

        The answer of this and of the other changes is brief, name and version only, when the
        caller may write the tag and not read it.
        """

    async def replace(self, name: str, change: Replace, *, caller: Caller = NOBODY) -> TagView:
        """Exchange all URLs; Conflict when `if_version` is not the current one."""

    async def delete(
        self, name: str, *, if_version: int | None = None, caller: Caller = NOBODY
    ) -> None:
        """Delete the tag; a missing one is no error."""

    async def list(self, prefix: str, *, after: str, limit: int) -> TagPage:
        """Names that begin with the prefix, in order, from behind `after`."""

    async def set_attribute(
        self, name: str, key: str, value: str | None, *, caller: Caller = NOBODY
    ) -> TagView:
        """Set an attribute of an existing tag, or delete it with None."""

    async def set_token(
        self, name: str, kind: TagTokenKind, token: str | None, *, caller: Caller = NOBODY
    ) -> None:
        """Set a token of an existing tag, or remove it with None."""


class Raft(Protocol):
    """The Raft groups of the cluster, on whatever nodes. Unknown names raise NotFound."""

    async def list(self) -> Sequence[GroupView]:
        """All groups that an answering node is a member of, by name."""

    async def show(self, name: str) -> GroupDetail:
        """One group, as all its members that answer see it."""

    async def recover(self, name: str, keep: str, *, confirmed: bool) -> Recovery:
        """Make one member the whole of a group that lost its majority for good.

        Conflict when the group needs no such thing, or another member has more.
        """


class Upkeep(Protocol):
    """The storage's upkeep. Impossible changes raise Conflict or BadRequest."""

    async def collection(self) -> CollectionView:
        """The newest garbage collection."""

    async def collect(self, action: CollectionAction) -> CollectionView:
        """Start a garbage collection, hold them, or release them."""

    async def layout(self) -> LayoutView:
        """The layout and what each node holds."""

    async def plan(self, change: LayoutRequest) -> LayoutPlan:
        """What a change would move."""

    async def change(self, change: LayoutRequest) -> LayoutView:
        """Change the layout."""

    async def storage(self) -> StorageView:
        """What each node holds, and what its storage is busy with."""

    async def scrubs(self) -> ScrubView:
        """Where the scrub of each node is."""

    async def scrub(self) -> ScrubView:
        """Let every node begin a pass now, unless one is under way."""

    async def usage(self, prefix: str, owner: str) -> UsageView:
        """What tags hold, by reading them."""

    async def quotas(self) -> QuotaList:
        """All quotas and what is used of them, counted now."""

    async def set_quota(self, quota: QuotaView) -> None:
        """Let a quota hold in place of the one of the same kind and name."""

    async def remove_quota(self, kind: QuotaKind, name: str) -> None:
        """Let a quota hold no more; a missing one is no error."""

    async def find(self, key: str) -> FoundView:
        """Where a key lives."""


@dataclass(frozen=True, slots=True)
class Views:
    """All that the pages and the API show."""

    cluster: Cluster
    jobs: Jobs
    files: Files
    raft: Raft
    upkeep: Upkeep
