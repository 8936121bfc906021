"""The map side of jobs with a combiner, with Disco's meaning of it.

`combiner(key, value, buffer, done, params)` sees every record after it was partitioned, with one
dictionary per label to keep things in; what it returns or yields is stored, nothing else. When
the records are over it is called once more per label: `(None, None, buffer, True, params)`.
Emptying the buffer is the combiner's own business, and so is the memory that it takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from peerdisco.dataflow.collect import Labels, Pairs, columns, entry_bytes
from peerdisco.dataflow.format import Batch
from peerdisco.dataflow.segments import Segment, SegmentWriter

Combiner = Callable[[Any, Any, dict[Any, Any], bool, Any], Iterable[tuple[Any, Any]] | None]


class CombiningCollector:
    """The collector of jobs with a combiner."""

    def __init__(
        self,
        segments: SegmentWriter,
        labels: Labels,
        memory_bytes_max: int,
        combiner: Combiner,
        params: Any,
    ) -> None:
        self._segments = segments
        self._labels = labels
        self._memory_bytes_max = memory_bytes_max
        self._combiner = combiner
        self._params = params
        self._buffers: dict[int, dict[Any, Any]] = {}
        self._combined: dict[int, list[tuple[Any, Any]]] = {}
        self._bytes = 0

    def add(self, pairs: Pairs) -> None:
        """Hand a chunk of records to the combiner."""
        keys, values = columns(pairs)
        combiner, params, buffers = self._combiner, self._params, self._buffers
        before = sum(map(len, self._combined.values()))
        for label, key, value in zip(self._labels(keys), keys, values, strict=True):
            buffer = buffers.get(label)
            if buffer is None:
                buffer = buffers[label] = {}
            if (records := combiner(key, value, buffer, False, params)) is not None:
                self._combined.setdefault(label, []).extend(records)
        combined = sum(map(len, self._combined.values())) - before
        self._bytes += combined * entry_bytes(keys, values)
        if self._bytes > self._memory_bytes_max:
            self._segments.spill(self._drain())

    def finish(self) -> list[Segment]:
        """Let the combiner empty its buffers, write what is left and merge."""
        for label in sorted(self._buffers):
            records = self._combiner(None, None, self._buffers[label], True, self._params)
            if records is not None:
                self._combined.setdefault(label, []).extend(records)
        return self._segments.finish(self._drain())

    def _drain(self) -> dict[int, list[Batch]]:
        combined, self._combined, self._bytes = self._combined, {}, 0
        return {
            label: [Batch(*columns(records), None)]
            for label, records in combined.items()
            if records
        }
