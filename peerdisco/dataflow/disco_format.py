"""Disco's own record stream, written and read: for chunks that Disco's programs shall read.

A stream is a series of hunks: a head (version, whether compressed, CRC-32 of the bytes before
compression, length), then pickles of protocol 1, one after the other, compressed by zlib or not.
An empty hunk closes it; streams may follow each other in one file. A line is written as what it
was to Disco, a string of Python 2, and read as text; any other record as what it is.
"""

from __future__ import annotations

import io
import pickle
import struct
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

from peerdisco.dataflow.errors import BadRecord, CorruptRecords
from peerdisco.dataflow.trust import unpickler

VERSION = 128 + 1
HUNK_BYTES = 1 << 20
HUNK_BYTES_MAX = 1 << 30
"""No hunk is larger than this, stored or not."""
ZLIB_LEVEL = 2

_HEAD = struct.Struct("<BBIQ")
_BINSTRING, _STOP = b"T", b"."


class DiscoWriter:
    """Writes one stream; a hunk ends with the record that brings it over `hunk_bytes`.

    Attributes:
        size: Bytes stored so far; records of the hunk that is being filled do not count yet.
    """

    def __init__(self, file: BinaryIO, hunk_bytes: int = HUNK_BYTES) -> None:
        self._file = file
        self._hunk_bytes = hunk_bytes
        self._hunk = bytearray()
        self.size = 0

    def write(self, record: object) -> None:
        """Append a record; a line is bytes. Raises BadRecord for what cannot be pickled."""
        if isinstance(record, bytes):
            self._hunk += _BINSTRING + struct.pack("<i", len(record)) + record + _STOP
        else:
            try:
                self._hunk += pickle.dumps(record, 1)
            except Exception as error:
                raise BadRecord(f"a record cannot be pickled: {error}") from error
        if len(self._hunk) > self._hunk_bytes:
            self._flush()

    def close(self) -> None:
        """Write what is left and the empty hunk; the file stays open."""
        if self._hunk:
            self._flush()
        self._flush()

    def _flush(self) -> None:
        stored = zlib.compress(bytes(self._hunk), ZLIB_LEVEL)
        head = _HEAD.pack(VERSION, 1, zlib.crc32(self._hunk), len(stored))
        self.size += self._file.write(head) + self._file.write(stored)
        self._hunk.clear()


def is_disco_stream(head: bytes) -> bool:
    """Whether a file that begins with these bytes (2 or more) is a stream of Disco's.

    No text in UTF-8 begins like that.
    """
    return len(head) >= 2 and head[0] == VERSION and head[1] in (0, 1)


def read_disco(file: BinaryIO, *, trusted: bool, head: bytes = b"") -> Iterator[Any]:
    """The records of all streams in a file, of which `head` (a few bytes) was read already.

    Raises CorruptRecords and UnsafeRecord.
    """
    position = 0
    while head := head + file.read(_HEAD.size - len(head)):
        data, size = _read_hunk(file, head, position)
        position += size
        yield from _records(data, trusted=trusted)
        head = b""


def _read_hunk(file: BinaryIO, head: bytes, position: int) -> tuple[bytes, int]:
    """The pickles in a hunk, and the size of all of it."""
    if len(head) < _HEAD.size:
        raise CorruptRecords(f"Disco's record stream is cut short at byte {position}")
    version, compressed, check, size = _HEAD.unpack(head)
    if version != VERSION or compressed not in (0, 1) or size > HUNK_BYTES_MAX:
        raise CorruptRecords(f"Disco's record stream is damaged: no hunk at byte {position}")
    stored = file.read(size)
    if len(stored) < size:
        raise CorruptRecords(f"Disco's record stream is cut short in the hunk at byte {position}")
    data = _decompress(stored, position) if compressed else stored
    if zlib.crc32(data) != check:
        raise CorruptRecords(
            f"Disco's record stream is damaged: the hunk at byte {position} fails its checksum"
        )
    return data, len(head) + size


def _decompress(stored: bytes, position: int) -> bytes:
    decompressor = zlib.decompressobj()
    try:
        data = decompressor.decompress(stored, HUNK_BYTES_MAX)
    except zlib.error as error:
        raise CorruptRecords(
            f"Disco's record stream is damaged at byte {position}: {error}"
        ) from None
    if not decompressor.eof:
        raise CorruptRecords(f"Disco's record stream is damaged: the hunk at byte {position}")
    return data


def _records(data: bytes, *, trusted: bool) -> Iterator[Any]:
    """Concatenated pickles; strings of Python 2 become text, to the byte."""
    source = io.BytesIO(data)
    load = unpickler(source, trusted=trusted, encoding="utf-8", errors="surrogateescape")
    while source.tell() < len(data):
        yield load()
