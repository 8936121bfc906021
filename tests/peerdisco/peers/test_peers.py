"""Peer HTTP between two real nodes' worth of mutual TLS on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
from collections.abc import AsyncIterator
from typing import Self

import aiohttp
import pytest
from aiohttp import web

from peerdisco.host.tls import MutualTls
from peerdisco.peers import Peers
from peerdisco.peers.links import CONNECT_TIMEOUT_S
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

    def _on_frame(self, sender: str, frame: bytes) -> None:
        self.frames.append((sender, frame))
        self.frame_arrived.set()

    def _on_lost(self, peer: str) -> None:
        self.lost.append(peer)
        self.link_lost.set()

    async def __aenter__(self) -> Self:
        for peers, port, stack in zip(self.peers, self.ports, self.stacks, strict=True):
            await stack.enter_async_context(peers.listening("127.0.0.1", port, web.RouteTableDef()))
        return self

    async def __aexit__(self, *_: object) -> None:
        for stack in self.stacks:
            await stack.aclose()


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
                    async with pair.peers[0]._link(IDS[1]):
                        pass


async def test_a_refused_connection_is_told_in_the_systems_words() -> None:
    """ConnectionError is the promise that the peer has not taken the request."""
    async with Pair() as pair:
        pair.ports[1] = free_port()
        with pytest.raises(ConnectionRefusedError) as refused:
            await pair.peers[0].call(IDS[1], "echo", b"", timeout=5)
        assert str(refused.value) == f"127.0.0.1:{pair.ports[1]}: {os.strerror(errno.ECONNREFUSED)}"
