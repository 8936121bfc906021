"""Reading a blob: nearest copy first, verified chunk by chunk, failing over in mid-stream.

A *pump* is a background task that reads chunks from one source into a short queue. The reader
starts a second pump when the first is slow to begin, takes the first that delivers a verified
chunk, and when one fails goes on from the same chunk with the next source. Only whole verified
chunks reach the caller, so no byte is ever wrong or repeated.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing

from peerdisco_dht.background import Background
from peerdisco_dht.blobs.identity import CHUNK_BYTES, ChunkList
from peerdisco_dht.blobs.messages import Get, Header
from peerdisco_dht.blobs.service import GET, LENGTH
from peerdisco_dht.blobs.shelf import CorruptCopy, Shelf
from peerdisco_dht.config import StorageConfig
from peerdisco_dht.errors import NoSuchBlob, Unavailable
from peerdisco_dht.messages import BadMessage, decode, encode
from peerdisco_dht.ports import NodeId, Rpc

AHEAD_CHUNKS = 2
"""Chunks that a pump reads ahead."""
HEADER_BYTES_MAX = 64 << 20
PASSES_MAX = 3
"""How often a source that failed is tried for one read."""

FindHolders = Callable[[], Awaitable[tuple[list[NodeId], bool]]]
"""Asks everybody alive who holds the blob; also says whether everybody answered."""


class NotHeld(Exception):
    """The source does not hold the blob."""


class _Pump:
    """Chunks from one source, from chunk `first` on."""

    def __init__(self, node: NodeId) -> None:
        self.node = node
        self.chunks: ChunkList | None = None
        self.queue: asyncio.Queue[bytes | Exception | None] = asyncio.Queue(AHEAD_CHUNKS)
        self.error: Exception | None = None
        self.task: asyncio.Task[None] | None = None

    def stop(self) -> None:
        if self.task is not None:
            self.task.cancel()


class Reading:
    """One read of one blob.

    Args:
        blob: Its id.
        me: This node.
        shelf: Its copies.
        rpc: Calls to peers.
        background: Parent of the pumps.
        sources: Whom to ask, best first.
        find_holders: Asked when all of them fail.
        config: Patience.
    """

    def __init__(
        self,
        blob: str,
        me: NodeId,
        shelf: Shelf,
        rpc: Rpc,
        background: Background,
        sources: list[NodeId],
        find_holders: FindHolders,
        config: StorageConfig,
    ) -> None:
        self._blob = blob
        self._me = me
        self._shelf = shelf
        self._rpc = rpc
        self._background = background
        self._sources = deque(sources)
        self._tried: dict[NodeId, int] = {}
        self._again: list[NodeId] = []
        self._find_holders = find_holders
        self._everybody_asked = False
        self._all_answered = False
        self._found = False
        self._config = config
        self._pump: _Pump | None = None
        self._running: list[_Pump] = []
        self._first = 0
        self._end: int | None = None

    async def open(self, offset: int, size: int | None) -> int:
        """Find a copy; returns the size of the blob.

        Raises NoSuchBlob when all answered that they do not hold it, Unavailable when some could
        not be reached.
        """
        self._first = offset // CHUNK_BYTES
        if size is not None:
            self._end = max(self._first, -(-(offset + size) // CHUNK_BYTES))
        self._pump = await self._connect()
        assert self._pump.chunks is not None
        return self._pump.chunks.size

    async def pieces(self, offset: int, size: int | None) -> AsyncGenerator[bytes, None]:
        """The bytes of the range, after `open`."""
        assert self._pump is not None
        assert self._pump.chunks is not None
        whole = self._pump.chunks.size
        stop = whole if size is None else min(whole, offset + size)
        while self._first * CHUNK_BYTES < stop:
            chunk = await self._next_chunk()
            start = self._first * CHUNK_BYTES
            self._first += 1
            low, high = max(0, offset - start), min(len(chunk), stop - start)
            if low < high:
                yield chunk if high - low == len(chunk) else chunk[low:high]

    def close(self) -> None:
        """Stop all pumps."""
        for pump in self._running:
            pump.stop()

    async def _next_chunk(self) -> bytes:
        while True:
            assert self._pump is not None
            item = await self._pump.queue.get()
            if isinstance(item, bytes):
                return item
            self._note_failure(self._pump, item)
            self._pump = await self._connect()

    async def _connect(self) -> _Pump:
        """A pump that has delivered its header and, if the range has any, its first chunk."""
        ready: asyncio.Queue[_Pump] = asyncio.Queue()
        pending: list[_Pump] = []
        while True:
            if not pending and not self._sources:
                await self._more_sources()
            if not pending:
                pending.append(self._start(self._sources.popleft(), ready))
            try:
                async with asyncio.timeout(self._config.hedge_s if self._sources else None):
                    pump = await ready.get()
            except TimeoutError:
                pending.append(self._start(self._sources.popleft(), ready))
                continue
            pending.remove(pump)
            if pump.error is None:
                for other in pending:
                    other.stop()
                    self._sources.append(other.node)
                self._running = [pump]
                return pump
            self._note_failure(pump, pump.error)

    def _note_failure(self, pump: _Pump, error: Exception | None) -> None:
        """A source that failed by accident may be tried again when all others have failed."""
        if error is None or isinstance(error, OSError):
            self._again.append(pump.node)

    async def _more_sources(self) -> None:
        if not self._everybody_asked:
            self._everybody_asked = True
            holders, self._all_answered = await self._find_holders()
            self._found = bool(holders)
            self._sources.extend(node for node in holders if node not in self._tried)
        if not self._sources:
            again = dict.fromkeys(n for n in self._again if self._tried[n] < PASSES_MAX)
            self._sources.extend(again)
            self._again.clear()
        if self._sources:
            return
        if self._all_answered and not self._found:
            raise NoSuchBlob(self._blob)
        raise Unavailable(f"no copy of {self._blob} can be read now")

    def _start(self, node: NodeId, ready: asyncio.Queue[_Pump]) -> _Pump:
        pump = _Pump(node)
        self._tried[node] = self._tried.get(node, 0) + 1
        pump.task = self._background.start(self._run_pump(pump, ready))
        self._running.append(pump)
        return pump

    async def _run_pump(self, pump: _Pump, ready: asyncio.Queue[_Pump]) -> None:
        announced = False
        try:
            async with aclosing(self._read(pump)) as chunks:
                async for chunk in chunks:
                    await pump.queue.put(chunk)
                    if not announced:
                        announced = True
                        ready.put_nowait(pump)
        except (OSError, BadMessage, CorruptCopy, NotHeld) as error:
            pump.error = error
        if not announced:
            ready.put_nowait(pump)
        elif pump.error is not None:
            await pump.queue.put(pump.error)
        else:
            await pump.queue.put(None)

    async def _read(self, pump: _Pump) -> AsyncGenerator[bytes, None]:
        """Verified chunks of the range from this node or from a peer."""
        reading = self._local(pump) if pump.node == self._me else self._remote(pump)
        async with aclosing(reading) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _local(self, pump: _Pump) -> AsyncGenerator[bytes, None]:
        pump.chunks = chunks = self._shelf.chunk_list(self._blob)
        if chunks is None:
            raise NotHeld
        for index in range(self._first, self._last(chunks)):
            yield await self._shelf.read_chunk(self._blob, chunks, index)

    async def _remote(self, pump: _Pump) -> AsyncGenerator[bytes, None]:
        first = self._first
        body = encode(Get(self._blob, first, self._end))
        timeout_s = self._config.transfer_timeout_s
        async with self._rpc.fetch(pump.node, GET, body, timeout=timeout_s) as pieces:
            stream = _Stream(pieces)
            size = LENGTH.unpack(await stream.take(LENGTH.size))[0]
            if size > HEADER_BYTES_MAX:
                raise BadMessage("the header is too long")
            header = decode(await stream.take(size), Header)
            if not header.found:
                raise NotHeld
            chunks = ChunkList(header.size, header.hashes)
            if not chunks.matches(self._blob):
                raise BadMessage("the chunk list is not that of the blob")
            pump.chunks = chunks
            for index in range(first, self._last(chunks)):
                length = min(CHUNK_BYTES, chunks.size - index * CHUNK_BYTES)
                chunk = await stream.take(length)
                if not chunks.verifies(index, chunk):
                    raise BadMessage(f"chunk {index} is corrupt")
                yield chunk

    def _last(self, chunks: ChunkList) -> int:
        return chunks.count if self._end is None else min(self._end, chunks.count)


class _Stream:
    """Exact numbers of bytes from pieces of any size."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    async def take(self, size: int) -> bytes:
        """The next `size` bytes; raises ConnectionError when the stream ends before."""
        parts = [self._rest]
        have = len(self._rest)
        while have < size:
            try:
                piece = await anext(self._pieces)
            except StopAsyncIteration:
                raise ConnectionResetError("the stream ended early") from None
            parts.append(piece)
            have += len(piece)
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        self._rest = data[size:]
        return data[:size]
