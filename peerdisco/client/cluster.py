"""The REST API as methods: what `Job`, `DDFS` and the command line are made of."""

from __future__ import annotations

import functools
import secrets
import threading
from collections.abc import Iterator, Sequence
from urllib.parse import quote

from peerdisco.client.connection import Body
from peerdisco.client.names import owner
from peerdisco.client.remote_file import RemoteFile
from peerdisco.client.session import Session
from peerdisco_webui.messages import (
    OPERATION_HEADER,
    PROOF_HEADER,
    USER_HEADER,
    Append,
    AttributeValue,
    BlobView,
    ClientString,
    ClusterView,
    EventList,
    EventView,
    JobPage,
    JobSummary,
    JobView,
    JoinCommand,
    MemberList,
    MemberView,
    Replace,
    Submitted,
    TagHistory,
    TagPage,
    TagTokenKind,
    TagView,
    TokenValue,
)
from peerdisco_webui.raft_messages import (
    GroupDetail,
    GroupList,
    GroupView,
    Recover,
    Recovery,
)
from peerdisco_webui.upkeep_messages import (
    CollectionAction,
    CollectionRequest,
    CollectionView,
    FoundView,
    LayoutPlan,
    LayoutRequest,
    LayoutView,
    QuotaList,
    QuotaView,
    ScrubView,
    StorageView,
    UsageView,
)

SUBMIT_TIMEOUT_S = 60.0
COUNT_TIMEOUT_S = 120.0
"""Nodes count what they hold when they are asked."""
PAGE_SIZE = 1000


class Cluster:
    """A cluster, reached through any of its nodes. Threads may share it.

    Every method may raise NoCluster, Unavailable or Refused, and NotFound where it names a thing.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self._run = secrets.token_hex(8)
        self._sequence = 0
        self._lock = threading.Lock()

    def status(self) -> ClusterView:
        """The cluster in one value, with the verdict."""
        return self.session.call("GET", "/api/v1/status", ClusterView)

    def members(self) -> tuple[MemberView, ...]:
        """All members that the answering node remembers."""
        return self.session.call("GET", "/api/v1/members", MemberList).members

    def join_command(self) -> str:
        """What to type on another machine."""
        return self.session.call("POST", "/api/v1/join-command", JoinCommand).command

    def client_string(self) -> str:
        """A fresh value for PEERDISCO."""
        return self.session.call("POST", "/api/v1/tokens", ClientString).client

    def raft_groups(self) -> tuple[GroupView, ...]:
        """All Raft groups that an answering node is a member of."""
        return self.session.call("GET", "/api/v1/raft", GroupList).groups

    def raft_group(self, name: str) -> GroupDetail:
        """One Raft group and its members."""
        return self.session.call("GET", _raft(name), GroupDetail)

    def recover(self, name: str, keep: str, *, confirmed: bool) -> Recovery:
        """What making one member the whole group would do; when confirmed, do it."""
        body = Recover(keep=keep, confirmed=confirmed)
        return self.session.call("POST", f"{_raft(name)}/recover", Recovery, value=body)

    def submit(self, pack: bytes) -> str:
        """Submit a job pack; the job's name. Repeating it is the same job."""
        answer = self.session.call(
            "POST", "/api/v1/jobs", Submitted, body=pack, timeout_s=SUBMIT_TIMEOUT_S
        )
        return answer.name

    def jobs(self, *, prefix: str = "", after: str = "", limit: int = 100) -> JobPage:
        """One page of jobs, newest first."""
        query = {"prefix": prefix, "after": after, "limit": limit}
        return self.session.call("GET", "/api/v1/jobs", JobPage, query=query)

    def all_jobs(self, prefix: str = "") -> Iterator[JobSummary]:
        """All jobs, newest first."""
        after = ""
        while True:
            page = self.jobs(prefix=prefix, after=after, limit=PAGE_SIZE)
            yield from page.jobs
            if not (after := page.next):
                return

    def job(self, name: str, *, since: int = 0, wait_s: float = 0.0) -> JobView:
        """The status; with `wait_s` as soon as its version exceeds `since`, or after that time."""
        query = {"since": since, "wait_s": wait_s} if wait_s > 0 else None
        return self.session.call("GET", _job(name), JobView, query=query, timeout_s=wait_s + 10)

    def events(self, name: str, *, after: int = 0, limit: int = 1000) -> tuple[EventView, ...]:
        """Events with a number above `after`, oldest first."""
        query = {"after": after, "limit": limit}
        return self.session.call("GET", f"{_job(name)}/events", EventList, query=query).events

    def kill(self, name: str) -> None:
        """Stop a job."""
        self.session.command("POST", f"{_job(name)}/kill")

    def purge(self, name: str) -> None:
        """Stop and forget a job and delete its results."""
        self.session.command("DELETE", _job(name))

    def collection(self) -> CollectionView:
        """The newest garbage collection."""
        return self.session.call("GET", "/api/v1/gc", CollectionView)

    def collect(self, action: CollectionAction) -> CollectionView:
        """Start a garbage collection or a dry run, hold them, or release them."""
        request = CollectionRequest(action=action)
        return self.session.call("POST", "/api/v1/gc", CollectionView, value=request)

    def layout(self) -> LayoutView:
        """The layout of the storage, and what each node holds."""
        return self.session.call("GET", "/api/v1/layout", LayoutView, timeout_s=COUNT_TIMEOUT_S)

    def plan_layout(self, change: LayoutRequest) -> LayoutPlan:
        """What a change of the layout would move."""
        path = "/api/v1/layout/plan"
        return self.session.call("POST", path, LayoutPlan, value=change, timeout_s=COUNT_TIMEOUT_S)

    def change_layout(self, change: LayoutRequest) -> LayoutView:
        """Change the layout."""
        path = "/api/v1/layout"
        return self.session.call("POST", path, LayoutView, value=change, timeout_s=COUNT_TIMEOUT_S)

    def storage(self) -> StorageView:
        """What each node holds, and what its storage is busy with."""
        return self.session.call("GET", "/api/v1/storage", StorageView, timeout_s=COUNT_TIMEOUT_S)

    def scrubs(self) -> ScrubView:
        """Where the scrub of each node is."""
        return self.session.call("GET", "/api/v1/scrub", ScrubView)

    def scrub(self) -> ScrubView:
        """Let every node read all its copies again now."""
        return self.session.call("POST", "/api/v1/scrub", ScrubView)

    def usage(self, prefix: str = "", owner: str = "") -> UsageView:
        """What the tags of a prefix or an owner hold."""
        query = {"prefix": prefix, "owner": owner}
        path = "/api/v1/usage"
        return self.session.call("GET", path, UsageView, query=query, timeout_s=COUNT_TIMEOUT_S)

    def quotas(self) -> tuple[QuotaView, ...]:
        """All quotas and what is used of them, counted now."""
        path = "/api/v1/quotas"
        return self.session.call("GET", path, QuotaList, timeout_s=COUNT_TIMEOUT_S).quotas

    def set_quota(self, quota: QuotaView) -> None:
        """Set a quota in place of the one of the same kind and name."""
        self.session.command("PUT", "/api/v1/quotas", value=quota)

    def remove_quota(self, kind: str, name: str) -> None:
        """Remove a quota; a missing one is no error."""
        query = {"kind": kind, "name": name}
        self.session.command("DELETE", "/api/v1/quotas", query=query)

    def find_key(self, key: str) -> FoundView:
        """Where a key lives: a blob, `tag://NAME`, or 40 hexadecimal digits."""
        return self.session.call("GET", "/api/v1/dht", FoundView, query={"key": key})

    def put_blob(
        self, body: Body, *, replicas: int | None = None, owner: str = "", tag: str = ""
    ) -> BlobView:
        """Store a blob, for a job if an owner is given: purging it takes the blob along.

        `tag` says where it will be named: a quota may refuse it before it is sent. A body that is
        not bytes is opened anew for every attempt.
        """
        given = {"replicas": replicas, "owner": owner, "tag": tag}
        return self.session.call(
            "POST",
            "/api/v1/blobs",
            BlobView,
            query={name: value for name, value in given.items() if value},
            headers=_user(),
            body=body,
        )

    def open_blob(self, blob: str, *, start: int = 0, stop: int | None = None) -> RemoteFile:
        """A blob as a binary file that survives the death of the node it is read from.

        With `start` and `stop` only that part of it, which it must have.
        """
        return RemoteFile(self.session, _blob(blob), start=start, stop=stop)

    def blob_size(self, blob: str) -> int:
        """How many bytes a blob has."""
        with self.session.stream("HEAD", _blob(blob)) as response:
            return int(response.headers.get("Content-Length", "0"))

    def tag(self, name: str, *, token: str | None = None) -> TagView:
        """A tag. `token` is one of the tag's own here and below; TokenNeeded without it."""
        return self.session.call("GET", _tag(name), TagView, headers=_proof(token))

    def tags(self, *, prefix: str = "", after: str = "", limit: int = PAGE_SIZE) -> TagPage:
        """One page of the names of tags, in order."""
        query = {"prefix": prefix, "after": after, "limit": limit}
        return self.session.call("GET", "/api/v1/tags", TagPage, query=query)

    def tag_history(self, name: str, *, token: str | None = None) -> TagHistory:
        """The last changes of a tag, newest first."""
        path = f"{_tag(name)}/history"
        return self.session.call("GET", path, TagHistory, headers=_proof(token))

    def append(
        self,
        name: str,
        urls: Sequence[Sequence[str]],
        *,
        unique: bool = False,
        delayed: bool = False,
        if_version: int | None = None,
        owner: str = "",
        brief: bool = False,
        token: str | None = None,
    ) -> TagView:
        """Put URLs in front of a tag, once, however often the request had to be repeated.

        With `brief` the answer has the tag's name and version only, which is quicker. With
        `delayed` the append may wait a second for others, which spares the cluster work.
        """
        sequence = self._next()
        change = Append(
            urls=tuple(map(tuple, urls)),
            unique=unique,
            delayed=delayed,
            if_version=if_version,
            owner=owner,
            brief=brief,
            session=self._run,
            sequence=sequence,
        )
        headers = self._change(token, sequence)
        return self.session.call("POST", _tag(name), TagView, value=change, headers=headers)

    def replace(
        self,
        name: str,
        urls: Sequence[Sequence[str]],
        *,
        if_version: int | None = None,
        token: str | None = None,
    ) -> TagView:
        """Exchange all URLs of a tag."""
        change = Replace(urls=tuple(map(tuple, urls)), if_version=if_version)
        headers = self._change(token)
        return self.session.call("PUT", _tag(name), TagView, value=change, headers=headers)

    def delete_tag(self, name: str, *, token: str | None = None) -> None:
        """Delete a tag; a missing one is no error."""
        self.session.command("DELETE", _tag(name), headers=self._change(token))

    def set_attribute(self, name: str, key: str, value: str, *, token: str | None = None) -> None:
        """Set an attribute of a tag."""
        body = AttributeValue(value=value)
        self.session.command("PUT", _attribute(name, key), value=body, headers=self._change(token))

    def delete_attribute(self, name: str, key: str, *, token: str | None = None) -> None:
        """Delete an attribute of a tag."""
        self.session.command("DELETE", _attribute(name, key), headers=self._change(token))

    def set_token(
        self, name: str, kind: TagTokenKind, value: str | None, *, token: str | None = None
    ) -> None:
        """Set the read or the write token of a tag, or remove it with None."""
        path, headers = f"{_tag(name)}/tokens/{kind.value}", self._change(token)
        if value is None:
            self.session.command("DELETE", path, headers=headers)
        else:
            self.session.command("PUT", path, value=TokenValue(token=value), headers=headers)

    def _next(self) -> int:
        with self._lock:
            self._sequence += 1
            return self._sequence

    def _change(self, token: str | None, sequence: int | None = None) -> dict[str, str]:
        """Headers of a change, which is applied once although every attempt sends the same."""
        return {
            **_proof(token),
            **_user(),
            OPERATION_HEADER: f"{self._run}/{sequence or self._next()}",
        }


@functools.cache
def _user() -> dict[str, str]:
    """Who this process is; asking the system each time costs more than saying it."""
    return {USER_HEADER: quote(owner(), safe="@")}


def _proof(token: str | None) -> dict[str, str]:
    return {} if token is None else {PROOF_HEADER: quote(token, safe="", errors="surrogatepass")}


def _job(name: str) -> str:
    return f"/api/v1/jobs/{quote(name, safe='')}"


def _blob(blob: str) -> str:
    return f"/api/v1/blobs/{quote(blob, safe='')}"


def _raft(name: str) -> str:
    return f"/api/v1/raft/{quote(name, safe='')}"


def _tag(name: str) -> str:
    return f"/api/v1/tags/{quote(name, safe='')}"


def _attribute(name: str, key: str) -> str:
    return f"{_tag(name)}/attributes/{quote(key, safe='')}"
