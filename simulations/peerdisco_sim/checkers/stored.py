"""What the disks of the world's machines really hold of a blob: what a power cut now would leave.

Checkers look here instead of asking nodes, so that a node's belief cannot hide its mistake.
"""

from __future__ import annotations

from peerdisco_dht.blobs.identity import chunk_list_of
from peerdisco_dht.blobs.messages import BlobRow, Where
from peerdisco_dht.blobs.shelf import INLINE, ROWS, file_path
from peerdisco_dht.messages import decode
from peerdisco_sim.disk import SimDisk
from peerdisco_sim.filesystem import Inode
from peerdisco_sim.node import SimNode
from peerdisco_sim.store import StoreFile

INDEX = "store index"


def index_of(machine: SimNode) -> StoreFile | None:
    """The machine's index store, if it was ever opened."""
    store = machine.devices.get(INDEX)
    return store if isinstance(store, StoreFile) else None


def blob_rows(machine: SimNode) -> list[tuple[str, BlobRow]]:
    """All blobs that the machine's index knows, released ones included."""
    store = index_of(machine)
    if store is None:
        return []
    rows = store.scan(ROWS, ROWS + b"\xff", 1 << 30, False)
    return [(key[len(ROWS) :].decode(), decode(data, BlobRow)) for key, data in rows]


def durable_copy(machine: SimNode, blob: str) -> bytes | None:
    """The bytes that the machine would find after a power cut; None when there is no copy."""
    store = index_of(machine)
    data = None if store is None else store.get(ROWS + blob.encode())
    if store is None or data is None:
        return None
    where = decode(data, BlobRow).where
    if where is Where.INLINE:
        return store.get(INLINE + blob.encode())
    disk = machine.devices.get("disk")
    if where is Where.NOWHERE or not isinstance(disk, SimDisk):
        return None
    found = disk.files._durable.find(file_path(blob))
    return bytes(found.durable) if isinstance(found, Inode) else None


def is_in_trash(machine: SimNode, blob: str) -> bool:
    """Whether the garbage collection has condemned the machine's copy."""
    store = index_of(machine)
    data = None if store is None else store.get(ROWS + blob.encode())
    return data is not None and decode(data, BlobRow).condemned is not None


def has_intact(machine: SimNode, blob: str) -> bool:
    """Whether the machine has a durable copy with the right bytes."""
    data = durable_copy(machine, blob)
    return data is not None and chunk_list_of(data).id == blob
