"""Links: one long-lived, ordered stream of frames to each peer that frames are sent to.

A link is a WebSocket that the sender opens. It is kept as long as it works; when it breaks and the
peer refuses a new one, the peer's process is most likely gone, and `link_lost` says so at once.
Frames are dropped, never queued without bound: whoever sends them (Raft) repeats what matters.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import aiohttp

logger = logging.getLogger(__name__)

QUEUED_FRAMES_MAX = 1024
RETRY_FIRST_S = 0.01
RETRY_LAST_S = 2.0
LASTING_S = 1.0
"""A link that lived this long was a good one; its successor is made without a pause."""
CONNECT_TIMEOUT_S = 3.0
RETRIES_MAX = 20
"""Attempts to reconnect after which a link is given up and its frames dropped."""

Connect = Callable[[str], AbstractAsyncContextManager[aiohttp.ClientWebSocketResponse]]


class Links:
    """The outgoing links of one node."""

    def __init__(self, connect: Connect, link_lost: Callable[[str], None]) -> None:
        self._connect = connect
        self._link_lost = link_lost
        self._queues: dict[str, asyncio.Queue[bytes]] = {}
        self._kept: dict[str, asyncio.Task[None]] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self.dropped = 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Links are made, and frames flow, within."""
        async with asyncio.TaskGroup() as self._tasks:
            for peer in self._queues:
                self._start(peer)
            try:
                yield
            finally:
                for task in self._kept.values():
                    task.cancel()

    def send(self, peer: str, frame: bytes) -> bool:
        """Queue a frame for a peer; False when it was dropped because the queue is full."""
        queue = self._queues.get(peer)
        if queue is None:
            queue = self._queues[peer] = asyncio.Queue(QUEUED_FRAMES_MAX)
            self._start(peer)
        try:
            queue.put_nowait(frame)
        except asyncio.QueueFull:
            self.dropped += 1
            return False
        return True

    def _start(self, peer: str) -> None:
        if self._tasks is not None:
            self._kept[peer] = self._tasks.create_task(self._keep(peer))

    async def _keep(self, peer: str) -> None:
        """Keep one link up until it could not be made for a while."""
        queue, wait_s, failures = self._queues[peer], RETRY_FIRST_S, 0
        loop = asyncio.get_running_loop()
        while failures < RETRIES_MAX:
            try:
                async with self._connect(peer) as socket:
                    made_at = loop.time()
                    await _pump(queue, socket)
                if loop.time() - made_at >= LASTING_S:
                    wait_s, failures = RETRY_FIRST_S, 0
                else:
                    failures += 1
                logger.debug("link_closed peer=%s", peer)
            except OSError as error:
                if isinstance(error, ConnectionRefusedError):
                    self._link_lost(peer)
                logger.debug("link_failed peer=%s error=%r", peer, error)
                failures += 1
            if failures:
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, RETRY_LAST_S)
        self.dropped += queue.qsize()
        del self._queues[peer], self._kept[peer]


async def _pump(queue: asyncio.Queue[bytes], socket: aiohttp.ClientWebSocketResponse) -> None:
    """Send queued frames until the socket closes. What is in flight then may be lost."""

    async def send() -> None:
        try:
            while True:
                await socket.send_bytes(await queue.get())
        except (ConnectionError, aiohttp.ClientError):
            await socket.close()

    async def watch() -> None:
        while not socket.closed:
            await socket.receive()
        sending.cancel()

    async with asyncio.TaskGroup() as both:
        sending = both.create_task(send())
        both.create_task(watch())
