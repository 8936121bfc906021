"""Nodes without a network: a real disk each, workers in this process, blobs in memory."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from peerdisco import jobpack
from peerdisco.dataflow import read_records
from peerdisco.execution import ExecutionConfig, Runner
from peerdisco.host.disk import HostDisk
from peerdisco.messages import Assignment, Finished, Grouping, Input, JobSpec, Outcome, Stage
from peerdisco.worker.local_files import LocalFiles
from peerdisco.worker.service import Service

STAGES = (Stage("map", Grouping.SPLIT), Stage("reduce", Grouping.GROUP_LABEL))


@dataclass(frozen=True)
class StoredBlob:
    id: str


class MemoryBlobs:
    """Blobs that all nodes see; none has a local copy unless a test says so."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}
        self.paths: dict[str, str] = {}
        self.owners: dict[str, str] = {}
        self.gets = 0

    def add(self, data: bytes) -> str:
        blob_id = f"b3-{hashlib.sha256(data).hexdigest()}"
        self.contents[blob_id] = data
        return blob_id

    async def put(self, source: AsyncIterator[bytes], /, *, owner: str) -> StoredBlob:
        blob_id = self.add(b"".join([piece async for piece in source]))
        self.owners[blob_id] = owner
        return StoredBlob(blob_id)

    @asynccontextmanager
    async def get(self, blob_id: str, /) -> AsyncIterator[AsyncIterator[bytes]]:
        self.gets += 1
        if blob_id not in self.contents:
            raise LookupError(f"no node has {blob_id}")
        yield _pieces(self.contents[blob_id], 100)

    async def local_path(self, blob_id: str, /) -> str | None:
        return self.paths.get(blob_id)


async def _pieces(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


class Network:
    """Peer streams that can be cut after some bytes, or be refused."""

    def __init__(self) -> None:
        self.handlers: dict[tuple[str, str], Callable[[str, bytes], AsyncIterator[bytes]]] = {}
        self.cuts: list[int] = []
        self.refused: set[str] = set()
        self.fetches = 0

    def of(self, me: str) -> Peer:
        return Peer(self, me)


class Peer:
    """One node's `Rpc`."""

    def __init__(self, network: Network, me: str) -> None:
        self._network = network
        self._me = me

    @asynccontextmanager
    async def fetch(
        self, peer: str, method: str, body: bytes, *, timeout: float
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        self._network.fetches += 1
        if peer in self._network.refused or (peer, method) not in self._network.handlers:
            raise ConnectionRefusedError(f"{peer} refused")
        pieces = self._network.handlers[peer, method](self._me, body)
        yield self._cut(pieces, self._network.cuts.pop(0) if self._network.cuts else None)

    async def _cut(self, pieces: AsyncIterator[bytes], after: int | None) -> AsyncIterator[bytes]:
        """Seven bytes at a time: the network keeps no borders."""
        sent = 0
        async for piece in pieces:
            for start in range(0, len(piece), 7):
                if after is not None and sent >= after:
                    raise ConnectionResetError("cut")
                part = piece[start : start + 7]
                sent += len(part)
                yield part

    def serve_fetch(
        self, method: str, handler: Callable[[str, bytes], AsyncIterator[bytes]]
    ) -> None:
        self._network.handlers[self._me, method] = handler


class LocalProcess:
    """A worker in this process; a test may make it die at the next frame."""

    def __init__(self, service: Service, pid: int) -> None:
        self._service = service
        self._frames: Iterator[bytes] = iter(())
        self._ended = asyncio.Event()
        self.status = 0
        self.pid = pid
        self.dies = False
        self.stalls = False
        self.busy = False

    async def send(self, frame: bytes) -> None:
        if self._ended.is_set():
            raise ConnectionError("ended")
        self.busy = True
        self._frames = self._service.handle(frame)

    async def receive(self) -> bytes | None:
        await asyncio.sleep(0)
        if self.stalls:
            await self._ended.wait()
        if self.dies:
            self.kill()
        return None if self._ended.is_set() else next(self._frames)

    def kill(self) -> None:
        if not self._ended.is_set():
            self.status = -9
            self._ended.set()

    @property
    def alive(self) -> bool:
        return not self._ended.is_set()

    async def wait(self) -> int:
        await self._ended.wait()
        return self.status

    def log_tail(self) -> str:
        return "last words\n"


class LocalProcesses:
    """Starts workers in this process."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.started: list[LocalProcess] = []
        self.broken = False

    async def start_worker(self) -> LocalProcess:
        if self.broken:
            raise OSError("no more processes")
        process = LocalProcess(Service(LocalFiles(self._root)), 1000 + len(self.started))
        self.started.append(process)
        return process

    @property
    def alive(self) -> int:
        return sum(process.alive for process in self.started)


class Node:
    """A runner and what it stands on."""

    def __init__(self, name: str, root: Path, world: World, config: ExecutionConfig) -> None:
        root.mkdir()
        self.root = root
        self.id = name
        self.disk = HostDisk(root)
        self.processes = LocalProcesses(root)
        self.rpc = world.network.of(name)
        self.runner = Runner(
            name, f"host-{name}", self.disk, self.processes, world.blobs, self.rpc, config
        )

    def files(self) -> list[str]:
        """All files below its data directory, apart from logs."""
        return sorted(
            str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.is_file()
        )


class World:
    """Nodes, blobs, and a job to run on them."""

    def __init__(self, root: Path, stack: AsyncExitStack) -> None:
        self._root = root
        self._stack = stack
        self._attempts = 0
        self.blobs = MemoryBlobs()
        self.network = Network()

    async def start(self, name: str, **settings: Any) -> Node:
        settings = {"fetch_pause_s": 0.001, "fetch_timeout_s": 5.0} | settings
        node = Node(name, self._root / name, self, ExecutionConfig(**settings))
        self._stack.callback(node.disk.close)
        await self._stack.enter_async_context(serving(node.runner.serve()))
        return node

    def pack(self, functions: Mapping[str, Any]) -> str:
        spec = JobSpec("job@1", "ada@home", STAGES, (), 1, jobpack.PYTHON)
        return self.blobs.add(jobpack.build(spec, functions))

    def assignment(
        self,
        pack: str,
        stage: str,
        inputs: list[Input],
        *,
        partitions: int = 1,
        label: int = 0,
        final: bool = False,
    ) -> Assignment:
        self._attempts += 1
        return Assignment(
            "job@1",
            pack,
            int(stage == "reduce"),
            stage,
            self._attempts,
            self._attempts,
            label,
            tuple(inputs),
            partitions,
            final,
        )

    def results(self, outcome: Outcome) -> list[tuple[Any, Any]]:
        """The records in the final blobs of an outcome."""
        assert isinstance(outcome, Finished), outcome
        import io

        blobs = [
            self.blobs.contents[output.url.removeprefix("blob:")] for output in outcome.outputs
        ]
        return [record for blob in blobs for record in read_records(io.BytesIO(blob))]


@asynccontextmanager
async def serving(service: Any) -> AsyncIterator[None]:
    """Run a service while the block runs."""
    task = asyncio.ensure_future(service)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        yield World(tmp_path, stack)


@pytest.fixture
def until() -> Callable[[Callable[[], object]], Awaitable[None]]:
    """Wait for what sends no event: files that disappear, processes that start."""

    async def wait(condition: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not condition():  # noqa: ASYNC110 - see above
                await asyncio.sleep(0.001)

    return wait
