"""Peer HTTP between two real nodes' worth of mutual TLS on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
from collections.abc import AsyncIterator, Coroutine
from typing import Self

import aiohttp
import pytest
from aiohttp import web

from peerdisco.host.tls import MutualTls
from peerdisco.peers import Peers
from peerdisco.peers.links import CONNECT_TIMEOUT_S
from peerdisco.peers.service import STREAMED_BODY_BYTES_MAX
from peerdisco.security.secrets import node_id_of_private

SECRET = bytes(range(32))
KEYS = [bytes([n]) * 32 for n in (1, 2)]
IDS = [node_id_of_private(key) for key in KEYS]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Pair:
    """Two `Peers` that know each other, with what they received and lost."""

    def __init__(self, secrets: tuple[bytes, bytes] = (SECRET, SECRET)) -> None:
        self.ports = [free_port(), free_port()]
        self.frames: list[tuple[str, bytes]] = []
        self.lost: list[str] = []
        self.frame_arrived = asyncio.Event()
        self.link_lost = asyncio.Event()
        self.stacks = [contextlib.AsyncExitStack(), contextlib.AsyncExitStack()]
        self.peers = [
            Peers(
                IDS[index],
                MutualTls(secrets[index], KEYS[index]),
                lambda peer: ("127.0.0.1", self.ports[IDS.index(peer)]) if peer in IDS else None,
                self._on_frame,
                self._on_lost,
            )
            for index in (0, 1)
        ]

    async def listen(self, index: int) -> None:
        """Let one of the two listen, and call out, until its stack is closed."""
        listening = self.peers[index].listening("127.0.0.1", self.ports[index], web.RouteTableDef())
        await self.stacks[index].enter_async_context(listening)

    def streams(self) -> list[object]:
        """The streams for calls from the first to the second."""
        return list(self.peers[0]._calls._streams.values())

    def _on_frame(self, sender: str, frame: bytes) -> None:
        self.frames.append((sender, frame))
        self.frame_arrived.set()

    def _on_lost(self, peer: str) -> None:
        self.lost.append(peer)
        self.link_lost.set()

    async def __aenter__(self) -> Self:
        for index in (0, 1):
            await self.listen(index)
        return self

    async def __aexit__(self, *_: object) -> None:
        for stack in self.stacks:
            await stack.aclose()


async def outcome(work: Coroutine[None, None, bytes]) -> bytes | OSError:
    try:
        return await work
    except OSError as error:
        return error


async def echo(sender: str, body: bytes) -> bytes:
    return sender.encode() + b" " + body


async def test_a_call_is_answered_and_the_sender_is_known() -> None:
    async with Pair() as pair:
        for peers in pair.peers:
            peers.serve("echo", echo)
        expected = IDS[0].encode() + b" hello"
        assert expected == await pair.peers[0].call(IDS[1], "echo", b"hello", timeout=5)
        assert expected == await pair.peers[0].call(IDS[0], "echo", b"hello", timeout=5)


async def test_a_raising_handler_is_a_connection_error_for_the_caller() -> None:
    async def broken(sender: str, body: bytes) -> bytes:
        raise RuntimeError("boom")

    async with Pair() as pair:
        pair.peers[1].serve("broken", broken)
        with pytest.raises(ConnectionError):
            await pair.peers[0].call(IDS[1], "broken", b"", timeout=5)
        with pytest.raises(ConnectionError):
            await pair.peers[0].call(IDS[1], "no such method", b"", timeout=5)


async def test_a_failing_disk_is_told_to_the_caller_and_nothing_is_logged_as_a_bug(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """After the handler began, nobody knows how far it came: that is a reset, not a refusal."""

    async def broken(sender: str, body: bytes) -> bytes:
        raise OSError(errno.EIO, "the disk failed")

    async with Pair() as pair:
        pair.peers[1].serve("broken", broken)
        with pytest.raises(ConnectionResetError):
            await pair.peers[0].call(IDS[1], "broken", b"", timeout=5)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_silent_handler_is_a_timeout_for_the_caller() -> None:
    async def silent(sender: str, body: bytes) -> bytes:
        await asyncio.sleep(60)
        return b""

    async with Pair() as pair:
        pair.peers[1].serve("silent", silent)
        with pytest.raises(TimeoutError):
            await pair.peers[0].call(IDS[1], "silent", b"", timeout=0.2)


async def test_calls_share_a_stream_and_do_not_wait_for_each_other() -> None:
    go = asyncio.Event()

    async def slow(sender: str, body: bytes) -> bytes:
        await go.wait()
        return b"slow"

    async with Pair() as pair:
        pair.peers[1].serve("echo", echo)
        pair.peers[1].serve("slow", slow)
        async with asyncio.TaskGroup() as group:
            first = group.create_task(pair.peers[0].call(IDS[1], "slow", b"", timeout=5))
            for number in range(20):
                answer = await pair.peers[0].call(IDS[1], "echo", b"%d" % number, timeout=5)
                assert answer == IDS[0].encode() + b" %d" % number
            assert not first.done()
            go.set()
        assert first.result() == b"slow"
        assert len(pair.streams()) == 1


async def test_a_long_body_does_not_use_the_stream() -> None:
    async with Pair() as pair:
        pair.peers[1].serve("echo", echo)
        body = bytes(STREAMED_BODY_BYTES_MAX + 1)
        answer = await pair.peers[0].call(IDS[1], "echo", body, timeout=5)
        assert answer == IDS[0].encode() + b" " + body
        assert pair.streams() == []


async def test_a_stream_that_broke_is_told_to_who_waits_and_made_again_for_the_next() -> None:
    started = asyncio.Event()

    async def silent(sender: str, body: bytes) -> bytes:
        started.set()
        await asyncio.sleep(60)
        return b""

    async with Pair() as pair:
        pair.peers[1].serve("silent", silent)
        pair.peers[1].serve("echo", echo)
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(
                outcome(pair.peers[0].call(IDS[1], "silent", b"", timeout=5))
            )
            await started.wait()
            await pair.stacks[1].aclose()
        assert isinstance(waiting.result(), ConnectionResetError)
        await pair.listen(1)
        assert await pair.peers[0].call(IDS[1], "echo", b"", timeout=5)


async def test_a_stream_on_which_nothing_comes_any_more_is_given_up() -> None:
    """After a partition a new connection is there at once; the old one waits for its timers."""

    async def silent(sender: str, body: bytes) -> bytes:
        await asyncio.sleep(60)
        return b""

    async with Pair() as pair:
        pair.peers[1].serve("silent", silent)
        pair.peers[1].serve("echo", echo)
        await pair.peers[0].call(IDS[1], "echo", b"", timeout=5)
        old = pair.streams()
        with pytest.raises(TimeoutError):
            await pair.peers[0].call(IDS[1], "silent", b"", timeout=0.2)
        await pair.peers[0].call(IDS[1], "echo", b"", timeout=5)
        assert len(pair.streams()) == 1
        assert pair.streams() != old


async def test_a_frame_that_is_no_call_ends_the_stream() -> None:
    async with Pair() as pair, pair.peers[0]._socket(IDS[1], "/calls", None) as socket:
        await socket.send_bytes(b"nonsense")
        message = await socket.receive(5)
        assert message.type is aiohttp.WSMsgType.CLOSE


async def test_a_fetch_streams_and_a_broken_one_never_looks_complete() -> None:
    async def pieces(sender: str, body: bytes) -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * 1000
        if body == b"break":
            raise RuntimeError("boom")

    async with Pair() as pair:
        pair.peers[1].serve_fetch("pieces", pieces)
        async with pair.peers[0].fetch(IDS[1], "pieces", b"", timeout=5) as stream:
            assert 3000 == sum([len(piece) async for piece in stream])
        with pytest.raises(ConnectionError):
            async with pair.peers[0].fetch(IDS[1], "pieces", b"break", timeout=5) as stream:
                assert [piece async for piece in stream]


async def test_a_push_streams_and_a_broken_one_is_noticed_by_the_receiver() -> None:
    seen: list[str] = []

    async def take(sender: str, body: bytes, source: AsyncIterator[bytes]) -> bytes:
        try:
            size = sum([len(piece) async for piece in source])
        except ConnectionError:
            seen.append("broken")
            raise
        return body + b" %d" % size

    async def source(breaks: bool) -> AsyncIterator[bytes]:
        for _ in range(4):
            yield bytes(700_000)
        if breaks:
            raise ValueError("the disk is gone")

    async with Pair() as pair:
        pair.peers[1].serve_push("take", take)
        answer = await pair.peers[0].push(IDS[1], "take", b"all", source(False), timeout=5)
        assert b"all 2800000" == answer
        with pytest.raises((OSError, ValueError)):
            await pair.peers[0].push(IDS[1], "take", b"all", source(True), timeout=5)
        for _ in range(100):
            if seen:
                break
            await asyncio.sleep(0.02)
        assert ["broken"] == seen


async def test_frames_of_a_link_arrive_in_order_and_its_loss_is_told() -> None:
    async with Pair() as pair:
        for number in range(50):
            assert pair.peers[0].links.send(IDS[1], b"%d" % number)
        while len(pair.frames) < 50:
            pair.frame_arrived.clear()
            await asyncio.wait_for(pair.frame_arrived.wait(), 5)
        assert [(IDS[0], b"%d" % number) for number in range(50)] == pair.frames
        await pair.stacks[1].aclose()
        await asyncio.wait_for(pair.link_lost.wait(), 5)
        assert IDS[1] in pair.lost


async def test_a_node_of_another_cluster_is_refused_both_ways() -> None:
    async with Pair((SECRET, bytes(32))) as pair:
        for peers in pair.peers:
            peers.serve("echo", echo)
        for one, other in ((0, 1), (1, 0)):
            with pytest.raises(OSError):
                await pair.peers[one].call(IDS[other], "echo", b"", timeout=5)


async def test_a_caller_without_a_certificate_reaches_nothing() -> None:
    async with Pair() as pair:
        pair.peers[1].serve("echo", echo)
        url = f"https://127.0.0.1:{pair.ports[1]}/call/echo"
        async with aiohttp.ClientSession() as session, session.post(url, ssl=False) as response:
            assert 401 == response.status


@pytest.mark.slow
async def test_a_link_to_a_peer_that_accepts_and_says_nothing_is_given_up_in_time() -> None:
    """A partition may swallow what follows: who waits for it is deaf when it heals."""
    async with Pair() as pair:
        with socket.create_server(("127.0.0.1", 0)) as mute:
            pair.ports[1] = mute.getsockname()[1]
            async with asyncio.timeout(CONNECT_TIMEOUT_S + 2):
                with pytest.raises(TimeoutError):
                    async with pair.peers[0]._socket(IDS[1], "/link", None):
                        pass


async def test_a_refused_connection_is_told_in_the_systems_words() -> None:
    """ConnectionError is the promise that the peer has not taken the request."""
    async with Pair() as pair:
        pair.ports[1] = free_port()
        with pytest.raises(ConnectionRefusedError) as refused:
            await pair.peers[0].call(IDS[1], "echo", b"", timeout=5)
        assert str(refused.value) == f"127.0.0.1:{pair.ports[1]}: {os.strerror(errno.ECONNREFUSED)}"
