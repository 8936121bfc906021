"""What this package needs from outside, named as Protocols: the machine, the peers, the members.

The composition root hands in the real ones, the simulator and the tests hand in theirs. Nothing
here has behaviour; `storage.py` shows who receives what.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

NodeId = str
"""32 lower-case base32 characters: 160 bits."""
Address = tuple[str, int]
Write = tuple[bytes, bytes | None]
"""One change of a store: a key and its new value, or None to delete the key."""

CallHandler = Callable[[NodeId, bytes], Awaitable[bytes]]
FetchHandler = Callable[[NodeId, bytes], AsyncIterator[bytes]]
PushHandler = Callable[[NodeId, bytes, AsyncIterator[bytes]], Awaitable[bytes]]
DatagramHandler = Callable[[NodeId, Address, bytes], None]


class Rpc(Protocol):
    """Calls between authenticated peers; `timeout` is seconds without progress.

    Every failure is an OSError: ConnectionError when the call was not delivered, TimeoutError or
    ConnectionResetError when nobody knows whether it ran.
    """

    async def call(self, peer: NodeId, method: str, body: bytes, *, timeout: float) -> bytes:
        """One request, one answer."""

    def fetch(
        self, peer: NodeId, method: str, body: bytes, *, timeout: float
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """One request, a stream of pieces as the answer; a short stream raises."""

    async def push(  # noqa: D102 - see the class
        self,
        peer: NodeId,
        method: str,
        body: bytes,
        source: AsyncIterator[bytes],
        *,
        timeout: float,
        size: int | None = None,
    ) -> bytes: ...

    def serve(self, method: str, handler: CallHandler) -> None:
        """Answer calls of a method."""

    def serve_fetch(self, method: str, handler: FetchHandler) -> None:
        """Answer fetches of a method with an async generator function."""

    def serve_push(self, method: str, handler: PushHandler) -> None:
        """Answer pushes of a method."""


class Members(Protocol):
    """Who seems to be alive now. A hint: it routes, and never decides a quorum."""

    def alive(self) -> list[NodeId]:
        """Sorted ids of the nodes that answer or are only suspected, oneself included."""

    def address_of(self, node: NodeId) -> Address | None:
        """Where a member receives datagrams, when known."""


class Datagrams(Protocol):
    """Sealed datagrams; the sender's id is authenticated."""

    @property
    def local_address(self) -> Address:
        """Where this node receives."""

    def send(self, address: Address, channel: int, payload: bytes) -> bool:
        """Hand a datagram to the network; False when it was dropped at once."""

    def subscribe(self, channel: int, handler: DatagramHandler) -> None:
        """Receive the datagrams of a channel."""


class Writer(Protocol):
    """A new file that is being written from its beginning."""

    async def write(self, chunks: Sequence[bytes]) -> None:
        """Append the chunks."""

    async def sync(self) -> None:
        """Make every byte written so far survive a power cut."""

    async def close(self) -> None:
        """Release the file; does not imply `sync`."""


class Space(Protocol):
    """How full a file system is, in bytes."""

    @property
    def free_bytes(self) -> int:
        """What can still be written."""

    @property
    def total_bytes(self) -> int:
        """What there is."""


class Disk(Protocol):
    """Files under the node's data directory, named by relative POSIX paths."""

    async def read(self, path: str, offset: int = 0, size: int | None = None) -> bytes:
        """Up to `size` bytes from `offset`."""

    async def create(self, path: str) -> Writer:
        """A writer for a new, empty file."""

    async def rename(self, source: str, target: str) -> None:
        """Rename durably: the directories are synced before this returns."""

    async def size(self, path: str) -> int | None:
        """Length in bytes, or None when there is no such file."""

    async def list(self, directory: str) -> list[str]:
        """Sorted names in a directory; empty when there is no such directory."""

    async def space(self) -> Space:
        """Of the file system."""

    async def remove(self, path: str) -> None:
        """Delete a file; a missing one is no error."""

    async def remove_tree(self, path: str) -> None:
        """Delete a directory and all it holds; a missing one is no error."""


class Store(Protocol):
    """A durable ordered map with atomic batches; reads see committed batches only."""

    def get(self, key: bytes) -> bytes | None:
        """The value of a key, or None."""

    def scan(
        self, start: bytes, end: bytes, *, limit: int = 1000, reverse: bool = False
    ) -> list[tuple[bytes, bytes]]:
        """Up to `limit` pairs with start <= key < end, in key order or against it."""

    async def commit(self, writes: Sequence[Write]) -> None:
        """Apply all writes or none, durably, in the order in which `commit` was called."""
