"""Reading records: what clients, map readers and reduce functions iterate over.

Order between inputs means nothing. See `ordering.py` for sorted input.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any, BinaryIO

from peerdisco.dataflow.format import read_batches
from peerdisco.dataflow.runs import expand


def read_records(file: BinaryIO, *, trusted: bool = False) -> Iterator[tuple[Any, Any]]:
    """The (key, value) pairs of a record stream, in stream order.

    Without `trusted` only plain values are rebuilt, so that reading a result never runs code.
    Raises CorruptRecords, also at the end of a stream that was cut short, and UnsafeRecord.
    """
    return chain.from_iterable(map(expand, read_batches(file, trusted=trusted)))


def chain_reader(
    fd: BinaryIO,
    size: int = 0,  # noqa: ARG001 - a map_reader has these arguments
    url: str = "",  # noqa: ARG001 - likewise
    params: Any = None,  # noqa: ARG001 - likewise
) -> Iterator[tuple[Any, Any]]:
    """A `map_reader` for inputs that are results of other jobs: each entry is a record."""
    return read_records(fd, trusted=True)
