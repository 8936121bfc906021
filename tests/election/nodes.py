"""Real `Groups` drivers of several nodes in one process and one loop, over links in memory."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from peerdisco_election import Group, Groups, RaftConfig
from peerdisco_election.messages import decode, encode
from peerdisco_election.ports import Address
from tests.election.world import FakeStore

BRISK = RaftConfig(
    election_timeout=0.25,
    heartbeat_interval=0.05,
    evidence_delay_min=0.005,
    evidence_delay_max=0.03,
    resend_interval=0.03,
)


class Words:
    """A state machine that remembers all commands."""

    def __init__(self) -> None:
        self.words: list[bytes] = []

    def apply(self, index: int, command: bytes) -> object:
        self.words.append(command)
        return len(self.words)

    def snapshot(self) -> bytes:
        return encode(self.words)

    def restore(self, data: bytes) -> None:
        self.words = decode(data, list[bytes])


class BrokenStore(FakeStore):
    """A store whose disk fails when told to."""

    broken = False

    async def commit(self, writes: object) -> None:
        await asyncio.sleep(0)
        if self.broken:
            raise OSError(5, "input/output error")
        self.apply(writes)  # type: ignore[arg-type] # as the base class


class Net:
    """Nodes and what connects them."""

    def __init__(self, config: RaftConfig) -> None:
        self.config = config
        self.nodes: dict[str, Groups] = {}
        self.stores: dict[str, BrokenStore] = {}
        self.machines: dict[tuple[str, str], Words] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.starts: dict[str, int] = {}
        self.handlers: dict[str, Callable[[str, Address, bytes], None]] = {}
        self.blocked: dict[tuple[str, str], None] = {}
        self.datagrams_lost = False
        self._tasks: asyncio.TaskGroup | None = None

    @asynccontextmanager
    async def running(self, names: str) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            for name in names:
                self.start(name)
            yield
            for name in [*self.nodes]:
                self.kill(name)

    def start(self, name: str, *, datagrams: bool = True) -> Groups:
        assert self._tasks is not None
        self.starts[name] = self.starts.get(name, 0) + 1
        port = _Port(self, name)
        groups = Groups(
            name,
            self.stores.setdefault(name, BrokenStore()),
            port,
            port.datagrams if datagrams else None,
            lambda peer: (peer, 1),
            random.Random(f"{name} {self.starts[name]}"),
            self.config,
            generation=self.starts[name],
        )
        self.nodes[name] = groups
        self.tasks[name] = self._tasks.create_task(groups.run())
        return groups

    def kill(self, name: str) -> None:
        """As kill -9: nothing is said to anybody."""
        self.tasks.pop(name).cancel()
        del self.nodes[name]

    def machine(self, node: str, group: str = "g") -> Words:
        machine = self.machines[node, group] = Words()
        return machine

    async def form(self, names: str, group: str = "g") -> dict[str, Group]:
        """Form a group on these nodes; the last one stands for election."""
        formed = {
            name: await self.nodes[name].create(
                group, [*names], self.machine(name, group), campaign=name == names[-1]
            )
            for name in names
        }
        for member in formed.values():
            await member.wait_for_leader(timeout=20)
        return formed

    async def leader(self, groups: dict[str, Group]) -> Group:
        """The group's member on the node that leads and is alive."""
        leaders: list[Group] = []

        def found() -> bool:
            leaders[:] = [
                group for name, group in groups.items() if group.is_leader and name in self.nodes
            ]
            return bool(leaders)

        await self.until(found)
        return leaders[0]

    async def until(self, done: Callable[[], bool]) -> None:
        """Let the nodes work until this is true."""
        async with asyncio.timeout(30):
            while not done():  # noqa: ASYNC110 - what is awaited has no event of its own
                await asyncio.sleep(0.002)

    def reaches(self, sender: str, receiver: str) -> bool:
        return receiver in self.nodes and (sender, receiver) not in self.blocked


class _Port:
    def __init__(self, net: Net, me: str) -> None:
        self._net = net
        self._me = me
        self.datagrams = _Datagrams(net, me)

    def send(self, peer: str, frame: bytes) -> bool:
        net = self._net
        if self._me in net.nodes and net.reaches(self._me, peer):
            asyncio.get_running_loop().call_soon(net.nodes[peer].receive, self._me, frame)
        return True


class _Datagrams:
    def __init__(self, net: Net, me: str) -> None:
        self._net = net
        self._me = me

    def send(self, address: Address, channel: int, payload: bytes) -> bool:
        net, peer = self._net, address[0]
        if net.datagrams_lost or self._me not in net.nodes or not net.reaches(self._me, peer):
            return True
        handler = net.handlers.get(peer)
        if channel == 2 and handler is not None:
            asyncio.get_running_loop().call_soon(handler, self._me, (self._me, 1), payload)
        return True

    def subscribe(self, channel: int, handler: Callable[[str, Address, bytes], None]) -> None:
        assert channel == 2
        self._net.handlers[self._me] = handler
