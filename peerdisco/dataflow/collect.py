"""The map side: from the records a function yields to one segment per label.

A collector takes chunks of records (never one record at a time), keeps them run-length encoded
or as plain columns until its memory limit, and then partitions, spills and finally merges them.
It knows nothing of jobs. `combine.py` is its sibling for jobs with a combiner; the reading side
is `records.py` and `ordering.py`.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, Protocol

from peerdisco.dataflow.errors import BadRecord
from peerdisco.dataflow.format import Batch, dumps_columns
from peerdisco.dataflow.keys import labels_of
from peerdisco.dataflow.runs import RunLengths
from peerdisco.dataflow.segments import Segment, SegmentWriter

CHUNK_RECORDS = 2048
"""Records per chunk: large enough to hide the loop around it, small enough for the CPU's cache."""

ENTRY_BYTES = 200
"""What a record costs beside its own content: a pair, a slot in a dictionary or in two lists."""

_SAMPLE = 16

_TEXT = (str, bytes)  # two characters are no pair, whatever unpacking says

_first, _second = itemgetter(0), itemgetter(1)

Pairs = Sequence[tuple[Any, Any]]
Labels = Callable[[Sequence[Any]], Sequence[int]]
"""The labels of a column of keys."""


class Collector(Protocol):
    """Takes a task's records and leaves segments."""

    def add(self, pairs: Pairs) -> None:
        """Take a chunk of records. Raises BadRecord, OSError, and what user functions raise."""

    def finish(self) -> list[Segment]:
        """Write everything; the segments in label order."""


class RunCollector:
    """The collector of jobs without a combiner.

    With `ordered`, the records of a label keep the order in which they came; without, equal
    records are gathered and counted.
    """

    def __init__(
        self,
        segments: SegmentWriter,
        labels: Labels,
        memory_bytes_max: int,
        *,
        ordered: bool = False,
    ) -> None:
        self._segments = segments
        self._labels = labels
        self._memory_bytes_max = memory_bytes_max
        self._bytes = 0
        self._runs = RunLengths()
        self._runs.paying = not ordered
        self._keys: list[Any] = []
        self._values: list[Any] = []

    def add(self, pairs: Pairs) -> None:
        """Take a chunk of records."""
        keys, values = columns(pairs)
        before = self._runs.entries
        if self._runs.paying and self._runs.add(pairs, keys, values):
            added = self._runs.entries - before
        else:
            self._keys += keys
            self._values += values
            added = len(keys)
        self._bytes += added * entry_bytes(keys, values)
        if self._bytes > self._memory_bytes_max:
            self._segments.spill(self._drain())

    def finish(self) -> list[Segment]:
        """Write what is left and merge."""
        return self._segments.finish(self._drain())

    def _drain(self) -> dict[int, list[Batch]]:
        batches: dict[int, list[Batch]] = {}
        for batch in self._runs.drain():
            split(batch, self._labels(batch.keys), batches)
        if self._keys:
            raw = Batch(self._keys, self._values, None)
            split(raw, self._labels(self._keys), batches)
        self._keys, self._values, self._bytes = [], [], 0
        return batches


def columns(pairs: Pairs) -> tuple[list[Any], list[Any]]:
    """Keys and values of records. Raises BadRecord for what is not a pair."""
    try:
        keys, values = list(map(_first, pairs)), list(map(_second, pairs))
        # Every record has an index 1, hence at least two fields: so the sum tells of a third.
        if sum(map(len, pairs)) == 2 * len(pairs) and not isinstance(next(iter(pairs), ()), _TEXT):
            return keys, values
    except (TypeError, IndexError, KeyError):
        pass
    odd = next(pair for pair in pairs if not _is_pair(pair))
    raise BadRecord(f"a record must be a pair (key, value), not {odd!r:.100}")


def _is_pair(pair: Any) -> bool:
    try:
        return len(pair) == 2 and not isinstance(pair, _TEXT) and (pair[0], pair[1]) is not None
    except (TypeError, IndexError, KeyError):
        return False


def entry_bytes(keys: Sequence[Any], values: Sequence[Any]) -> int:
    """Roughly how much memory one of these records takes, from a sample of them."""
    step = max(1, len(keys) // _SAMPLE)
    sample = Batch(keys[::step], values[::step], None)
    try:
        size = len(pickle.dumps(sample[:2], 5))
    except Exception:
        size = len(dumps_columns(sample))
    return ENTRY_BYTES + 3 * size // max(1, len(sample.keys))


def labeller(
    partitions: int, partition: Callable[[Any, int, Any], int] | None, params: Any
) -> Labels:
    """How a job labels its keys; everything is 0 in a job without partitions."""
    if partitions > 0 and partition is not None:
        return lambda keys: [int(partition(key, partitions, params)) for key in keys]
    if partitions > 1:
        return lambda keys: labels_of(keys, partitions)
    return lambda keys: [0] * len(keys)


def split(batch: Batch, labels: Sequence[int], into: dict[int, list[Batch]]) -> None:
    """Cut a batch by the labels of its keys, keeping its order within each label."""
    if labels.count(labels[0]) == len(labels):
        into.setdefault(labels[0], []).append(batch)
        return
    indexes: dict[int, list[int]] = {}
    for index, label in enumerate(labels):
        indexes.setdefault(label, []).append(index)
    for label, chosen in indexes.items():
        picked = [None if column is None else _pick(column, chosen) for column in batch]
        into.setdefault(label, []).append(Batch(*picked))  # type: ignore[arg-type]  # only counts may be None


def _pick(column: Sequence[Any], indexes: list[int]) -> list[Any]:
    return [column[indexes[0]]] if len(indexes) == 1 else list(itemgetter(*indexes)(column))
