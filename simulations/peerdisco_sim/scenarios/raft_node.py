"""The program of a node in the Raft scenario: `Groups` over plain sockets, and a door for clients.

Links are TCP connections with frames, heartbeats are UDP datagrams, clients send one request on a
connection of their own. Nothing is encrypted: what is tested here is Raft. A failing disk ends the
process, as it ends a daemon.
"""

from __future__ import annotations

import asyncio
import enum
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from peerdisco_election import (
    BadMessage,
    Dropped,
    Group,
    Groups,
    NotLeader,
    RaftConfig,
    Sessions,
    Unknown,
)
from peerdisco_election.messages import Message, decode, encode
from peerdisco_election.ports import CHANNEL, Address
from peerdisco_sim.machine import open_store
from peerdisco_sim.node import SimNode

PORT = 8990
QUEUED_FRAMES_MAX = 256
RECONNECT_S = 0.05
WORK_TIMEOUT_S = 2.0


class Code(enum.StrEnum):
    """How a request ended."""

    DONE = "done"
    ELSEWHERE = "elsewhere"
    DROPPED = "dropped"
    UNKNOWN = "unknown"


class Request(Message, frozen=True, array_like=True):
    """A client wants a command committed, or with none to read how long the ledger is."""

    group: str
    command: bytes | None


class Answer(Message, frozen=True, array_like=True):
    """The outcome: a place in the ledger, its length, a session's number, or what went wrong."""

    code: Code
    value: int | str = ""


@dataclass(slots=True)
class Plan:
    """Who is to be a member of a group.

    Attributes:
        founders: Its first voters; the first of them leads at first.
        wanted: Who is a voter now, or about to become one.
        floor: What a member knew to be committed when the latest of them was asked to join.
        left: Founders that have forgotten the group.
    """

    founders: Sequence[str]
    wanted: Sequence[str]
    floor: tuple[int, int] = (0, 0)
    left: dict[str, None] = field(default_factory=dict)


class Ledger:
    """A state machine that keeps every command; the result is its place, from 1."""

    def __init__(self) -> None:
        self.entries: list[bytes] = []

    def apply(self, index: int, command: bytes) -> int:  # noqa: ARG002 - election's signature
        """Add a command."""
        self.entries.append(command)
        return len(self.entries)

    def snapshot(self) -> bytes:
        """All commands."""
        return encode(self.entries)

    def restore(self, data: bytes) -> None:
        """Replace all commands."""
        self.entries = decode(data, list[bytes])


class RaftNode:
    """One life of a node.

    Attributes:
        groups: Its Raft room.
        ledgers: Its state machines, by group.
    """

    def __init__(
        self,
        machine: SimNode,
        addresses: Mapping[str, str],
        config: RaftConfig,
        plans: Mapping[str, Plan],
    ) -> None:
        self.me = machine.name
        self.ledgers = {name: Ledger() for name in plans}
        self._plans = plans
        self._addresses = addresses
        self._names = {address: name for name, address in addresses.items()}
        self._outgoing: dict[str, _Link] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._ended = False
        self._datagrams = _Datagrams(self._names)
        self.groups = Groups(
            self.me,
            open_store(machine, "log"),
            self,
            self._datagrams,
            lambda peer: (addresses[peer], PORT),
            machine.stream("election"),
            config,
            generation=machine.boot_number,
        )

    async def run(self) -> None:
        """Serve until killed; returns when the disk has failed."""
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(
            lambda: self._datagrams, local_addr=(self._addresses[self.me], PORT)
        )
        await loop.create_server(lambda: _Incoming(self), self._addresses[self.me], PORT)
        try:
            async with asyncio.TaskGroup() as self._tasks:
                self._tasks.create_task(self._serve())
                for name in self._plans:
                    await self._take_part(name)
        except* OSError:
            pass

    async def _serve(self) -> None:
        try:
            await self.groups.run()
        finally:
            self._ended = True

    async def _take_part(self, name: str) -> None:
        plan = self._plans[name]
        if name in self.groups.names():
            self.groups.open(name, self._machine(name))
        elif self.me in plan.founders and self.me not in plan.left:
            first = plan.founders[0] == self.me
            await self.groups.create(name, plan.founders, self._machine(name), campaign=first)
        else:
            await self.join(name)

    def _machine(self, name: str) -> Sessions:
        ledger = self.ledgers[name] = Ledger()
        return Sessions(ledger, sessions_max=64)

    async def join(self, name: str) -> None:
        """Become a member of a group that exists, if this node is wanted there."""
        plan = self._plans[name]
        if self.me in plan.wanted and self.groups.get(name) is None and not self._ended:
            await self.groups.create(name, (), self._machine(name), floor=plan.floor)

    async def leave(self, name: str) -> None:
        """Forget a group, unless this node is wanted there again."""
        plan = self._plans[name]
        if self.me not in plan.wanted:
            plan.left[self.me] = None
            await self.groups.dissolve(name)

    # Links.

    def send(self, peer: str, frame: bytes) -> bool:
        """See Links."""
        link = self._outgoing.get(peer)
        if link is None:
            if self._tasks is None or self._ended:
                return False
            link = self._outgoing[peer] = _Link(self.me)
            self._tasks.create_task(self._keep(peer, link))
        return link.send(frame)

    async def _keep(self, peer: str, link: _Link) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                await loop.create_connection(lambda: link, self._addresses[peer], PORT)
                await link.lost.wait()
            except ConnectionRefusedError:
                self.groups.link_lost(peer)
                await asyncio.sleep(RECONNECT_S)
            except OSError:
                await asyncio.sleep(RECONNECT_S)

    # Clients.

    def answer_soon(self, request: bytes, say: Callable[[bytes], None]) -> None:
        """Work on a client's request, and answer when it is done."""
        if self._tasks is not None and not self._ended:
            self._tasks.create_task(self._answer(request, say))

    async def _answer(self, data: bytes, say: Callable[[bytes], None]) -> None:
        request = decode(data, Request)
        group = self.groups.get(request.group)
        if group is None:
            say(encode(Answer(Code.ELSEWHERE)))
            return
        try:
            answer = Answer(Code.DONE, await self._work(group, request))
        except NotLeader as error:
            answer = Answer(Code.ELSEWHERE, error.leader or "")
        except Dropped as error:
            answer = Answer(Code.DROPPED, error.reason)
        except Unknown as error:
            answer = Answer(Code.UNKNOWN, error.reason)
        say(encode(answer))

    async def _work(self, group: Group, request: Request) -> int | str:
        if request.command is None:
            await group.read_index(timeout=WORK_TIMEOUT_S)
            return len(self.ledgers[group.name].entries)
        result = await group.propose(request.command, timeout=WORK_TIMEOUT_S)
        assert isinstance(result, int | str)
        return result


class _Framed(asyncio.Protocol):
    """Frames: four bytes of length, then that many."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._buffer.clear()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= 4:
            end = 4 + int.from_bytes(self._buffer[:4])
            if len(self._buffer) < end:
                break
            frame = bytes(self._buffer[4:end])
            del self._buffer[:end]
            self.frame_received(frame)

    def say(self, frame: bytes) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(len(frame).to_bytes(4) + frame)

    def frame_received(self, frame: bytes) -> None:
        """A frame has come."""


class _Link(_Framed):
    """The sending end; its first frame says who sends."""

    def __init__(self, me: str) -> None:
        super().__init__()
        self._me = me
        self._waiting: list[bytes] = []
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.lost.clear()
        self.say(self._me.encode())
        waiting, self._waiting = self._waiting, []
        for frame in waiting:
            self.say(frame)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.transport = None
        self.lost.set()

    def send(self, frame: bytes) -> bool:
        if self.transport is not None:
            self.say(frame)
        elif len(self._waiting) < QUEUED_FRAMES_MAX:
            self._waiting.append(frame)
        else:
            return False
        return True


class _Incoming(_Framed):
    """The receiving end, of a link or of a client, who says an empty name."""

    def __init__(self, node: RaftNode) -> None:
        super().__init__()
        self._node = node
        self._frames = itertools.count()
        self._peer = ""

    def frame_received(self, frame: bytes) -> None:
        if next(self._frames) == 0:
            self._peer = frame.decode()
        elif self._peer:
            self._node.groups.receive(self._peer, frame)
        else:
            self._node.answer_soon(frame, self.say)


class _Datagrams(asyncio.DatagramProtocol):
    """Heartbeats; the sender is known by its address."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names
        self._handler: Callable[[str, Address, bytes], None] | None = None
        self._transport: asyncio.DatagramTransport | None = None

    def subscribe(self, channel: int, handler: Callable[[str, Address, bytes], None]) -> None:
        assert channel == CHANNEL
        self._handler = handler

    def send(self, address: Address, channel: int, payload: bytes) -> bool:
        if self._transport is None or channel != CHANNEL:
            return False
        self._transport.sendto(payload, address)
        return True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.DatagramTransport)
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Address) -> None:
        sender = self._names.get(addr[0])
        if sender is not None and self._handler is not None:
            self._handler(sender, addr, data)


async def ask(address: str, request: Request) -> Answer:
    """Ask a node; raises OSError when the connection fails."""
    reader, writer = await asyncio.open_connection(address, PORT)
    try:
        body = encode(request)
        writer.write((0).to_bytes(4) + len(body).to_bytes(4) + body)
        size = int.from_bytes(await reader.readexactly(4))
        return decode(await reader.readexactly(size), Answer)
    except (EOFError, BadMessage) as error:
        raise ConnectionResetError(str(error)) from None
    finally:
        writer.close()
