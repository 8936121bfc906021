"""The seam between a node and the machine it runs on.

The asyncio event loop already is a node's clock and its network. What asyncio does not
virtualise is handed in here as one frozen value, `Machine`: files, the metadata store, worker
processes, randomness, transport security and the calendar. `peerdisco.host` makes the real one;
`peerdisco_sim` makes a simulated one, and the node cannot tell them apart.

This module holds only the interfaces. Start reading the real side in `peerdisco/host/`.
"""

from __future__ import annotations

import random
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

T = TypeVar("T")
Write = tuple[bytes, bytes | None]
"""One change of a store: a key and its new value, or None to delete the key."""


@dataclass(frozen=True, slots=True)
class Space:
    """How full the file system under a data directory is, in bytes."""

    free_bytes: int
    total_bytes: int


class Writer(Protocol):
    """A new file that is being written from its beginning."""

    async def write(self, chunks: Sequence[bytes]) -> None:
        """Append the chunks. Raises OSError and leaves the file unusable on failure."""

    async def sync(self) -> None:
        """Make every byte written so far survive a power cut. Never retried after OSError."""

    async def close(self) -> None:
        """Release the file. Idempotent; does not imply `sync`."""


class Disk(Protocol):
    """Files under one node's data directory, named by relative POSIX paths.

    Every method raises OSError as the operating system would, and refuses a path that would leave
    the data directory with ValueError. Parent directories are created on demand.
    """

    async def read(self, path: str, offset: int = 0, size: int | None = None) -> bytes:
        """Up to `size` bytes from `offset`; everything to the end when size is None."""

    async def write(self, path: str, data: bytes) -> None:
        """Replace a small file atomically and durably: temporary file, sync, rename, sync."""

    async def create(self, path: str) -> Writer:
        """A writer for a new, empty file; an existing file is replaced."""

    async def rename(self, source: str, target: str) -> None:
        """Rename durably: the directories are synced before this returns."""

    async def remove(self, path: str) -> None:
        """Delete a file; a missing one is no error."""

    async def remove_tree(self, path: str) -> None:
        """Delete a directory and all it holds; a missing one is no error."""

    async def size(self, path: str) -> int | None:
        """Length in bytes, or None when there is no such file."""

    async def list(self, directory: str) -> list[str]:
        """Sorted names in a directory; empty when there is no such directory."""

    async def space(self) -> Space:
        """Free and total bytes of the file system."""


class Store(Protocol):
    """A durable ordered map from bytes to bytes with atomic batches.

    Reads see committed batches only. The first failed commit poisons the store: it and all later
    ones raise OSError, because after a failed sync nobody knows what the disk holds.
    """

    @property
    def failure(self) -> OSError | None:
        """What poisoned the store; None while it works."""

    def get(self, key: bytes) -> bytes | None:
        """The value of a key, or None."""

    def scan(
        self, start: bytes, end: bytes, *, limit: int = 1000, reverse: bool = False
    ) -> list[tuple[bytes, bytes]]:
        """Up to `limit` pairs with start <= key < end, in key order or against it."""

    async def commit(self, writes: Sequence[Write]) -> None:
        """Apply all writes or none; durable when this returns.

        Batches that arrive while another is being synced share the next sync (group commit) and
        are applied in the order in which `commit` was called. Cancelling the caller does not
        withdraw the batch.
        """

    async def close(self) -> None:
        """Finish what was accepted and release the files. Idempotent."""


class Process(Protocol):
    """A worker process that exchanges length-framed messages with the node."""

    @property
    def pid(self) -> int:
        """The operating system's number of the process."""

    async def send(self, frame: bytes) -> None:
        """Hand a frame to the worker. Raises ConnectionError when it is gone."""

    async def receive(self) -> bytes | None:
        """The worker's next frame, or None when it has ended."""

    def kill(self) -> None:
        """End the process and all that it started, at once. Idempotent."""

    async def wait(self) -> int:
        """The exit status; negative signal number when a signal ended it."""

    def log_tail(self) -> str:
        """The last lines that the worker wrote to its standard error."""


class Processes(Protocol):
    """Starts worker processes."""

    async def start_worker(self) -> Process:
        """A warm Python worker whose working directory is the node's data directory."""


class TransportSecurity(Protocol):
    """How peers prove to each other who they are on TCP.

    Real nodes use mutual TLS. The simulator uses authenticated plaintext, since OpenSSL's
    randomness cannot be replayed.
    """

    def server_context(self) -> ssl.SSLContext | None:
        """The context for accepting peers, or None for plaintext."""

    def client_context(self) -> ssl.SSLContext | None:
        """The context for calling peers, or None for plaintext."""

    def browser_context(self, hosts: Sequence[str]) -> ssl.SSLContext | None:
        """The context for accepting clients under these host names, or None for plaintext."""

    def request_headers(self, server: str) -> Mapping[str, str]:
        """Headers that a caller adds so that `identify` can name it.

        `server` is the host name of the node that is meant, as TLS compares it. Who is not meant
        refuses: another node may have taken over the address of one that is gone.
        """

    def identify(self, headers: Mapping[str, str], connection: ssl.SSLObject | None) -> str | None:
        """The node id that the caller proved, or None when it proved nothing."""


class Knob(Protocol):
    """Answers what a setting shall be on this machine."""

    def __call__(self, name: str, default: T) -> T:
        """The value of the setting called `name`: the default, unless somebody chose another."""


def as_shipped(name: str, default: T) -> T:
    """The knob of real machines: every setting as it is."""
    del name
    return default


@dataclass(frozen=True, slots=True)
class Machine:
    """Everything a node needs from outside, beside the event loop.

    Attributes:
        disk: Files under the node's data directory.
        open_store: Opens the named metadata store ("log" or "index") of this node.
        processes: Starts workers.
        rng: A named random stream; equal names give equal streams in a replay. Never for keys.
        entropy: That many unpredictable bytes, for keys, salts and tokens.
        wall_time: Seconds since the epoch. For people only: nothing is ordered by it.
        transport_security: Makes the peers' TCP security from a cluster secret and the node's
            private key (both raw 32 bytes).
        knob: Turns settings; see `peerdisco.knobs`.
    """

    disk: Disk
    open_store: Callable[[str], Store]
    processes: Processes
    rng: Callable[[str], random.Random]
    entropy: Callable[[int], bytes]
    wall_time: Callable[[], float]
    transport_security: Callable[[bytes, bytes], TransportSecurity]
    knob: Knob = as_shipped
