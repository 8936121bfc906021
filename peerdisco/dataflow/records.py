"""Reading records: what clients, map readers and reduce functions iterate over.

Order between inputs means nothing. See `ordering.py` for sorted input.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import chain
from typing import Any, BinaryIO

from peerdisco.dataflow import lines
from peerdisco.dataflow.disco_format import is_disco_stream, read_disco
from peerdisco.dataflow.format import MAGIC, read_batches
from peerdisco.dataflow.runs import expand


def read_records(file: BinaryIO, *, trusted: bool = False) -> Iterator[Any]:
    """The records of a file, in its order; what kind of file it is shows at its beginning.

    A record stream, as jobs write it, has (key, value) pairs; a compressed text has its lines, as
    text with their ends; a stream of Disco's whatever was put into it.

    Without `trusted` only plain values are rebuilt, so that reading a result never runs code.
    Raises CorruptRecords, also at the end of a file that was cut short, and UnsafeRecord.
    """
    head = file.read(len(MAGIC))
    if is_disco_stream(head):
        return read_disco(file, trusted=trusted, head=head)
    if lines.MAGIC.startswith(head) and head:
        text = io.BufferedReader(lines.LinesStream(file, head), lines.READ_BYTES)
        return io.TextIOWrapper(text, encoding="utf-8", errors="replace", newline="")
    return chain.from_iterable(map(expand, read_batches(file, trusted=trusted, head=head)))


def chain_reader(
    fd: BinaryIO,
    size: int = 0,  # noqa: ARG001 - a map_reader has these arguments
    url: str = "",  # noqa: ARG001 - likewise
    params: Any = None,  # noqa: ARG001 - likewise
) -> Iterator[Any]:
    """A `map_reader` for results of other jobs and for chunks: each entry is a record."""
    return read_records(fd, trusted=True)
