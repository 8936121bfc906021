"""A cluster of storages in one process: virtual time, and a network, disks and stores that fail.

Nothing here waits in real time, and everything random comes from one seed. A crashed node loses
what it had not synced; a partitioned one hears nothing until the caller's patience ends.
"""

from __future__ import annotations

import asyncio
import base64
import errno
import hashlib
import random
import selectors
from bisect import bisect_left
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest

from peerdisco_dht import (
    AddNodes,
    Command,
    FinishHandover,
    Layout,
    LayoutMachine,
    Storage,
    StorageConfig,
    StorageNode,
    encode,
    keeper,
)
from peerdisco_dht.placement import Candidate, Table, place

T = TypeVar("T")
Handler = Callable[..., Any]
CONFIG = StorageConfig(
    call_timeout_s=0.5,
    transfer_timeout_s=1.0,
    operation_timeout_s=4.0,
    retry_s=0.2,
    repair_interval_s=60.0,
)


def node_id(name: str) -> str:
    return base64.b32encode(hashlib.sha256(name.encode()).digest()[:20]).decode().lower()


class _VirtualSelector(selectors.SelectSelector):
    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "everybody waits for ever"
            self.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose clock jumps to the next timer instead of waiting for it."""

    def __init__(self) -> None:
        self._virtual = _VirtualSelector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now


class MemoryStore:
    """A store with group commit; `crash` keeps what was committed."""

    def __init__(self, rows: dict[bytes, bytes], rng: random.Random) -> None:
        self.rows = rows
        self.rng = rng
        self.crashed = False
        self.commits = 0
        self._sorted: list[bytes] | None = None
        self._waiting: list[tuple[list[Any], asyncio.Future[None]]] = []
        self._flusher: asyncio.Task[None] | None = None

    def get(self, key: bytes) -> bytes | None:
        return self.rows.get(key)

    def scan(
        self, start: bytes, end: bytes, *, limit: int = 1000, reverse: bool = False
    ) -> list[tuple[bytes, bytes]]:
        if self._sorted is None:
            self._sorted = sorted(self.rows)
        keys = self._sorted[bisect_left(self._sorted, start) : bisect_left(self._sorted, end)]
        keys = keys[::-1] if reverse else keys
        return [(key, self.rows[key]) for key in keys[:limit]]

    async def commit(self, writes: Sequence[tuple[bytes, bytes | None]]) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((list(writes), future))
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.get_running_loop().create_task(self._flush())
        await asyncio.shield(future)

    async def _flush(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            await asyncio.sleep(self.rng.uniform(0.0005, 0.002))
            self.commits += 1
            for writes, future in batch:
                if self.crashed:
                    future.set_exception(OSError("crashed"))
                    future.exception()
                    continue
                for key, value in writes:
                    if value is None or key not in self.rows:
                        self._sorted = None
                    if value is None:
                        self.rows.pop(key, None)
                    else:
                        self.rows[key] = value
                if not future.done():
                    future.set_result(None)


@dataclass(frozen=True)
class MemorySpace:
    free_bytes: int
    total_bytes: int


class MemoryDisk:
    """Files; what was not synced is gone after a crash."""

    def __init__(self, synced: dict[str, bytes]) -> None:
        self.synced = synced
        self.files = {path: bytearray(data) for path, data in synced.items()}
        self.total_bytes = 1 << 40
        self.unreadable: dict[str, int] = {}
        """errno of every read of a file, until the file is replaced."""
        self.crashed = False

    def _check(self) -> None:
        if self.crashed:
            raise OSError("crashed")

    async def read(self, path: str, offset: int = 0, size: int | None = None) -> bytes:
        self._check()
        await asyncio.sleep(0)
        if path in self.unreadable:
            raise OSError(self.unreadable[path], "cannot be read", path)
        if path not in self.files:
            raise FileNotFoundError(path)
        end = None if size is None else offset + size
        return bytes(self.files[path][offset:end])

    async def create(self, path: str) -> _MemoryWriter:
        self._check()
        self.files[path] = bytearray()
        self.synced.pop(path, None)
        return _MemoryWriter(self, path)

    async def rename(self, source: str, target: str) -> None:
        self._check()
        await asyncio.sleep(0.001)
        self._check()
        self.files[target] = self.files.pop(source)
        self.unreadable.pop(target, None)
        self.synced[target] = self.synced.pop(source, b"")

    async def remove(self, path: str) -> None:
        self._check()
        self.files.pop(path, None)
        self.synced.pop(path, None)

    async def remove_tree(self, path: str) -> None:
        self._check()
        for name in [name for name in self.files if name.startswith(path + "/")]:
            await self.remove(name)

    async def list(self, directory: str) -> list[str]:
        self._check()
        parts = [path.rpartition("/") for path in self.files]
        return sorted(name for parent, _, name in parts if parent == directory)

    async def space(self) -> MemorySpace:
        used = sum(map(len, self.files.values()))
        return MemorySpace(max(0, self.total_bytes - used), self.total_bytes)

    async def size(self, path: str) -> int | None:
        return len(self.files[path]) if path in self.files else None


class _MemoryWriter:
    def __init__(self, disk: MemoryDisk, path: str) -> None:
        self._disk = disk
        self._path = path

    async def write(self, chunks: Sequence[bytes]) -> None:
        self._disk._check()
        await asyncio.sleep(0)
        if (await self._disk.space()).free_bytes < sum(map(len, chunks)):
            raise OSError(errno.ENOSPC, "no space left")
        for chunk in chunks:
            self._disk.files[self._path] += chunk

    async def sync(self) -> None:
        await asyncio.sleep(0.002)
        self._disk._check()
        self._disk.synced[self._path] = bytes(self._disk.files[self._path])

    async def close(self) -> None:
        pass


class Network:
    """Who reaches whom, how fast, and what gets lost."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.loss = 0.0
        self.island: dict[str, int] = {}
        self.up: dict[str, Node] = {}
        self.slow: dict[str, float] = {}
        self.tamper: Callable[[str, str, bytes], bytes] = lambda _peer, _method, piece: piece
        self.calls: dict[str, int] = {}
        self.pushes: list[tuple[str, str]] = []
        """Who has streamed to whom."""

    def reaches(self, a: str, b: str) -> bool:
        return self.island.get(a, 0) == self.island.get(b, 0)

    async def travel(self, sender: str, receiver: str, timeout: float) -> Node:
        """One way; returns the receiver as it is on arrival."""
        if not self.reaches(sender, receiver):
            await asyncio.sleep(timeout)
            raise TimeoutError(f"{receiver} is silent")
        await asyncio.sleep(self.rng.uniform(0.0002, 0.0006) + self.slow.get(receiver, 0.0))
        if receiver not in self.up:
            raise ConnectionRefusedError(receiver)
        if self.loss and self.rng.random() < self.loss:
            raise ConnectionResetError(receiver)
        return self.up[receiver]


class MemoryRpc:
    """The Rpc of one incarnation of a node."""

    def __init__(self, me: str, network: Network) -> None:
        self.me = me
        self.network = network
        self.handlers: dict[str, Handler] = {}
        self.serve = self.serve_fetch = self.serve_push = self._serve

    def _serve(self, method: str, handler: Handler) -> None:
        self.handlers[method] = handler

    async def _arrive(self, peer: str, method: str, timeout: float) -> Node:
        self.network.calls[method] = self.network.calls.get(method, 0) + 1
        myself = self.network.up.get(self.me)
        if myself is None or myself.rpc is not self:
            raise ConnectionRefusedError("this incarnation has crashed")
        if peer == self.me:
            return myself
        return await self.network.travel(self.me, peer, timeout)

    async def _return(self, node: Node, timeout: float) -> None:
        if node.id == self.me:
            return
        if self.network.up.get(node.id) is not node:
            raise ConnectionResetError(f"{node.id} crashed")
        try:
            await self.network.travel(node.id, self.me, timeout)
        except ConnectionError as error:
            raise ConnectionResetError("the answer was lost") from error

    async def call(self, peer: str, method: str, body: bytes, *, timeout: float) -> bytes:
        node = await self._arrive(peer, method, timeout)
        async with asyncio.timeout(timeout):
            answer: bytes = await _shielded(node, node.rpc.handlers[method](self.me, body))
        await self._return(node, timeout)
        return answer

    @asynccontextmanager
    async def fetch(
        self, peer: str, method: str, body: bytes, *, timeout: float
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        node = await self._arrive(peer, method, timeout)

        async def pieces() -> AsyncIterator[bytes]:
            stream = node.rpc.handlers[method](self.me, body)
            try:
                async for piece in stream:
                    await self._return(node, timeout)
                    yield self.network.tamper(node.id, method, piece)
            except OSError:
                raise
            except Exception as error:
                raise ConnectionError("the stream was aborted") from error
            finally:
                await stream.aclose()

        iterator = pieces()
        try:
            yield iterator
        finally:
            await iterator.aclose()  # type: ignore[attr-defined]  # it is an async generator

    async def push(
        self,
        peer: str,
        method: str,
        body: bytes,
        source: AsyncIterator[bytes],
        *,
        timeout: float,
        size: int | None = None,
    ) -> bytes:
        node = await self._arrive(peer, method, timeout)
        self.network.pushes.append((self.me, peer))

        async def pieces() -> AsyncIterator[bytes]:
            async for piece in source:
                await self._return(node, timeout)
                yield self.network.tamper(node.id, method, piece)

        answer: bytes = await node.rpc.handlers[method](self.me, body, pieces())
        await self._return(node, timeout)
        return answer


async def _shielded(node: Node, work: Coroutine[Any, Any, T]) -> T:
    """A handler runs to its end on its own node, whatever becomes of the caller."""
    task = asyncio.get_running_loop().create_task(work)
    node.handling.append(task)
    try:
        return await asyncio.shield(task)
    except OSError as error:
        raise ConnectionError(f"the handler failed: {error}") from error


class Node:
    """One incarnation of a node."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster = cluster
        self.name = name
        self.id = node_id(name)
        self.rpc = MemoryRpc(self.id, cluster.network)
        durable = cluster.durable.setdefault(self.id, ({}, {}, {}))
        self.log = MemoryStore(durable[0], cluster.rng)
        self.index = MemoryStore(durable[1], cluster.rng)
        self.disk = MemoryDisk(durable[2])
        self.handling: deque[asyncio.Task[Any]] = deque(maxlen=200)
        self.known_dead: list[str] | None = None
        self.storage = Storage(
            self.id,
            log=self.log,
            index=self.index,
            disk=self.disk,
            rpc=self.rpc,
            datagrams=None,
            members=self,
            rng=random.Random(f"{cluster.seed}/{name}"),
            entropy=cluster.rng.randbytes,
            config=cluster.config,
            wall_time=lambda: cluster.wall_time(),
            owner_of=lambda key, value: key.removeprefix("alive/") if value == b"yes" else None,
        )
        self.task: asyncio.Task[None] | None = None

    def alive(self) -> list[str]:
        """What a perfect failure detector says, or the last thing that a slow one said."""
        if self.known_dead is not None:
            return sorted(i for i in self.cluster.ids if i not in self.known_dead)
        network = self.cluster.network
        return sorted(i for i in network.up if network.reaches(self.id, i))

    def address_of(self, node: str) -> tuple[str, int] | None:
        return None


class Cluster:
    """Storages, and the layout group that a real cluster would have beside them."""

    def __init__(self, seed: int, config: StorageConfig) -> None:
        self.seed = seed
        self.config = config
        self.rng = random.Random(seed)
        self.network = Network(random.Random(f"{seed}/network"))
        self.durable: dict[
            str, tuple[dict[bytes, bytes], dict[bytes, bytes], dict[str, bytes]]
        ] = {}
        self.nodes: dict[str, Node] = {}
        self.machine = LayoutMachine(lambda layout: None)
        self.wall_time: Callable[[], float] = lambda: 1.5e9

    @property
    def ids(self) -> list[str]:
        return [node.id for node in self.nodes.values()]

    @property
    def layout(self) -> Layout:
        return self.machine.layout

    def __getitem__(self, number: int) -> Node:
        return self.nodes[f"n{number}"]

    def by_id(self, node: str) -> Node:
        return next(each for each in self.nodes.values() if each.id == node)

    def start(self, name: str) -> Node:
        """Start a node, or start it again with what survived its crash."""
        node = Node(self, name)
        self.nodes[name] = node
        self.network.up[node.id] = node
        node.task = asyncio.get_running_loop().create_task(node.storage.run())
        return node

    async def crash(self, name: str) -> None:
        """End a node at once; unsynced bytes are lost."""
        node = self.nodes[name]
        self.network.up.pop(node.id, None)
        node.log.crashed = node.index.crashed = node.disk.crashed = True
        assert node.task is not None
        for task in [node.task, *node.handling]:
            task.cancel()
        await asyncio.gather(node.task, *node.handling, return_exceptions=True)

    def change(self, command: Command) -> None:
        """Change the layout and tell everybody who can be reached."""
        result = self.machine.apply(0, encode(command))
        assert not result.refused, result.refused
        for node in list(self.network.up.values()):
            if not self.network.island.get(node.id, 0):
                node.storage.adopt(self.layout)

    def add(self, *numbers: int, zone: Callable[[int], str] = lambda number: "") -> None:
        entries = tuple(StorageNode(node_id(f"n{i}"), zone(i)) for i in numbers)
        self.change(AddNodes(entries))

    async def hand_over(self) -> None:
        """Wait until the placement is complete, as the layout's leader does."""
        async with asyncio.timeout(120):
            while self.layout.previous:
                await asyncio.sleep(0.1)
                up = self.network.up.values()
                leader = next(node for node in up if not self.network.island.get(node.id))
                leader.storage.adopt(self.layout)
                if await leader.storage.handed_over(self.layout.since):
                    self.change(FinishHandover(self.layout.since))

    async def eventually(self, holds: Callable[[], bool], seconds: float = 60.0) -> None:
        for _ in range(int(10 * seconds)):
            if holds():
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"not within {seconds} s")

    def replicas(self, blob: str) -> list[str]:
        """Nodes that are up and hold the blob."""
        return [n.id for n in self.network.up.values() if n.storage._shelf.holds(blob)]


Story = Callable[[Cluster], Awaitable[None]]
World = Callable[..., None]


@pytest.fixture(scope="session")
def shared_tables() -> Iterator[None]:
    """All nodes of all clusters compute the same table for the same nodes; once will do."""
    with pytest.MonkeyPatch.context() as patch:
        computed: dict[object, Table] = {}

        def placed(candidates: Sequence[Candidate], replicas: int) -> Table:
            key = (tuple(candidates), replicas)
            if key not in computed:
                computed[key] = place(candidates, replicas)
            return computed[key]

        patch.setattr(keeper, "place", placed)
        yield


@pytest.fixture
def world(shared_tables: None) -> World:
    """Runs a story in a cluster of so many nodes whose layout is complete."""

    def run(
        story: Story,
        nodes: int = 3,
        *,
        seed: int = 1,
        config: StorageConfig = CONFIG,
        zone: Callable[[int], str] = lambda number: "",
        limit_s: float = 3600.0,
    ) -> None:
        async def main() -> None:
            cluster = Cluster(seed, config)
            for number in range(nodes):
                cluster.start(f"n{number}")
            if nodes:
                cluster.add(*range(nodes), zone=zone)
            for node in cluster.nodes.values():
                await node.storage.wait_started()
            async with asyncio.timeout(limit_s):
                await story(cluster)
            for name, node in cluster.nodes.items():
                if node.id in cluster.network.up:
                    assert node.task is not None
                    assert not node.task.done(), f"{name} ended: {node.task}"
                    await cluster.crash(name)

        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(main())

    return run


@pytest.fixture
def store() -> Callable[[], MemoryStore]:
    """Makes empty stores."""
    return lambda: MemoryStore({}, random.Random(1))
