"""The reduce side: sorted input, in memory if it fits and through files if not.

Rows are distinct records with their counts; they are expanded only after sorting. Runs are
merged by `list.sort` over their concatenation, which finds and merges ordered runs at twice the
speed of a heap; only what exceeds the memory limit goes through files and a heap.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from itertools import chain, repeat
from operator import itemgetter
from typing import Any

from peerdisco.dataflow.collect import entry_bytes
from peerdisco.dataflow.errors import BadRecord
from peerdisco.dataflow.files import Files
from peerdisco.dataflow.format import Batch, RecordWriter, read_batches

Row = tuple[Any, Any, int]

_key, _value, _count = itemgetter(0), itemgetter(1), itemgetter(2)
_BATCH_ROWS = 4096


def sorted_records(
    batches: Iterable[Batch], files: Files, directory: str, memory_bytes_max: int
) -> Iterator[tuple[Any, Any]]:
    """All records in ascending order of their keys; equal keys keep no particular order.

    Raises BadRecord when keys cannot be compared, OSError of the files. The caller removes the
    directory.
    """
    rows: list[Row] = []
    held, runs = 0, 0
    for batch in batches:
        counts = repeat(1, len(batch.keys)) if batch.counts is None else batch.counts
        rows.extend(zip(batch.keys, batch.values, counts, strict=True))
        held += len(batch.keys) * entry_bytes(batch.keys, batch.values) if batch.keys else 0
        if held > memory_bytes_max:
            _write_run(_sort(rows), files, f"{directory}/run-{runs}")
            rows, held, runs = [], 0, runs + 1
    last = _sort(rows)
    if not runs:
        return expand_rows(last)
    spilled = [_read_run(files, f"{directory}/run-{number}") for number in range(runs)]
    return _expand_lazily(heapq.merge(*spilled, last, key=_key))


def expand_rows(rows: list[Row]) -> Iterator[tuple[Any, Any]]:
    """The records of rows, without a step of Python's per record."""
    pairs = zip(map(_key, rows), map(_value, rows), strict=True)
    return chain.from_iterable(map(repeat, pairs, map(_count, rows)))


def _expand_lazily(rows: Iterable[Row]) -> Iterator[tuple[Any, Any]]:
    return chain.from_iterable(repeat((key, value), count) for key, value, count in rows)


def _sort(rows: list[Row]) -> list[Row]:
    try:
        rows.sort(key=_key)
    except TypeError as error:
        raise BadRecord(f"sort=True needs keys that can be compared: {error}") from error
    return rows


def _write_run(rows: list[Row], files: Files, path: str) -> None:
    with files.open_write(path) as file:
        writer = RecordWriter(file)
        for start in range(0, len(rows), _BATCH_ROWS):
            part = rows[start : start + _BATCH_ROWS]
            keys, values = list(map(_key, part)), list(map(_value, part))
            writer.write(Batch(keys, values, list(map(_count, part))))
        writer.close()


def _read_run(files: Files, path: str) -> Iterator[Row]:
    with files.open_read(path) as file:
        for batch in read_batches(file, trusted=True):
            assert batch.counts is not None
            yield from zip(batch.keys, batch.values, batch.counts, strict=True)
