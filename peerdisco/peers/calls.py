"""Calls over one long-lived stream to each peer that is called.

A request of its own for each small call costs ten times what the call itself does. So calls go as
frames over a WebSocket that the caller opens, and are answered on it in whatever order they end.
The stream is opened with the first call, closed when none was made for a while, and given up when
an answer is overdue while nothing at all arrives: after a partition a new connection is quicker
than waiting for the old one. Long bodies go by requests of their own (see `service.py`), so that
they hold up nobody.

    request   number (8 bytes) | length of method (2) | method | body
    answer    number (8 bytes) | outcome (1) | body
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import aiohttp

logger = logging.getLogger(__name__)

PENDING_MAX = 4096
"""Calls to one peer that may wait for their answers."""
IDLE_S = 60.0
"""A stream without calls for that long is closed."""

Connect = Callable[[str], AbstractAsyncContextManager[aiohttp.ClientWebSocketResponse]]

_REQUEST = struct.Struct(">QH")
_ANSWER = struct.Struct(">QB")


class Outcome(enum.IntEnum):
    """What became of a call."""

    DONE = 0
    NOT_SERVED = 1
    """The peer has no such method; nothing was done."""
    FAILED = 2
    """The handler had begun; nobody knows how far it came."""


def encode_request(number: int, method: str, body: bytes) -> bytes:
    """The frame of a request."""
    name = method.encode()
    return _REQUEST.pack(number, len(name)) + name + body


def decode_request(frame: bytes) -> tuple[int, str, bytes]:
    """Number, method and body of a request; raises ValueError when the frame is none."""
    try:
        number, length = _REQUEST.unpack_from(frame)
    except struct.error as error:
        raise ValueError(str(error)) from None
    end = _REQUEST.size + length
    return number, frame[_REQUEST.size : end].decode(), frame[end:]


def encode_answer(number: int, outcome: Outcome, body: bytes) -> bytes:
    """The frame of an answer."""
    return _ANSWER.pack(number, outcome) + body


class _Stream:
    """A stream to one peer, being opened or open."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.opened: asyncio.Future[aiohttp.ClientWebSocketResponse] = loop.create_future()
        self.pending: dict[int, asyncio.Future[bytes]] = {}
        self.heard_at = loop.time()
        self.task: asyncio.Task[None] | None = None

    def answer(self, frame: bytes) -> None:
        """Give an answer to whoever still waits for it."""
        self.heard_at = self._loop.time()
        if len(frame) < _ANSWER.size:
            return
        number, outcome = _ANSWER.unpack_from(frame)
        future = self.pending.pop(number, None)
        if future is None or future.done():
            return
        if outcome == Outcome.DONE:
            future.set_result(frame[_ANSWER.size :])
        elif outcome == Outcome.NOT_SERVED:
            future.set_exception(ConnectionError("the peer does not serve that"))
        else:
            future.set_exception(ConnectionResetError("the peer failed to answer"))

    def fail(self, error: Exception) -> None:
        """The stream is gone: those whose call was sent learn that nobody knows."""
        if not self.opened.done():
            self.opened.set_exception(error)
            self.opened.exception()  # whoever waited for it may be gone
        pending, self.pending = self.pending, {}
        for future in pending.values():
            if not future.done():
                future.set_exception(ConnectionResetError(f"the stream broke: {error}"))
                future.exception()  # likewise


class Calls:
    """The outgoing streams of one node."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._streams: dict[str, _Stream] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._number = 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Calls can be made within."""
        async with asyncio.TaskGroup() as self._tasks:
            try:
                yield
            finally:
                self._tasks, streams = None, list(self._streams.values())
                for stream in streams:
                    assert stream.task is not None
                    stream.task.cancel()

    async def call(self, peer: str, method: str, body: bytes, timeout: float) -> bytes:
        """The answer of a peer, within `timeout` seconds; raises like `Peers.call`."""
        stream = self._streams.get(peer) or self._open(peer)
        if len(stream.pending) >= PENDING_MAX:
            raise ConnectionError(f"{PENDING_MAX} calls to {peer} wait for answers already")
        loop = asyncio.get_running_loop()
        began = loop.time()
        self._number = number = self._number + 1
        try:
            async with asyncio.timeout(timeout):
                if not stream.opened.done():
                    await asyncio.shield(stream.opened)
                socket = stream.opened.result()
                answer: asyncio.Future[bytes] = loop.create_future()
                stream.pending[number] = answer
                await socket.send_bytes(encode_request(number, method, body))
                return await answer
        except TimeoutError:
            if stream.opened.done() and stream.heard_at < began:
                self._give_up(peer, stream)
            raise
        finally:
            stream.pending.pop(number, None)

    def _open(self, peer: str) -> _Stream:
        if self._tasks is None:
            raise ConnectionError("this node stops, and calls nobody any more")
        stream = self._streams[peer] = _Stream(asyncio.get_running_loop())
        stream.task = self._tasks.create_task(self._keep(peer, stream))
        # A task that is cancelled before its first step runs no `finally`.
        stream.task.add_done_callback(lambda _: self._forget(peer, stream))
        return stream

    def _give_up(self, peer: str, stream: _Stream) -> None:
        """Let the next call open a new stream."""
        if self._streams.get(peer) is stream:
            del self._streams[peer]
        if stream.task is not None:
            stream.task.cancel()

    def _forget(self, peer: str, stream: _Stream) -> None:
        if self._streams.get(peer) is stream:
            del self._streams[peer]
        stream.fail(ConnectionError("this node closed the stream"))

    async def _keep(self, peer: str, stream: _Stream) -> None:
        """Hold one stream from its opening to its end."""
        try:
            async with self._connect(peer) as socket:
                if not stream.opened.done():
                    stream.opened.set_result(socket)
                while await self._hear(stream, socket):
                    pass
                # From here on a new call opens a new stream.
                self._forget(peer, stream)
        except OSError as error:
            logger.debug("calls_broke peer=%s error=%r", peer, error)
            stream.fail(error)

    async def _hear(self, stream: _Stream, socket: aiohttp.ClientWebSocketResponse) -> bool:
        """Take one answer; False when the stream is at its end."""
        try:
            message = await socket.receive(IDLE_S)
        except TimeoutError:
            return bool(stream.pending)
        if message.type is aiohttp.WSMsgType.BINARY:
            stream.answer(message.data)
            return True
        return False
