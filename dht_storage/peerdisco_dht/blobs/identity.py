"""The name of a blob, and the chunk list that lets every part of it be verified alone. Pure.

A blob is cut into chunks of 1 MiB. Its id is `b3-` and the BLAKE3 of its chunk hashes in order,
followed by its size in 8 bytes. Whoever holds the chunk list can verify it against the id, and
then each chunk against the list, in any order and from any source.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from blake3 import blake3

from peerdisco_dht.errors import BadName
from peerdisco_dht.keys import KEY_BYTES, partition_of_key

CHUNK_BYTES = 1 << 20
HASH_BYTES = 32
BLOB_BYTES_MAX = 1 << 40

_ID = re.compile(r"b3-[0-9a-f]{64}")


def check_id(blob: str) -> str:
    """The id, if it is one; raises BadName."""
    if not _ID.fullmatch(blob):
        raise BadName(f"not a blob id: {blob!r:.80}")
    return blob


def is_id(blob: str) -> bool:
    """Whether this is a blob id."""
    return _ID.fullmatch(blob) is not None


def key_of_blob(blob: str) -> bytes:
    """The 160-bit key of a blob: the first bits of its hash."""
    return bytes.fromhex(blob[3 : 3 + 2 * KEY_BYTES])


def partition_of_blob(blob: str) -> int:
    """The partition of a blob."""
    return partition_of_key(key_of_blob(blob))


@dataclass(frozen=True, slots=True)
class ChunkList:
    """The size of a blob and the hashes of its chunks, one after the other."""

    size: int
    hashes: bytes

    @property
    def count(self) -> int:
        """Number of chunks."""
        return len(self.hashes) // HASH_BYTES

    @property
    def id(self) -> str:
        """The id of the blob that has this list."""
        return "b3-" + blake3(self.hashes + self.size.to_bytes(8, "big")).hexdigest()

    def matches(self, blob: str) -> bool:
        """Whether this is the chunk list of that blob."""
        chunks = -(-self.size // CHUNK_BYTES)
        return len(self.hashes) == chunks * HASH_BYTES and self.id == blob

    def verifies(self, index: int, chunk: bytes) -> bool:
        """Whether these are the bytes of a chunk."""
        expected = self.hashes[index * HASH_BYTES : (index + 1) * HASH_BYTES]
        return blake3(chunk).digest() == expected


class Chunker:
    """Cuts a stream of pieces into chunks, hashing them. Holds less than two chunks.

    A chunk is given out as the pieces that it came in, and only those that cross its border are
    copied: joining them would cost more than hashing them.
    """

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._room = CHUNK_BYTES
        self._hash = blake3()
        self._hashes: list[bytes] = []
        self.size = 0

    def push(self, piece: bytes) -> Iterator[list[bytes]]:
        """The chunks that a piece completes, each in parts."""
        self.size += len(piece)
        start = 0
        while len(piece) - start >= self._room:
            end = start + self._room
            self._add(piece[start:end])
            start = end
            yield self._take()
        if start < len(piece):
            self._add(piece[start:])

    def finish(self) -> list[bytes]:
        """The last, shorter chunk; empty when the size is a multiple of the chunk size."""
        return self._take() if self._parts else []

    def chunk_list(self) -> ChunkList:
        """The list of all chunks given out so far."""
        return ChunkList(self.size, b"".join(self._hashes))

    def _add(self, part: bytes) -> None:
        self._parts.append(part)
        self._room -= len(part)
        self._hash.update(part)

    def _take(self) -> list[bytes]:
        parts, self._parts, self._room = self._parts, [], CHUNK_BYTES
        self._hashes.append(self._hash.digest())
        self._hash = blake3()
        return parts


def chunk_list_of(data: bytes) -> ChunkList:
    """The chunk list of bytes in memory."""
    starts = range(0, len(data), CHUNK_BYTES)
    hashes = [blake3(data[start : start + CHUNK_BYTES]).digest() for start in starts]
    return ChunkList(len(data), b"".join(hashes))
