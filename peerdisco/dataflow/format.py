"""The record stream: what segments and results look like on a disk and on a wire.

A stream is a head (magic and version), any number of batches, and an end mark that repeats the
number of records, so a stream that was cut off never looks complete. A batch holds columns, not
records: keys, values and, where equal records were run-length encoded, how often each pair
occurs. Columns are pickled (protocol 5), compressed (zstd 1) and carry a CRC-32, so batches can
be moved from one stream to another as they are: merging unsorted runs is copying bytes.

    head   8 bytes  MAGIC, with the version in its last byte
    batch  20 bytes kind, crc32, stored bytes, records; then the stored bytes
    end    20 bytes the same frame with kind END, no bytes and the total number of records

This module does not decide whom to trust: see `trust.py` for reading a stranger's stream, and
`records.py` for the iterators over records that most callers want.
"""

from __future__ import annotations

import pickle
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

import zstandard

from peerdisco.dataflow.errors import BadRecord, CorruptRecords
from peerdisco.dataflow.trust import loads_trusted, loads_untrusted

MAGIC = b"\x89PDREC\n\x01"
"""Not text in any encoding, damaged by any newline translation; ends with the version."""

BATCH_BYTES_MAX = 1 << 30
"""No batch is larger than this, stored or decompressed; hence no single record is, either."""

BATCH_BYTES_AIM = 1 << 20
"""Writers aim at batches of this many pickled bytes: large enough to compress, small to hold."""

_FRAME = struct.Struct("<B3xIIQ")
_BATCH, _END = 1, 2
_STEP_FIRST, _STEP_MAX = 2048, 1 << 16


class Batch(NamedTuple):
    """Columns of records; `counts` is None when every pair occurs once."""

    keys: Sequence[Any]
    values: Sequence[Any]
    counts: Sequence[int] | None

    @property
    def records(self) -> int:
        """How many records the batch stands for."""
        return len(self.keys) if self.counts is None else sum(self.counts)


class BatchEncoder:
    """Turns columns into framed batches of a sensible size."""

    def __init__(self) -> None:
        self._compressor = zstandard.ZstdCompressor(level=1)
        self._step = _STEP_FIRST

    def encode(self, batch: Batch) -> Iterator[tuple[bytes, int]]:
        """Framed batches and the number of records in each. Raises BadRecord."""
        start, size = 0, len(batch.keys)
        assert len(batch.values) == size
        while start < size:
            part = _slice(batch, start, start + self._step)
            data = dumps_columns(part)
            if len(data) > 4 * BATCH_BYTES_AIM and len(part.keys) > 1:
                self._step = max(1, self._step // 4)
                continue
            if len(data) < BATCH_BYTES_AIM // 2:
                self._step = min(_STEP_MAX, self._step * 2)
            start += len(part.keys)
            yield self._frame(data, part.records), part.records

    def _frame(self, data: bytes, records: int) -> bytes:
        if len(data) > BATCH_BYTES_MAX:
            raise BadRecord(f"a record of {len(data)} bytes is over {BATCH_BYTES_MAX} bytes")
        stored = self._compressor.compress(data)
        return _frame(_BATCH, stored, records) + stored


class RecordWriter:
    """Writes one record stream into an open binary file.

    Attributes:
        records: Records written so far.
        size: Bytes written so far.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._encoder = BatchEncoder()
        self.records = 0
        self.size = file.write(MAGIC)

    def write(self, batch: Batch) -> None:
        """Append columns. Raises BadRecord for what cannot be pickled, OSError of the file."""
        for framed, records in self._encoder.encode(batch):
            self.write_framed(framed, records)

    def write_framed(self, framed: bytes, records: int) -> None:
        """Append batches that `BatchEncoder` made, as they are."""
        self._file.write(framed)
        self.size += len(framed)
        self.records += records

    def finish(self) -> None:
        """Write the end mark, without which no reader takes the stream for complete."""
        self.size += self._file.write(_frame(_END, b"", self.records))

    def close(self) -> None:
        """Write the end mark, and close the file."""
        self.finish()
        self._file.close()


def read_batches(file: BinaryIO, *, trusted: bool, head: bytes = b"") -> Iterator[Batch]:
    """The batches of a record stream, of which `head` was read already.

    With `trusted`, any class is rebuilt, as suits a worker that runs the user's code anyway;
    without it, only plain values are. Raises CorruptRecords and UnsafeRecord.
    """
    if (magic := head or file.read(len(MAGIC))) != MAGIC:
        raise CorruptRecords(_explain_magic(magic))
    loads = loads_trusted if trusted else loads_untrusted
    decompressor = zstandard.ZstdDecompressor()
    total = 0
    while True:
        kind, stored, records = _read_frame(file)
        if kind == _END:
            if records != total or file.read(1):
                raise CorruptRecords(f"the end mark says {records} records, but {total} were read")
            return
        total += records
        yield _columns(loads(_decompress(decompressor, stored)), records)


def is_record_stream(head: bytes) -> bool:
    """Whether a file that begins with these bytes (8 or more) is a record stream."""
    return head.startswith(MAGIC)


def dumps_columns(batch: Batch) -> bytes:
    """Pickle columns; classes of the user's main program travel by value. Raises BadRecord."""
    columns = (batch.keys, batch.values, batch.counts)
    try:
        return pickle.dumps(columns, 5)
    except (pickle.PicklingError, AttributeError, TypeError, RecursionError):
        import cloudpickle  # most jobs never need it, and clients that only read need it least

        try:
            return bytes(cloudpickle.dumps(columns, 5))
        except Exception as error:
            raise BadRecord(f"a record cannot be pickled: {error}") from error


def _slice(batch: Batch, start: int, stop: int) -> Batch:
    counts = None if batch.counts is None else batch.counts[start:stop]
    return Batch(batch.keys[start:stop], batch.values[start:stop], counts)


def _frame(kind: int, stored: bytes, records: int) -> bytes:
    return _FRAME.pack(kind, _checksum(kind, stored, records), len(stored), records)


def _checksum(kind: int, stored: bytes, records: int) -> int:
    return zlib.crc32(stored, zlib.crc32(struct.pack("<BQ", kind, records)))


def _read_frame(file: BinaryIO) -> tuple[int, bytes, int]:
    head = file.read(_FRAME.size)
    if len(head) < _FRAME.size:
        raise CorruptRecords("the record stream is cut short: it has no end mark")
    kind, check, size, records = _FRAME.unpack(head)
    if kind not in (_BATCH, _END) or size > BATCH_BYTES_MAX:
        raise CorruptRecords("the record stream is damaged: no batch begins here")
    stored = file.read(size)
    if len(stored) < size:
        raise CorruptRecords("the record stream is cut short inside a batch")
    if _checksum(kind, stored, records) != check:
        raise CorruptRecords("the record stream is damaged: a batch fails its checksum")
    return kind, stored, records


def _decompress(decompressor: zstandard.ZstdDecompressor, stored: bytes) -> bytes:
    try:
        if not 0 <= zstandard.frame_content_size(stored) <= BATCH_BYTES_MAX:
            raise CorruptRecords("the record stream is damaged: a batch claims an absurd size")
        return decompressor.decompress(stored)
    except zstandard.ZstdError as error:
        raise CorruptRecords(f"the record stream is damaged: {error}") from None


def _columns(columns: object, records: int) -> Batch:
    match columns:
        case (list() | tuple() as keys, list() | tuple() as values, None | list() as counts):
            batch = Batch(keys, values, counts)
            sizes = {len(keys), len(values), len(keys if counts is None else counts)}
            if len(sizes) == 1 and _countable(counts) and batch.records == records:
                return batch
    raise CorruptRecords("the record stream is damaged: a batch does not hold columns")


def _countable(counts: Sequence[object] | None) -> bool:
    return counts is None or set(map(type, counts)) <= {int}


def _explain_magic(magic: bytes) -> str:
    if magic[:-1] == MAGIC[:-1] and len(magic) == len(MAGIC):
        return f"a record stream of version {magic[-1]}, but only version {MAGIC[-1]} is known"
    if MAGIC.startswith(magic):
        return "the record stream is cut short: its head is incomplete"
    return "not a record stream"
