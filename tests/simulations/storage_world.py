"""Storages on simulated machines, without gossip, elections and HTTP: quick enough for sweeps.

Each machine has the simulator's disk and stores, which lose or tear at a power cut what was not
synced. Calls between nodes are tasks on the other node's loop; whoever is dead never answers.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from peerdisco_dht import Layout, Storage, StorageConfig, StorageError, StorageNode
from peerdisco_dht.blobs.identity import ChunkList
from peerdisco_dht.blobs.messages import Where
from peerdisco_dht.blobs.shelf import SPOOL, Shelf
from peerdisco_sim.disk import SimDisk
from peerdisco_sim.machine import disk_of, open_store
from peerdisco_sim.node import SimNode
from peerdisco_sim.world import World

LATENCY_S = 0.0005
CONFIG = StorageConfig(
    call_timeout_s=0.3,
    transfer_timeout_s=0.5,
    operation_timeout_s=3.0,
    retry_s=0.1,
    repair_interval_s=5.0,
    collection_interval_s=1e9,
)


def node_id(name: str) -> str:
    return base64.b32encode(hashlib.sha256(name.encode()).digest()[:20]).decode().lower()


class Rpc:
    """The Rpc of one process."""

    def __init__(self, storages: Storages, sim: SimNode) -> None:
        self._storages = storages
        self._sim = sim
        self.handlers: dict[str, Callable[..., Any]] = {}
        self.serve = self.serve_fetch = self.serve_push = self._serve

    def _serve(self, method: str, handler: Callable[..., Any]) -> None:
        self.handlers[method] = handler

    async def call(self, peer: str, method: str, body: bytes, *, timeout: float) -> bytes:
        me = node_id(self._sim.name)
        answer: bytes = await self._ask(peer, timeout, lambda rpc: rpc.handlers[method](me, body))
        return answer

    @asynccontextmanager
    async def fetch(
        self, peer: str, method: str, body: bytes, *, timeout: float
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        me = node_id(self._sim.name)

        async def collect(rpc: Rpc) -> list[bytes]:
            return [piece async for piece in rpc.handlers[method](me, body)]

        yield _stream(await self._ask(peer, timeout, collect))

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
        del size
        me = node_id(self._sim.name)
        pieces = [piece async for piece in source]
        answer: bytes = await self._ask(
            peer, timeout, lambda rpc: rpc.handlers[method](me, body, _stream(pieces))
        )
        return answer

    async def _ask(self, peer: str, timeout: float, work: Callable[[Rpc], Awaitable[Any]]) -> Any:
        """Do some work on a peer's loop, and return or raise here what became of it."""

        async def run(rpc: Rpc) -> Any:
            return await work(rpc)

        target = self._storages.by_id[peer]
        if target is self._sim:
            return await run(self)
        loop = asyncio.get_running_loop()
        await asyncio.sleep(LATENCY_S)
        if not target.is_running or target.name not in self._storages.rpcs:
            raise ConnectionRefusedError(target.name)
        future: asyncio.Future[Any] = loop.create_future()
        task = target.spawn(run(self._storages.rpcs[target.name]))

        def answer() -> None:
            if not future.done():
                error = task.exception() if not task.cancelled() else ConnectionResetError(peer)
                if isinstance(error, OSError | StorageError):
                    future.set_exception(ConnectionResetError(str(error)))
                elif error is not None:
                    future.set_exception(error)
                else:
                    future.set_result(task.result())

        origin, boot = self._sim, self._sim.boot_number

        def finished(_: object) -> None:
            if origin.is_running and origin.boot_number == boot:
                loop.call_soon(answer)

        task.add_done_callback(finished)
        async with asyncio.timeout(timeout):
            return await future


async def _stream(pieces: list[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


class _Members:
    def __init__(self, storages: Storages) -> None:
        self._storages = storages

    def alive(self) -> list[str]:
        return sorted(i for i, sim in self._storages.by_id.items() if sim.is_running)

    def address_of(self, node: str) -> tuple[str, int] | None:
        del node
        return None


class Storages:
    """A cluster of storages under one layout."""

    def __init__(self, world: World, count: int = 3, config: StorageConfig = CONFIG) -> None:
        self.world = world
        self.config = config
        self.names = [f"n{number}" for number in range(count)]
        self.by_id: dict[str, SimNode] = {}
        self.rpcs: dict[str, Rpc] = {}
        self.storages: dict[str, Storage] = {}
        entries = sorted((StorageNode(node_id(name)) for name in self.names), key=lambda n: n.id)
        self.layout = Layout(1, tuple(entries), (), 3, 1, ())
        for name in self.names:
            self.by_id[node_id(name)] = SimNode(world, name)
        for name in self.names:
            self.boot(name)
        world.run_for(0.1)

    def sim(self, name: str) -> SimNode:
        return self.world.nodes[name]

    def disk(self, name: str) -> SimDisk:
        return disk_of(self.sim(name))

    def boot(self, name: str) -> None:
        sim = self.sim(name)
        sim.kill()
        sim.boot(lambda: self._main(sim))

    async def _main(self, sim: SimNode) -> None:
        rpc = Rpc(self, sim)
        storage = Storage(
            node_id(sim.name),
            log=open_store(sim, "log"),
            index=open_store(sim, "index"),
            disk=disk_of(sim),
            rpc=rpc,
            datagrams=None,
            members=_Members(self),
            rng=sim.stream("storage"),
            entropy=sim.stream("entropy").randbytes,
            config=self.config,
            wall_time=sim.wall_time,
        )
        storage.adopt(self.layout)
        self.rpcs[sim.name], self.storages[sim.name] = rpc, storage
        await storage.run()

    def run(self, name: str, work: Coroutine[Any, Any, Any], seconds: float = 60.0) -> Any:
        """Run something on a node until it is done."""
        return self.world.run_until_done(self.sim(name).spawn(work), seconds)

    def cut_everything(self) -> None:
        """Switch all machines off and on again."""
        for name in self.names:
            self.sim(name).cut_power()
        for name in self.names:
            self.disk(name).before_step = None
            self.boot(name)
        self.world.run_for(0.5)

    def check_shelves(self) -> None:
        """Whatever a node lists is whole, and nothing half received lies about."""
        for name in self.names:
            shelf = self.storages[name]._shelf
            self.run(name, _check_shelf(shelf))
            assert not self.run(name, self.disk(name).list(SPOOL))


async def _check_shelf(shelf: Shelf) -> None:
    for blob, row in shelf.scan("", 10_000):
        if row.where is Where.NOWHERE:
            continue
        chunks = shelf.chunk_list(blob)
        assert isinstance(chunks, ChunkList)
        assert chunks.matches(blob), blob
        for index in range(chunks.count):
            assert chunks.verifies(index, await shelf.read_raw(blob, index)), (blob, index)
