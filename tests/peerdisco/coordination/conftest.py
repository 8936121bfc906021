"""An in-memory cluster: real coordination rooms over pretended groups, storage, calls and workers.

Everything goes through the Protocols of `peerdisco.coordination.ports`. A node can be crashed at
any time: its tasks are cancelled, calls to it break, its segments are gone, and the groups that it
led get a new leader when the test says so.
"""

import asyncio
import random
import zlib
from collections import Counter
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from peerdisco.coordination import Coordination, CoordinationConfig, Failures, Ports
from peerdisco.coordination.scheduler import SchedulerConfig
from peerdisco.messages import (
    ErrorKind,
    Failed,
    Finished,
    Grouping,
    InputsLost,
    JobSpec,
    Output,
    Stage,
    TaskError,
    decode,
    encode,
)

CONFIG = CoordinationConfig(
    scheduler=SchedulerConfig(locality_delay_s=0.01, retry_elsewhere_s=0.2, retry_pause_s=0.01),
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


class NotLeader(Exception):
    pass


class Unavailable(Exception):
    pass


class SharedGroup:
    """What all members of a group have in common."""

    def __init__(self, world, name, voters):
        self.world, self.name, self.voters = world, name, tuple(voters)
        self.log, self.members = [], {}
        self.leader, self.term = None, 0

    def elect(self, node):
        self.leader, self.term = node, self.term + 1
        for member in list(self.members.values()):
            member.catch_up()
            for callback in member.callbacks:
                callback(None)

    def depose(self):
        self.leader = None
        for member in list(self.members.values()):
            for callback in member.callbacks:
                callback(None)

    def has_quorum(self):
        alive = [node for node in self.voters if node in self.members and self.world.is_alive(node)]
        return len(alive) * 2 > len(self.voters)


class FakeGroup:
    def __init__(self, shared, me, machine):
        self.shared, self.me, self.machine = shared, me, machine
        self.applied, self.callbacks = 0, []

    @property
    def leader(self):
        return self.shared.leader

    @property
    def term(self):
        return self.shared.term

    @property
    def voters(self):
        return self.shared.voters

    @property
    def is_leader(self):
        return self.shared.leader == self.me

    def subscribe(self, callback):
        self.callbacks.append(callback)

    def catch_up(self):
        while self.applied < len(self.shared.log):
            self.applied += 1
            self.machine.apply(self.applied, self.shared.log[self.applied - 1])

    async def _lead(self):
        await asyncio.sleep(0)
        if not self.is_leader or not self.shared.has_quorum():
            raise NotLeader(self.leader)

    async def propose(self, command, *, timeout):
        await self._lead()
        self.shared.log.append(command)
        self.shared.world.commits += 1
        for member in list(self.shared.members.values()):
            if self.shared.world.is_alive(member.me):
                member.catch_up()

    async def read_index(self, *, timeout):
        await self._lead()
        self.catch_up()

    async def change_voters(self, voters, *, timeout):
        await self._lead()
        self.shared.voters = tuple(voters)
        for node in voters:
            self.shared.members[node].catch_up()


class FakeGroups:
    def __init__(self, world, me):
        self.world, self.me = world, me

    async def create(self, name, voters, machine, *, campaign=False):
        await asyncio.sleep(0)
        shared = self.world.groups.setdefault(name, SharedGroup(self.world, name, voters))
        group = shared.members[self.me] = FakeGroup(shared, self.me, machine)
        self.world.stored.setdefault(self.me, {})[name] = None
        group.catch_up()
        if campaign and shared.leader is None:
            shared.elect(self.me)
        return group

    def open(self, name, machine):
        shared = self.world.groups[name]
        group = shared.members[self.me] = FakeGroup(shared, self.me, machine)
        group.catch_up()
        return group

    def names(self):
        return list(self.world.stored.get(self.me, {}))

    async def dissolve(self, name):
        await asyncio.sleep(0)
        self.world.stored.get(self.me, {}).pop(name, None)
        self.world.groups[name].members.pop(self.me, None)


@dataclass(frozen=True)
class Versioned:
    version: int
    value: bytes


class FakeRegisters:
    def __init__(self):
        self.values = {}

    async def create(self, key, value):
        await asyncio.sleep(0)
        return self.values.setdefault(key, Versioned(1, value)).value

    async def read(self, key):
        await asyncio.sleep(0)
        return self.values.get(key)

    async def compare_and_set(self, key, expected_version, value):
        await asyncio.sleep(0)
        if self.values[key].version != expected_version:
            return False
        self.values[key] = Versioned(expected_version + 1, value)
        return True


class FakeBlobs:
    def __init__(self, world):
        self.world, self.data = world, {}

    async def put_bytes(self, data):
        await asyncio.sleep(0)
        name = f"b3-{zlib.crc32(data):08x}{len(data):056x}"
        self.data[name] = data
        return SimpleNamespace(id=name)

    async def read(self, blob_id, *, limit_bytes):
        await asyncio.sleep(0)
        return self.data[blob_id]

    def home(self, blob_id):
        return tuple(self.world.nodes)[:3]


class FakeTags:
    def __init__(self):
        self.urls, self.fail = {}, 0

    async def get(self, name):
        await asyncio.sleep(0)
        if self.fail:
            self.fail -= 1
            raise Unavailable(name)
        return SimpleNamespace(urls=self.urls[name])

    async def replace(self, name, urls):
        await asyncio.sleep(0)
        if self.fail:
            self.fail -= 1
            raise Unavailable(name)
        self.urls[name] = tuple(tuple(url) for url in urls)

    async def delete(self, name):
        await asyncio.sleep(0)
        del self.urls[name]

    async def list(self, prefix, *, limit=1000):
        await asyncio.sleep(0)
        return SimpleNamespace(names=sorted(n for n in self.urls if n.startswith(prefix))[:limit])


class FakeRpc:
    def __init__(self, world, me):
        self.world, self.me, self.handlers = world, me, {}

    def serve(self, method, handler):
        self.handlers[method] = handler

    async def call(self, peer, method, body, *, timeout):
        self.world.calls.append((self.me, peer, method))
        await asyncio.sleep(0)
        node = self.world.nodes.get(peer)
        if node is None or not node.alive or method not in node.rpc.handlers:
            raise ConnectionRefusedError(peer)
        handler = self.world.spawn(node.rpc.handlers[method](self.me, body))
        crash = self.world.spawn(node.crashed.wait())
        try:
            async with asyncio.timeout(timeout):
                await asyncio.wait([handler, crash], return_when=asyncio.FIRST_COMPLETED)
            if not handler.done() or not node.alive:
                handler.cancel()
                raise ConnectionResetError(peer)
            return handler.result()
        finally:
            crash.cancel()


class FakeMembers:
    def __init__(self, world):
        self.world, self.callbacks = world, []

    def alive(self):
        return sorted(self.world.seen_alive)

    def subscribe(self, callback):
        self.callbacks.append(callback)


class FakeExecution:
    """Counts words: stage 0 splits texts into two labels, later stages join what they read."""

    def __init__(self, world, me, slots=2):
        self.world, self.me, self.slots = world, me, slots
        self.segments, self.forgotten, self.ran = {}, [], []

    async def jobs(self):
        return list(dict.fromkeys(job for job, _ in self.segments))

    async def forget(self, job):
        self.forgotten.append(job)
        self.segments = {key: data for key, data in self.segments.items() if key[0] != job}

    async def run(self, assignment):
        self.ran.append(assignment)
        self.world.started.set()
        await self.world.gates.get(assignment.stage_name, self.world.open_gate).wait()
        if self.world.misbehave is not None:
            outcome = self.world.misbehave(self.me, assignment)
            if outcome is not None:
                return outcome
        counts, lost = Counter(), []
        for item in assignment.inputs:
            found = self.world.fetch(item.urls[0], assignment.job)
            if found is None:
                lost.append(item.producer)
            else:
                counts.update(found)
        if lost:
            return InputsLost(tuple(lost))
        return await self._publish(assignment, counts)

    async def _publish(self, assignment, counts):
        if assignment.final:
            blob = await self.world.blobs.put_bytes(encode(dict(sorted(counts.items()))))
            return Finished((Output(assignment.label, f"blob:{blob.id}", 1, len(counts)),), 1, 1)
        outputs = []
        for label in range(2):
            part = {word: n for word, n in counts.items() if zlib.crc32(word.encode()) % 2 == label}
            path = f"{assignment.job}/{assignment.attempt}/{label}"
            self.segments[assignment.job, path] = part
            outputs.append(Output(label, f"segment://{self.me}/{path}", 10, len(part)))
        return Finished(tuple(outputs), sum(counts.values()), len(counts))


class Node:
    def __init__(self, world, name, slots):
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
    def directory(self):
        return self.room.directory


class World:
    """The whole pretended cluster."""

    def __init__(self, config=CONFIG):
        self.config = config
        self.nodes, self.groups, self.stored, self.seen_alive = {}, {}, {}, []
        self.registers, self.blobs, self.tags = FakeRegisters(), FakeBlobs(self), FakeTags()
        self.calls, self.tasks, self.commits = [], [], 0
        self.gates, self.open_gate, self.misbehave = {}, asyncio.Event(), None
        self.started = asyncio.Event()
        self.open_gate.set()

    async def start(self, *names, slots=2):
        for name in names:
            self.nodes[name] = Node(self, name, slots)
            self.seen_alive.append(name)
        await asyncio.sleep(0.01)
        self.members_changed()

    def spawn(self, work):
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.append(task)
        return task

    def is_alive(self, name):
        return name in self.nodes and self.nodes[name].alive

    def members_changed(self):
        for node in self.nodes.values():
            for callback in node.members.callbacks:
                callback(None)

    def fetch(self, url, job):
        if url.startswith("raw://"):
            return Counter(url.removeprefix("raw://").split())
        if url.startswith("blob:"):
            return decode(self.blobs.data[url.removeprefix("blob:")], dict[str, int])
        node, path = url.removeprefix("segment://").split("/", 1)
        return self.nodes[node].execution.segments.get((job, path)) if self.is_alive(node) else None

    async def crash(self, name, *, elect=True, notice=True):
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

    async def restart(self, name, slots=2):
        """Bring a crashed node back with its store and without its segments."""
        self.nodes[name] = Node(self, name, slots)
        if name not in self.seen_alive:
            self.seen_alive.append(name)
        await asyncio.sleep(0.01)
        self.members_changed()

    def elect(self):
        for group in list(self.groups.values()):
            if group.leader is None:
                able = [node for node in group.voters if node in group.members]
                if able and group.has_quorum():
                    group.elect(able[0])

    def counts(self, status):
        total = Counter()
        for urls in status.results:
            total.update(decode(self.blobs.data[urls[0].removeprefix("blob:")], dict[str, int]))
        return dict(total)

    async def until(self, condition):
        async with asyncio.timeout(20):
            while not condition():  # noqa: ASYNC110 - conditions are about state, which rings no bell
                await asyncio.sleep(0.002)

    async def ended(self, node, name):
        async with asyncio.timeout(20):
            since = -1
            while True:
                status = await self.nodes[node].directory.wait(name, since=since, timeout_s=2.0)
                if status.status != "active":
                    return status
                since = status.version

    async def stop(self):
        running = [node.task for node in self.nodes.values() if not node.task.done()]
        for task in [*running, *self.tasks]:
            task.cancel()
        await asyncio.gather(*running, *self.tasks, return_exceptions=True)


@pytest.fixture
async def world():
    world = World()
    yield world
    await world.stop()
    for node in world.nodes.values():
        if node.task.done() and not node.task.cancelled() and node.task.exception():
            raise node.task.exception()


@pytest.fixture
def pack():
    """Makes the pretended pack of a job: its spec, encoded."""

    def make(name="job@1", inputs=("raw://a b a", "raw://b c"), stages=MAP_REDUCE, **options):
        urls = tuple((url,) for url in inputs)
        return encode(JobSpec(name, "me@here", tuple(stages), urls, 2, "3.11", **options))

    return make


@pytest.fixture
def fails():
    """Makes the outcome of a failed attempt."""

    def make(kind=ErrorKind.USER, message="ValueError: boom"):
        return Failed(TaskError(kind, message, traceback="Traceback ..."))

    return make
