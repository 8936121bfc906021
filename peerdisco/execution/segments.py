"""Intermediate outputs between nodes: serving ours, fetching theirs.

Nothing is verified here; a record stream carries its own checksums and end mark, so the worker
notices any damage. Next: `staging.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

from peerdisco.execution.config import ExecutionConfig
from peerdisco.execution.messages import METHOD, MISSING, SIZE_BYTES, SegmentRead
from peerdisco.execution.paths import is_segment_path
from peerdisco.execution.ports import NodeId, Rpc
from peerdisco.execution.spool import Spool, SpoolFile, read_file
from peerdisco.machine import Disk
from peerdisco.messages import BadMessage, decode, encode


class SegmentServer:
    """Lets peers read this node's segments, and nothing else."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    async def answer(self, peer: NodeId, body: bytes) -> AsyncIterator[bytes]:  # noqa: ARG002 - every member may read
        """The stream for a SegmentRead."""
        try:
            request = decode(body, SegmentRead)
        except BadMessage:
            yield MISSING.to_bytes(SIZE_BYTES, "big")
            return
        size = None
        if is_segment_path(request.path) and request.offset >= 0:
            size = await self._disk.size(request.path)
        if size is None:
            yield MISSING.to_bytes(SIZE_BYTES, "big")
            return
        yield size.to_bytes(SIZE_BYTES, "big")
        async with aclosing(read_file(self._disk, request.path, request.offset, size)) as pieces:
            async for piece in pieces:
                yield piece


class SegmentMissing(OSError):
    """The node answered that it does not have the segment."""


class SegmentFetcher:
    """Copies segments of other nodes to this one's spool."""

    def __init__(self, rpc: Rpc, config: ExecutionConfig) -> None:
        self._rpc = rpc
        self._config = config

    async def fetch(self, node: NodeId, path: str, spool: Spool, name: str) -> str:
        """The path of the copy. Raises OSError: SegmentMissing when there is none any more."""
        file = await spool.create(name)
        try:
            await self._fetch_with_patience(node, path, file)
        finally:
            await file.close()
        return file.path

    async def _fetch_with_patience(self, node: NodeId, path: str, file: SpoolFile) -> None:
        pause = self._config.fetch_pause_s
        for _ in range(self._config.fetch_tries - 1):
            try:
                return await self._fetch_rest(node, path, file)
            except ConnectionError:
                await asyncio.sleep(pause)
                pause *= 2
        return await self._fetch_rest(node, path, file)

    async def _fetch_rest(self, node: NodeId, path: str, file: SpoolFile) -> None:
        body = encode(SegmentRead(path, file.size))
        timeout = self._config.fetch_timeout_s
        head = b""
        async with self._rpc.fetch(node, METHOD, body, timeout=timeout) as pieces:
            async for piece in pieces:
                data = piece
                if len(head) < SIZE_BYTES:
                    missing = SIZE_BYTES - len(head)
                    head, data = head + piece[:missing], piece[missing:]
                    if int.from_bytes(head, "big") == MISSING and len(head) == SIZE_BYTES:
                        raise SegmentMissing("its node no longer has it")
                if data:
                    await file.write(data)
        size = int.from_bytes(head, "big")
        if len(head) < SIZE_BYTES or file.size != size:
            raise ConnectionError(f"{file.size} of {size} bytes came")
