"""What execution needs from the other rooms, as Protocols; `node.py` hands the rooms in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

NodeId = str


class BlobInfo(Protocol):
    """A stored blob."""

    @property
    def id(self) -> str:
        """Its name, `b3-...`."""


class Blobs(Protocol):
    """Immutable blobs. What it raises is taken as a reason and never interpreted."""

    async def put(self, source: AsyncIterator[bytes], /, *, owner: str) -> BlobInfo:
        """Store a stream for an owner; returns when a quorum of replicas is durable."""

    def get(self, blob_id: str, /) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """A blob's bytes, verified."""

    async def local_path(self, blob_id: str, /) -> str | None:
        """The path of a verified copy on this node's disk, if there is one."""


class Rpc(Protocol):
    """Streams between nodes; every failure is an OSError."""

    def fetch(
        self, peer: NodeId, method: str, body: bytes, *, timeout: float
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Ask a peer for a stream; a stream that breaks raises ConnectionError."""

    def serve_fetch(
        self, method: str, handler: Callable[[NodeId, bytes], AsyncIterator[bytes]]
    ) -> None:
        """Answer with streams."""
