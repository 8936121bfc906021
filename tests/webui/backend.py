"""A cluster in memory behind the real web application, for the tests of web, client and CLI.

It keeps the promises of `peerdisco_webui.ports` for one process, and runs classic jobs at once
and in place when `runs_jobs` is set. Loaded by the conftest files, not a test itself.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import pickle
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec

from peerdisco import jobpack
from peerdisco.dataflow.format import Batch, RecordWriter
from peerdisco_webui import Views, make_app, serving
from peerdisco_webui.errors import BadRequest, Conflict, NotFound, OverQuota, TagTokenNeeded
from peerdisco_webui.messages import (
    Append,
    BlobView,
    ClusterFacts,
    ErrorView,
    EventView,
    JobPage,
    JobState,
    JobSummary,
    JobView,
    MemberState,
    MemberView,
    Replace,
    StageView,
    TagEvent,
    TagHistory,
    TagPage,
    TagTokenKind,
    TagView,
)
from peerdisco_webui.ports import NOBODY, Caller
from peerdisco_webui.raft_messages import (
    ElectionView,
    GroupDetail,
    GroupMember,
    GroupState,
    GroupView,
    Recovery,
)
from peerdisco_webui.upkeep_messages import (
    CollectionAction,
    CollectionView,
    Doomed,
    FoundView,
    LayoutAction,
    LayoutNode,
    LayoutPlan,
    LayoutRequest,
    LayoutView,
    NodeScrub,
    NodeStorage,
    PassView,
    Place,
    PlannedNode,
    QuotaKind,
    QuotaList,
    QuotaView,
    RepairView,
    ScrubView,
    StorageView,
    Tally,
    UsageView,
)

WALL_TIME = 1_800_000_000.0


def member(name: str, state: MemberState = MemberState.ALIVE, **more: Any) -> MemberView:
    """A member with sensible values."""
    values = {
        "id": hashlib.sha256(name.encode()).hexdigest()[:32],
        "address": "127.0.0.1:8990",
        "slots": 4,
        "free_bytes": 600 * 10**9,
        "total_bytes": 1000 * 10**9,
        "version": "0.1.0",
        "storage": True,
        **more,
    }
    return MemberView(name=name, state=state, **values)


class FakeCluster:
    def __init__(self) -> None:
        self.facts = ClusterFacts(
            cluster="cluster-1", node="n" * 32, name="node-a", version="0.1.0", epoch=1
        )
        self.listed = [member("node-a", me=True), member("node-b"), member("node-c")]

    def status(self) -> ClusterFacts:
        return self.facts

    def members(self) -> Sequence[MemberView]:
        return self.listed

    async def join_command(self) -> str:
        return "peerdisco --join pd1.x.y@127.0.0.1"

    async def client_string(self) -> str:
        return "pdc1.x.y@127.0.0.1:8989"


class FakeRaft:
    """Two groups; the second has lost its majority, and is recovered when that is confirmed."""

    def __init__(self) -> None:
        self.layout = GroupDetail(
            name="layout",
            state=GroupState.LED,
            leader="node-a",
            term=3,
            voters=("node-a", "node-b", "node-c"),
            members=(
                GroupMember(
                    node="node-a", id="a" * 32, part="voter", role="leader", term=3, last=9, match=9
                ),
                GroupMember(node="node-b", id="b" * 32, part="voter", role="silent", match=7),
            ),
            election=ElectionView(
                node="node-a", term=3, cause="evidence against the leader", seconds_ago=61.2
            ),
        )
        self.job = GroupDetail(
            name="job/count",
            state=GroupState.STUCK,
            detail="2 of 3 voters do not answer: node-b, node-c",
            term=5,
            voters=("node-a", "node-b", "node-c"),
        )

    async def list(self) -> Sequence[GroupView]:
        return [self.job, self.layout]

    async def show(self, name: str) -> GroupDetail:
        for group in (self.job, self.layout):
            if group.name == name:
                return group
        raise NotFound(f"no node that answers is a member of a group {name}")

    async def recover(self, name: str, keep: str, *, confirmed: bool) -> Recovery:
        group = await self.show(name)
        if group.leader:
            raise Conflict(f"{name} is led by {group.leader}: it needs no recovery")
        if confirmed:
            self.job = msgspec.structs.replace(
                self.job, state=GroupState.LED, leader=keep, voters=(keep,), detail="", era=1
            )
        consequence = "kept is everything up to entry 7; lost is whatever only node-b had after it"
        return Recovery(name=name, kept=keep, consequence=consequence, done=confirmed)


class FakeFiles:
    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.owners: dict[str, str] = {}
        self.tags: dict[str, TagView] = {}
        self.tokens: dict[str, dict[str, str | None]] = {}
        self.events: dict[str, list[TagEvent]] = {}
        self.operations: list[tuple[str, int]] = []
        self.missing = 0
        self.break_after: int | None = None

    def add(self, data: bytes) -> BlobView:
        name = "b3-" + hashlib.sha256(data).hexdigest()
        self.blobs[name] = data
        return BlobView(id=name, size=len(data), copies=3)

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
        if tag.startswith("small:") and size > 10:
            raise OverQuota(f"the quota of prefix 'small:' is 10 bytes; {size} more asked")
        data = b"".join([piece async for piece in source])
        blob = self.add(data)
        self.owners[blob.id] = owner
        return msgspec.structs.replace(blob, copies=replicas or 3)

    async def stat(self, blob: str) -> BlobView:
        if blob not in self.blobs:
            raise NotFound(f"there is no blob {blob}")
        return BlobView(id=blob, size=len(self.blobs[blob]), copies=3)

    @asynccontextmanager
    async def open(
        self, blob: str, *, offset: int, size: int
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        yield self._pieces(self.blobs[blob][offset : offset + size])

    async def _pieces(self, data: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(data), 65536):
            if self.break_after is not None and start >= self.break_after:
                self.break_after = None
                raise ConnectionError("a disk caught fire")
            yield data[start : start + 65536]

    async def tag(self, name: str, *, stale_ok: bool, caller: Caller = NOBODY) -> TagView:
        if name not in self.tags:
            raise NotFound(f"there is no tag {name}")
        tokens = self.tokens.get(name, {})
        self._demand(name, caller, *tokens)
        return msgspec.structs.replace(
            self.tags[name],
            stale=stale_ok and self.missing > 0,
            read_protected=tokens.get("read") is not None,
            write_protected=tokens.get("write") is not None,
        )

    async def history(self, name: str, *, caller: Caller = NOBODY) -> TagHistory:
        tag = await self.tag(name, stale_ok=False, caller=caller)
        return TagHistory(name=name, owner=tag.owner, events=tuple(self.events.get(name, ())))

    async def append(self, name: str, change: Append, *, caller: Caller = NOBODY) -> TagView:
        old = self._old(name, caller)
        if self._repeated((change.session, change.sequence) if change.session else None, caller):
            return old
        if change.if_version not in (None, old.version):
            raise Conflict(f"the tag is at version {old.version}")
        new = [urls for urls in change.urls if not change.unique or urls not in old.urls]
        return self._store(old, "append", urls=(*new, *old.urls))

    async def replace(self, name: str, change: Replace, *, caller: Caller = NOBODY) -> TagView:
        old = self._old(name, caller)
        if self._repeated(None, caller):
            return old
        if change.if_version not in (None, old.version):
            raise Conflict(f"the tag is at version {old.version}")
        return self._store(old, "replace", urls=change.urls)

    async def delete(
        self, name: str, *, if_version: int | None = None, caller: Caller = NOBODY
    ) -> None:
        old = self._old(name, caller)
        if if_version not in (None, old.version):
            raise Conflict(f"the tag is at version {old.version}")
        for state in (self.tags, self.tokens, self.events):
            state.pop(name, None)

    async def list(self, prefix: str, *, after: str, limit: int) -> TagPage:
        names = sorted(name for name in self.tags if name.startswith(prefix) and name > after)
        more = names[limit - 1] if len(names) > limit else ""
        return TagPage(names=tuple(names[:limit]), next=more, missing=self.missing)

    async def set_attribute(
        self, name: str, key: str, value: str | None, *, caller: Caller = NOBODY
    ) -> TagView:
        old = self._existing(name, caller)
        attributes = {k: v for k, v in old.attributes.items() if k != key}
        if value is not None:
            attributes[key] = value
        self._repeated(None, caller)
        return self._store(old, "attribute", attributes=attributes)

    async def set_token(
        self, name: str, kind: TagTokenKind, token: str | None, *, caller: Caller = NOBODY
    ) -> None:
        old = self._existing(name, caller)
        self.tokens.setdefault(name, {})[kind.value] = token
        self._store(old, "token")

    def _old(self, name: str, caller: Caller) -> TagView:
        """The tag before a write; a new one if there is none, with the caller's token."""
        if name in self.tags:
            return self._existing(name, caller)
        self.tokens[name] = {"read": caller.token, "write": caller.token}
        return TagView(name=name, version=0, owner=caller.user)

    def _existing(self, name: str, caller: Caller) -> TagView:
        if name not in self.tags:
            raise NotFound(f"there is no tag {name}")
        self._demand(name, caller, "write")
        return self.tags[name]

    def _demand(self, name: str, caller: Caller, *kinds: str) -> None:
        tokens = self.tokens.get(name, {})
        wanted = [tokens[kind] for kind in kinds if tokens.get(kind) is not None]
        open_to_readers = "read" in kinds and tokens.get("read") is None
        if wanted and not open_to_readers and caller.token not in wanted:
            raise TagTokenNeeded(f"the tag {name} needs its {kinds[0]} token")

    def _repeated(self, operation: tuple[str, int] | None, caller: Caller) -> bool:
        operation = operation or caller.operation
        if operation is None or operation not in self.operations:
            self.operations += [operation] if operation else []
            return False
        return True

    def _store(self, old: TagView, what: str, **fields: Any) -> TagView:
        new = msgspec.structs.replace(old, version=old.version + 1, **fields)
        self.tags[new.name] = new
        event = TagEvent(version=new.version, at=WALL_TIME, by=old.owner, what=what)
        self.events.setdefault(new.name, []).insert(0, event)
        return new


class FakeJobs:
    def __init__(self, files: FakeFiles) -> None:
        self.files = files
        self.jobs: dict[str, JobView] = {}
        self.packs: dict[str, bytes] = {}
        self.submissions = 0
        self.runs_jobs = True
        self.left_out: tuple[str, ...] = ()
        self.asked = 0
        self._changed = asyncio.Event()

    def change(self, name: str, **changes: Any) -> None:
        """Change a job and wake who waits for it; on the loop's thread."""
        job = self.jobs[name]
        self.jobs[name] = msgspec.structs.replace(job, version=job.version + 1, **changes)
        self._changed.set()
        self._changed = asyncio.Event()

    async def submit(self, pack: bytes) -> str:
        self.submissions += 1
        try:
            spec = jobpack.parse(pack, python=None).spec
        except jobpack.BadPack as error:
            raise BadRequest(str(error)) from None
        if spec.name not in self.jobs:
            self.packs[spec.name] = pack
            self.jobs[spec.name] = JobView(
                name=spec.name,
                owner=spec.owner,
                state=JobState.ACTIVE,
                submitted_at=WALL_TIME,
                coordinator="node-a",
                stages=tuple(StageView(name=stage.name) for stage in spec.stages),
                inputs=len(spec.inputs),
                version=1,
            )
            if self.runs_jobs:
                self._run(pack)
        return spec.name

    async def list(self, *, prefix: str, after: str, limit: int) -> JobPage:
        names = [name for name in reversed(self.jobs) if name.startswith(prefix)]
        start = names.index(after) + 1 if after else 0
        page = names[start : start + limit]
        more = page[-1] if len(names) > start + limit else ""
        fields = [field for field in JobSummary.__struct_fields__ if field not in self.left_out]
        summaries = [
            JobSummary(**{field: getattr(self.jobs[name], field) for field in fields})
            for name in page
        ]
        return JobPage(jobs=tuple(summaries), next=more)

    async def status(self, name: str) -> JobView:
        self.asked += 1
        if name not in self.jobs:
            raise NotFound(f"there is no job {name}")
        return self.jobs[name]

    async def wait(self, name: str, since: int, timeout_s: float) -> JobView:
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    job = await self.status(name)
                    if job.version > since or job.state.is_final:
                        return job
                    await self._changed.wait()
        except TimeoutError:
            return await self.status(name)

    async def events(self, name: str, *, after: int, limit: int) -> Sequence[EventView]:
        await self.status(name)
        texts = ["submitted", "map task 0 assigned", "map task 0 done"]
        events = [
            EventView(number=number, at=WALL_TIME + number, node="node-a", text=text)
            for number, text in enumerate(texts, 1)
        ]
        return [event for event in events if event.number > after][:limit]

    async def kill(self, name: str) -> None:
        if not (await self.status(name)).state.is_final:
            self.change(name, state=JobState.DEAD, finished_at=WALL_TIME + 5)

    async def purge(self, name: str) -> None:
        await self.status(name)
        del self.jobs[name]

    def _run(self, pack: bytes) -> None:
        """Run a job here and now, as a coordinator and its workers would."""
        parsed = jobpack.parse(pack)
        payload = jobpack.payload(pack, parsed)
        functions, params = pickle.loads(payload.functions), pickle.loads(payload.params)
        name = parsed.spec.name
        try:
            records: Any = self._lines(parsed.spec.inputs)
            if "map" in functions:
                records = [pair for line in records for pair in functions["map"](line, params)]
            if "reduce" in functions:
                records = list(functions["reduce"](iter(records), params))
        except Exception as error:
            failure = ErrorView(
                kind="user",
                message=repr(error),
                traceback=f"Traceback (most recent call last):\n  {error!r}\n",
                input="blob:b3-1",
                record=7,
                node="node-b",
                stage="map",
                task=0,
            )
            self.change(name, state=JobState.DEAD, error=failure, finished_at=WALL_TIME + 1)
            return
        blob = self.files.add(encode_records(records))
        stages = tuple(StageView(name=stage.name, done=1) for stage in parsed.spec.stages)
        self.change(
            name,
            state=JobState.READY,
            results=((blob.url,),),
            tasks=sum(stage.total for stage in stages),
            tasks_done=sum(stage.done for stage in stages),
            stages=stages,
            finished_at=WALL_TIME + 1,
        )

    def _lines(self, inputs: Sequence[Sequence[str]]) -> Iterator[str]:
        for replicas in inputs:
            url = replicas[0]
            if url.startswith("raw://"):
                yield url.removeprefix("raw://")
            elif url.startswith("tag://"):
                yield from self._lines(self.files.tags[url.removeprefix("tag://")].urls)
            else:
                yield from self.files.blobs[url.removeprefix("blob:")].decode().splitlines(True)


def encode_records(records: Sequence[tuple[Any, Any]]) -> bytes:
    """A record stream as jobs write it."""
    file = Unclosed()
    writer = RecordWriter(file)
    writer.write(Batch([key for key, _ in records], [value for _, value in records], None))
    writer.close()
    return file.getvalue()


class Unclosed(io.BytesIO):
    def close(self) -> None:
        """Keep the contents."""


class FakeUpkeep:
    """A collection that takes three looks, and two nodes of which one may be drained."""

    def __init__(self) -> None:
        self.held = False
        self.generation = 0
        self.looks = 3
        self.dry_run = False
        self.states = {"node-a": "up", "node-b": "up"}
        self.leaving = 2
        self.scrubbing = False
        self.limits: list[QuotaView] = []

    async def collection(self) -> CollectionView:
        self.looks += 1
        running = self.generation > 0 and self.looks < 3
        return CollectionView(
            generation=self.generation,
            running=running,
            held=self.held,
            phase="mark" if running else "done",
            dry_run=self.dry_run,
            registers=4,
            references=7,
            tallies=(Tally(verdict="condemn", copies=3, bytes=3 << 20),),
            sample=(
                (Doomed(id="b3-" + 64 * "0", bytes=1 << 20, verdict="condemn", reason="no tag"),)
                if self.dry_run
                else ()
            ),
        )

    async def collect(self, action: CollectionAction) -> CollectionView:
        if action in (CollectionAction.HOLD, CollectionAction.RELEASE):
            self.held = action is CollectionAction.HOLD
        elif self.held:
            raise Conflict("garbage collection is on hold")
        else:
            self.generation += 1
            self.looks, self.dry_run = 0, action is CollectionAction.DRY_RUN
        return await self.collection()

    async def layout(self) -> LayoutView:
        nodes = tuple(
            LayoutNode(id=f"id-{name}", name=name, state=state, partitions=4096, blobs=9, bytes=90)
            for name, state in self.states.items()
        )
        return LayoutView(epoch=7, replicas=3, moving=False, voters=("node-a",), nodes=nodes)

    async def plan(self, change: LayoutRequest) -> LayoutPlan:
        if change.action is not LayoutAction.REPLICAS and change.node not in self.states:
            raise NotFound(f"the layout has no node {change.node!r}")
        node = PlannedNode(
            id="id-node-a",
            name="node-a",
            partitions_before=4096,
            partitions_after=4096,
            blobs_in=5,
            bytes_in=5 << 20,
        )
        return LayoutPlan(
            nodes=(node,), moved=1024, homes=8192, blobs=5, bytes=5 << 20, unknown=("node-c",)
        )

    async def change(self, change: LayoutRequest) -> LayoutView:
        await self.plan(change)
        if change.action is LayoutAction.REMOVE and self.leaving and not change.force:
            raise Conflict(f"{change.node} still has {self.leaving} blobs to move")
        names = {"drain": "draining", "remove": "gone", "add": "up"}
        if change.node:
            self.states[change.node] = names[change.action]
        return await self.layout()

    async def storage(self) -> StorageView:
        busy = RepairView(blobs_left=3, bytes_left=3 << 20, bytes_per_s=1e6, left_s=62.0)
        node_a = NodeStorage(
            id="id-node-a",
            name="node-a",
            space="low",
            free_bytes=10**9,
            total_bytes=10**12,
            blobs=9,
            bytes=90,
            repair=busy,
        )
        return StorageView(
            nodes=(node_a, NodeStorage(id="id-node-b", name="node-b", answers=False))
        )

    async def quotas(self) -> QuotaList:
        return QuotaList(quotas=tuple(self.limits))

    async def set_quota(self, quota: QuotaView) -> None:
        await self.remove_quota(quota.kind, quota.name)
        self.limits.append(msgspec.structs.replace(quota, used_bytes=500, used_tags=1))

    async def remove_quota(self, kind: QuotaKind, name: str) -> None:
        self.limits = [each for each in self.limits if (each.kind, each.name) != (kind, name)]

    async def usage(self, prefix: str, owner: str) -> UsageView:
        return UsageView(prefix=prefix, owner=owner, tags=2, blobs=5, bytes=5000, unknown=1)

    async def scrubs(self) -> ScrubView:
        last = PassView(began_at=9.0, finished_at=1e9, blobs=7, bytes=7000, rotten=2)
        running = PassView(began_at=WALL_TIME) if self.scrubbing else None
        node_a = NodeScrub(id="id-node-a", name="node-a", running=running, last=last, aside=1)
        return ScrubView(nodes=(node_a, NodeScrub(id="id-node-b", name="node-b", answers=False)))

    async def scrub(self) -> ScrubView:
        self.scrubbing = True
        return await self.scrubs()

    async def find(self, key: str) -> FoundView:
        home = (Place(id="id-node-a", name="node-a"), Place(id="id-node-b", name="node-b"))
        return FoundView(
            key=40 * "a", partition=2730, epoch=7, home=home, told_by="node-b", nearest=home[1:]
        )


class Backend:
    """The ports over one memory."""

    def __init__(self) -> None:
        self.cluster = FakeCluster()
        self.raft = FakeRaft()
        self.files = FakeFiles()
        self.jobs = FakeJobs(self.files)
        self.upkeep = FakeUpkeep()
        self.views = Views(self.cluster, self.jobs, self.files, self.raft, self.upkeep)

    def app(self, **settings: Any) -> Any:
        """The real application over this memory."""
        return make_app(self.views, version="0.1.0", wall_time=lambda: WALL_TIME + 60.0, **settings)


class Servers:
    """Nodes that serve one backend from a thread of their own, on free loopback ports."""

    def __init__(self, count: int) -> None:
        self.backend = Backend()
        self.addresses: list[str] = []
        self._stops: list[asyncio.Event] = []
        self._stopped: list[threading.Event] = []
        self._count = count
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()))
        self._thread.start()
        self._ready.wait()

    def stop(self, index: int) -> None:
        """Stop one node; returns when nothing listens there any more."""
        self.do(self._stops[index].set)
        self._stopped[index].wait()

    def do(self, call: Any, *arguments: Any) -> None:
        """Call something on the loop's thread."""
        self._loop.call_soon_threadsafe(call, *arguments)

    def close(self) -> None:
        """Stop all nodes."""
        if self._thread.is_alive():
            for stop in self._stops:
                self.do(stop.set)
            self._thread.join()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            for _ in range(self._count):
                up = asyncio.Event()
                group.create_task(self._serve(up))
                await up.wait()
            names = ("node-a", "node-b", "node-c")[: self._count]
            self.backend.cluster.listed = [
                member(name, http=address, me=name == "node-a")
                for name, address in zip(names, self.addresses, strict=True)
            ]
            self._ready.set()

    async def _serve(self, up: asyncio.Event) -> None:
        stop, stopped = asyncio.Event(), threading.Event()
        async with AsyncExitStack() as stack:
            host, port = await stack.enter_async_context(
                serving(self.backend.app(), "127.0.0.1", 0)
            )
            self.addresses.append(f"{host}:{port}")
            self._stops.append(stop)
            self._stopped.append(stopped)
            up.set()
            await stop.wait()
        stopped.set()
