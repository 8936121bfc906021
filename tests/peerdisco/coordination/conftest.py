"""An in-memory cluster: real coordination rooms over pretended groups, storage, calls and workers.

Everything goes through the Protocols of `peerdisco.coordination.ports`. A node can be crashed at
any time: its tasks are cancelled, calls to it break, its segments are gone, and the groups that it
led get a new leader when the test says so.
"""

from __future__ import annotations

import asyncio
import enum
import random
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Protocol, TypeVar

import pytest

from peerdisco.coordination import (
    Coordination,
    CoordinationConfig,
    Failures,
    JobStatus,
    Ports,
)
from peerdisco.coordination.directory import Directory
from peerdisco.coordination.ports import StateMachine
from peerdisco.coordination.scheduler import SchedulerConfig
from peerdisco.messages import (
    Assignment,
    ErrorKind,
    Failed,
    Finished,
    Grouping,
    InputsLost,
    JobSpec,
    Outcome,
    Output,
    Stage,
    TaskError,
    decode,
    encode,
)

CONFIG = CoordinationConfig(
    scheduler=SchedulerConfig(
        locality_delay_s=0.01, retry_elsewhere_s=0.2, retry_pause_s=0.01, starved_pause_max_s=0.05
    ),
    call_timeout_s=2.0,
    pause_min_s=0.005,
    pause_max_s=0.05,
    offer_interval_s=0.05,
    silence_s=0.2,
    keepalive_s=0.1,
    unseen_grace_s=0.2,
    upkeep_interval_s=0.02,
    voter_missing_s=0.02,
    sweep_interval_s=0.05,
    archive_pause_s=0.02,
)
MAP_REDUCE = (Stage("map", Grouping.SPLIT), Stage("reduce", Grouping.GROUP_LABEL))


T = TypeVar("T")
Handler = Callable[[str, bytes], Awaitable[bytes]]


class MakePack(Protocol):
    """Makes the pretended pack of a job."""

    def __call__(
        self,
        name: str = ...,
        inputs: Sequence[str] = ...,
        stages: Sequence[Stage] = ...,
        **options: Any,
    ) -> bytes: ...


class MakeFailure(Protocol):
    """Makes the outcome of an attempt that failed."""

    def __call__(self, kind: ErrorKind = ..., message: str = ...) -> Failed: ...


class NotLeader(Exception):
    pass


class Unavailable(Exception):
    pass


class SharedGroup:
    """What all members of a group have in common."""

    def __init__(self, world: World, name: str, voters: Sequence[str]) -> None:
        self.world, self.name, self.voters = world, name, tuple(voters)
        self.log: list[bytes] = []
        self.committed = 0
        self.late = 0
        """So many proposals time out at their proposer, and are committed with the next one."""
        self.members: dict[str, FakeGroup] = {}
        self.leader: str | None = None
        self.term = 0

    def elect(self, node: str) -> None:
        self.leader, self.term = node, self.term + 1
        self.commit()
        for member in list(self.members.values()):
            for callback in member.callbacks:
                callback(None)

    def commit(self) -> None:
        self.committed = len(self.log)
        for member in list(self.members.values()):
            if self.world.is_alive(member.me):
                member.catch_up()

    def depose(self) -> None:
        self.leader = None
        for member in list(self.members.values()):
            for callback in member.callbacks:
                callback(None)

    def has_quorum(self) -> bool:
        alive = [node for node in self.voters if node in self.members and self.world.is_alive(node)]
        return len(alive) * 2 > len(self.voters)


class FakeGroup:
    superseded = False
    era = 0
    known_commit = (0, 0)

    def __init__(self, shared: SharedGroup, me: str, machine: StateMachine) -> None:
        self.shared, self.me, self.machine = shared, me, machine
        self.applied = 0
        self.callbacks: list[Callable[[object], None]] = []

    @property
    def leader(self) -> str | None:
        return self.shared.leader

    @property
    def term(self) -> int:
        return self.shared.term

    @property
    def voters(self) -> tuple[str, ...]:
        return self.shared.voters

    @property
    def is_leader(self) -> bool:
        return self.shared.leader == self.me

    def subscribe(self, callback: Callable[[object], None]) -> None:
        self.callbacks.append(callback)

    def catch_up(self) -> None:
        while self.applied < self.shared.committed:
            self.applied += 1
            self.machine.apply(self.applied, self.shared.log[self.applied - 1])

    async def _lead(self) -> None:
        await asyncio.sleep(0)
        if not self.is_leader or not self.shared.has_quorum():
            raise NotLeader(self.leader)

    async def propose(self, command: bytes, *, timeout: float) -> object:
        await self._lead()
        self.shared.log.append(command)
        self.shared.world.commits += 1
        if self.shared.late:
            self.shared.late -= 1
            raise TimeoutError
        self.shared.commit()
        return None

    async def change_voters(self, voters: Sequence[str], *, timeout: float) -> None:
        await self._lead()
        self.shared.voters = tuple(voters)
        for node in voters:
            self.shared.members[node].catch_up()


class FakeGroups:
    def __init__(self, world: World, me: str) -> None:
        self.world, self.me = world, me

    async def create(
        self,
        name: str,
        voters: Sequence[str],
        machine: StateMachine,
        *,
        campaign: bool = False,
        era: int = 0,
        floor: tuple[int, int] = (0, 0),
    ) -> FakeGroup:
        await asyncio.sleep(0)
        shared = self.world.groups.setdefault(name, SharedGroup(self.world, name, voters))
        group = shared.members[self.me] = FakeGroup(shared, self.me, machine)
        self.world.stored.setdefault(self.me, {})[name] = None
        group.catch_up()
        if campaign and shared.leader is None:
            shared.elect(self.me)
        # As in a real group, voters that nobody leads elect by themselves before long.
        asyncio.get_running_loop().call_later(0.05, self.world.elect)
        return group

    def open(self, name: str, machine: StateMachine) -> FakeGroup:
        shared = self.world.groups[name]
        group = shared.members[self.me] = FakeGroup(shared, self.me, machine)
        group.catch_up()
        return group

    def names(self) -> list[str]:
        return list(self.world.stored.get(self.me, {}))

    async def dissolve(self, name: str) -> None:
        await asyncio.sleep(0)
        self.world.stored.get(self.me, {}).pop(name, None)
        self.world.groups[name].members.pop(self.me, None)


@dataclass(frozen=True)
class Versioned:
    version: int
    value: bytes


class FakeRegisters:
    def __init__(self) -> None:
        self.values: dict[str, Versioned] = {}

    async def create(self, key: str, value: bytes) -> bytes:
        await asyncio.sleep(0)
        return self.values.setdefault(key, Versioned(1, value)).value

    async def read(self, key: str) -> Versioned | None:
        await asyncio.sleep(0)
        return self.values.get(key)

    async def compare_and_set(self, key: str, expected_version: int, value: bytes) -> bool:
        await asyncio.sleep(0)
        if self.values[key].version != expected_version:
            return False
        self.values[key] = Versioned(expected_version + 1, value)
        return True


class FakeBlobs:
    def __init__(self, world: World) -> None:
        self.world = world
        self.data: dict[str, bytes] = {}
        self.owners: dict[str, dict[str, None]] = {}

    async def put_bytes(self, data: bytes, *, owner: str) -> SimpleNamespace:
        await asyncio.sleep(0)
        name = f"b3-{zlib.crc32(data):08x}{len(data):056x}"
        self.data[name] = data
        self.owners.setdefault(name, {})[owner] = None
        return SimpleNamespace(id=name)

    async def delete(self, blob_id: str, *, owner: str) -> None:
        await asyncio.sleep(0)
        owners = self.owners.get(blob_id, {})
        owners.pop(owner, None)
        if not owners:
            self.data.pop(blob_id, None)

    async def read(self, blob_id: str, *, limit_bytes: int) -> bytes:
        await asyncio.sleep(0)
        return self.data[blob_id]

    def home(self, blob_id: str) -> tuple[str, ...]:
        return tuple(self.world.nodes)[:3]


class FakeTags:
    def __init__(self) -> None:
        self.missing: tuple[int, ...] = ()
        self.urls: dict[str, tuple[tuple[str, ...], ...]] = {}
        self.fail = 0

    async def get(self, name: str) -> SimpleNamespace:
        await asyncio.sleep(0)
        if self.fail:
            self.fail -= 1
            raise Unavailable(name)
        return SimpleNamespace(urls=self.urls[name])

    async def record(self, name: str, urls: Sequence[Sequence[str]], *, owner: str) -> None:
        await self.replace(name, urls)

    async def replace(self, name: str, urls: Sequence[Sequence[str]]) -> None:
        await asyncio.sleep(0)
        if self.fail:
            self.fail -= 1
            raise Unavailable(name)
        self.urls[name] = tuple(tuple(url) for url in urls)

    async def delete(self, name: str) -> None:
        await asyncio.sleep(0)
        del self.urls[name]

    async def list(self, prefix: str, *, after: str = "", limit: int = 1000) -> SimpleNamespace:
        await asyncio.sleep(0)
        found = sorted(name for name in self.urls if name.startswith(prefix) and name > after)
        following = found[limit - 1] if len(found) > limit else None
        return SimpleNamespace(names=found[:limit], next=following, missing=self.missing)


class Fault(enum.Enum):
    """What may happen to a call: it does not arrive, or its answer does not."""

    REFUSED = enum.auto()
    ANSWER_LOST = enum.auto()


class FakeRpc:
    def __init__(self, world: World, me: str) -> None:
        self.world, self.me = world, me
        self.handlers: dict[str, Handler] = {}

    def serve(self, method: str, handler: Handler) -> None:
        self.handlers[method] = handler

    async def call(self, peer: str, method: str, body: bytes, *, timeout: float) -> bytes:
        self.world.calls.append((self.me, peer, method))
        await asyncio.sleep(0)
        fault = self.world.fault(method)
        node = self.world.nodes.get(peer)
        if (
            fault is Fault.REFUSED
            or node is None
            or not node.alive
            or method not in node.rpc.handlers
        ):
            raise ConnectionRefusedError(peer)
        handler = self.world.spawn(_handle(node.rpc.handlers[method], self.me, body))
        crash = self.world.spawn(node.crashed.wait())
        try:
            async with asyncio.timeout(timeout):
                await asyncio.wait([handler, crash], return_when=asyncio.FIRST_COMPLETED)
            if not handler.done() or not node.alive:
                handler.cancel()
                raise ConnectionResetError(peer)
            if fault is Fault.ANSWER_LOST:
                raise ConnectionResetError(peer)
            return handler.result()
        finally:
            crash.cancel()


async def _handle(handler: Handler, peer: str, body: bytes) -> bytes:
    return await handler(peer, body)


class FakeMembers:
    def __init__(self, world: World) -> None:
        self.world = world
        self.callbacks: list[Callable[[object], None]] = []

    def alive(self) -> list[str]:
        return sorted(self.world.seen_alive)

    def known(self) -> list[str]:
        return sorted({*self.world.seen_alive, *self.world.nodes})

    def subscribe(self, callback: Callable[[object], None]) -> None:
        self.callbacks.append(callback)


class FakeExecution:
    """Counts words: stage 0 splits texts into two labels, later stages join what they read."""

    def __init__(self, world: World, me: str, slots: int = 2) -> None:
        self.world, self.me, self.slots = world, me, slots
        self.segments: dict[tuple[str, str], dict[str, int]] = {}
        self.forgotten: list[str] = []
        self.ran: list[Assignment] = []

    async def jobs(self) -> list[str]:
        return list(dict.fromkeys(job for job, _ in self.segments))

    async def forget(self, job: str) -> None:
        self.forgotten.append(job)
        self.segments = {key: data for key, data in self.segments.items() if key[0] != job}

    async def run(self, assignment: Assignment) -> Outcome:
        self.ran.append(assignment)
        await self.world.gates.get(assignment.stage_name, self.world.open_gate).wait()
        if self.world.effort is not None:
            await asyncio.sleep(self.world.effort())
        if self.world.misbehave is not None:
            outcome = self.world.misbehave(self.me, assignment)
            if outcome is not None:
                return outcome
        counts: Counter[str] = Counter()
        lost: list[int] = []
        for item in assignment.inputs:
            found = self.world.fetch(item.urls[0], assignment.job)
            if found is None:
                lost.append(item.producer)
            else:
                counts.update(found)
        if lost:
            return InputsLost(tuple(lost))
        return await self._publish(assignment, counts)

    async def _publish(self, assignment: Assignment, counts: Counter[str]) -> Finished:
        if assignment.final:
            content = encode(dict(sorted(counts.items())))
            blob = await self.world.blobs.put_bytes(content, owner=assignment.job)
            return Finished((Output(assignment.label, f"blob:{blob.id}", 1, len(counts)),), 1, 1)
        outputs = []
        for label in range(2):
            part = {word: n for word, n in counts.items() if zlib.crc32(word.encode()) % 2 == label}
            path = f"{assignment.job}/{assignment.attempt}/{label}"
            self.segments[assignment.job, path] = part
            outputs.append(Output(label, f"segment://{self.me}/{path}", 10, len(part)))
        return Finished(tuple(outputs), sum(counts.values()), len(counts))


class Node:
    def __init__(self, world: World, name: str, slots: int) -> None:
        self.world, self.name, self.alive = world, name, True
        self.rpc, self.members = FakeRpc(world, name), FakeMembers(world)
        self.execution = FakeExecution(world, name, slots)
        self.crashed = asyncio.Event()
        ports = Ports(
            me=name,
            rpc=self.rpc,
            members=self.members,
            groups=FakeGroups(world, name),
            registers=world.registers,
            blobs=world.blobs,
            tags=world.tags,
            execution=self.execution,
            failures=Failures((NotLeader, OSError), (Unavailable, LookupError, OSError)),
            wall_time=lambda: 1000.0 + asyncio.get_running_loop().time(),
            rng=random.Random(name),
            read_spec=lambda pack: decode(pack, JobSpec),
        )
        self.room = Coordination(ports, world.config)
        self.task = asyncio.get_running_loop().create_task(self.room.run())

    @property
    def directory(self) -> Directory:
        return self.room.directory


class World:
    """The whole pretended cluster."""

    def __init__(self, config: CoordinationConfig = CONFIG) -> None:
        self.config = config
        self.nodes: dict[str, Node] = {}
        self.groups: dict[str, SharedGroup] = {}
        self.stored: dict[str, dict[str, None]] = {}
        self.seen_alive: list[str] = []
        self.registers, self.blobs, self.tags = FakeRegisters(), FakeBlobs(self), FakeTags()
        self.calls: list[tuple[str, str, str]] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self.commits = 0
        self.gates: dict[str, asyncio.Event] = {}
        self.open_gate = asyncio.Event()
        self.misbehave: Callable[[str, Assignment], Outcome | None] | None = None
        self.effort: Callable[[], float] | None = None
        self.fault: Callable[[str], Fault | None] = lambda _method: None
        self.open_gate.set()

    async def start(self, *names: str, slots: int = 2) -> None:
        for name in names:
            self.nodes[name] = Node(self, name, slots)
            self.seen_alive.append(name)
        await asyncio.sleep(0.01)
        self.members_changed()

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.append(task)
        return task

    def is_alive(self, name: str) -> bool:
        return name in self.nodes and self.nodes[name].alive

    def members_changed(self) -> None:
        for node in self.nodes.values():
            for callback in node.members.callbacks:
                callback(None)

    def fetch(self, url: str, job: str) -> Mapping[str, int] | None:
        if url.startswith("raw://"):
            return Counter(url.removeprefix("raw://").split())
        if url.startswith("blob:"):
            return decode(self.blobs.data[url.removeprefix("blob:")], dict[str, int])
        node, path = url.removeprefix("segment://").split("/", 1)
        return self.nodes[node].execution.segments.get((job, path)) if self.is_alive(node) else None

    async def crash(self, name: str, *, elect: bool = True, notice: bool = True) -> None:
        """Kill a node at once; then, if wanted, let gossip notice and its groups elect."""
        node = self.nodes[name]
        node.alive = False
        node.crashed.set()
        node.task.cancel()
        await asyncio.wait([node.task])
        for group in list(self.groups.values()):
            group.members.pop(name, None)
            if group.leader == name:
                group.depose()
        if elect:
            self.elect()
        if notice:
            self.seen_alive.remove(name)
            self.members_changed()

    async def restart(self, name: str, slots: int = 2) -> None:
        """Bring a crashed node back with its store and without its segments."""
        self.nodes[name] = Node(self, name, slots)
        if name not in self.seen_alive:
            self.seen_alive.append(name)
        await asyncio.sleep(0.01)
        self.members_changed()

    def elect(self, rng: random.Random | None = None) -> None:
        for group in list(self.groups.values()):
            if group.leader is None:
                able = [node for node in group.voters if node in group.members]
                if able and group.has_quorum():
                    group.elect(rng.choice(able) if rng else able[0])

    def counts(self, status: JobStatus) -> dict[str, int]:
        total: Counter[str] = Counter()
        for urls in status.results:
            total.update(decode(self.blobs.data[urls[0].removeprefix("blob:")], dict[str, int]))
        return dict(total)

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not condition():  # noqa: ASYNC110 - conditions are about state, which rings no bell
                await asyncio.sleep(0.002)

    async def ended(self, node: str, name: str) -> JobStatus:
        async with asyncio.timeout(20):
            since = -1
            while True:
                status = await self.nodes[node].directory.wait(name, since=since, timeout_s=2.0)
                if status.status != "active":
                    return status
                since = status.version

    async def stop(self) -> None:
        running = [node.task for node in self.nodes.values() if not node.task.done()]
        for task in [*running, *self.tasks]:
            task.cancel()
        await asyncio.gather(*running, *self.tasks, return_exceptions=True)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    await world.stop()
    for node in world.nodes.values():
        if node.task.done() and not node.task.cancelled():
            node.task.result()


@pytest.fixture
def faults() -> tuple[Fault, Fault]:
    """What may happen to a call."""
    return Fault.REFUSED, Fault.ANSWER_LOST


@pytest.fixture
def pack() -> MakePack:
    """Makes the pretended pack of a job: its spec, encoded."""

    def make(
        name: str = "job@1",
        inputs: Sequence[str] = ("raw://a b a", "raw://b c"),
        stages: Sequence[Stage] = MAP_REDUCE,
        **options: Any,
    ) -> bytes:
        urls = tuple((url,) for url in inputs)
        return encode(JobSpec(name, "me@here", tuple(stages), urls, 2, "3.11", **options))

    return make


@pytest.fixture
def fails() -> MakeFailure:
    """Makes the outcome of a failed attempt."""

    def make(kind: ErrorKind = ErrorKind.USER, message: str = "ValueError: boom") -> Failed:
        return Failed(TaskError(kind, message, traceback="Traceback ..."))

    return make
