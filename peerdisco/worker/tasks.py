"""The two kinds of task: map, from entries to segments, and reduce, from records to one segment.

A task is a generator that pauses between chunks of records, so that whoever drives it can report
progress; nothing here is done once per record. Disco's classic worker defines what the functions
get and when. Next: `service.py`, which drives tasks; `entries.py`, where their input comes from.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from itertools import chain, islice, repeat
from typing import Any

from peerdisco.dataflow.collect import CHUNK_RECORDS, Collector, RunCollector, labeller
from peerdisco.dataflow.combine import CombiningCollector
from peerdisco.dataflow.errors import BadRecord
from peerdisco.dataflow.files import Files
from peerdisco.dataflow.ordering import sorted_records
from peerdisco.dataflow.segments import Segment, SegmentWriter
from peerdisco.util import argument_count
from peerdisco.worker.entries import Entries, Ticks
from peerdisco.worker.functions import BadFunctions, Functions
from peerdisco.worker.messages import RunTask

ENTRIES_PER_STEP = 1024
"""A map task pauses at least this often, also when its function yields next to nothing."""

MAP, REDUCE = "map", "reduce"
"""The stages of a classic job."""


class Task:
    """One attempt at work.

    Attributes:
        entries: Its input, which knows where it is being read.
        records_out: Records produced so far.
    """

    def __init__(self, request: RunTask, functions: Functions, files: Files) -> None:
        self._request = request
        self._assignment = request.assignment
        self._functions = functions
        self._files = files
        self._params = functions.params()
        reader = functions.get(f"{request.assignment.stage_name}_reader")
        self.entries = Entries(files, request.inputs, reader, self._params)
        self.records_out = 0

    @property
    def records_in(self) -> int:
        """Entries read so far."""
        return self.entries.count

    def run(self) -> Generator[None, None, list[Segment]]:
        """Do the work, pausing now and then; the segments in label order.

        Raises what the user's functions raise, BadRecord, CorruptRecords, InputError, OSError.
        """
        if self._assignment.stage_name == MAP:
            return (yield from self._map())
        if self._assignment.stage_name == REDUCE:
            return (yield from self._reduce())
        raise BadFunctions(f"stage {self._assignment.stage_name!r} is neither map nor reduce")

    def _map(self) -> Generator[None, None, list[Segment]]:
        function = self._function(MAP)
        collector = self._map_collector()
        self._initialize("map_init", self.entries.stream)
        results = Ticks()
        while True:
            start, done = self.entries.count, results.count
            group = islice(self.entries.stream, ENTRIES_PER_STEP)
            returned = results.through(map(function, group, repeat(self._params)))
            yield from self._collect(chain.from_iterable(returned), collector)
            entries = self.entries.count - start
            if results.count - done != entries:
                raise BadRecord("map raised StopIteration, which would end its input silently")
            if entries < ENTRIES_PER_STEP:
                return collector.finish()
            yield

    def _reduce(self) -> Generator[None, None, list[Segment]]:
        function = self._function(REDUCE)
        labels = lambda keys: [self._assignment.label] * len(keys)  # noqa: E731 - three words
        collector = RunCollector(
            self._segments(), labels, self._request.memory_bytes_max, ordered=True
        )
        records = self._reduce_input()
        self._initialize("reduce_init", records)
        if argument_count(function) < 3:
            yield from self._collect(iter(function(records, self._params)), collector)
        else:
            out = Out(self, collector)
            function(records, out, self._params)
            out.flush()
        return collector.finish()

    def _reduce_input(self) -> Iterator[Any]:
        if not self._functions.get("sort"):
            return self.entries.stream
        directory = f"{self._request.output_directory}/sort"
        memory = self._request.memory_bytes_max
        return self.entries.counted(
            sorted_records(self.entries.batches(), self._files, directory, memory)
        )

    def _collect(self, records: Iterator[Any], collector: Collector) -> Generator[None, None, None]:
        while pairs := list(islice(records, CHUNK_RECORDS)):
            self.collect(pairs, collector)
            yield

    def collect(self, pairs: list[Any], collector: Collector) -> None:
        """Take a chunk of records."""
        collector.add(pairs)
        self.records_out += len(pairs)

    def _map_collector(self) -> Collector:
        get, params = self._functions.get, self._params
        memory = self._request.memory_bytes_max
        labels = labeller(self._assignment.partitions, get("partition"), params)
        if (combiner := get("combiner")) is not None:
            return CombiningCollector(self._segments(), labels, memory, combiner, params)
        return RunCollector(self._segments(), labels, memory, ordered=self._assignment.final)

    def _segments(self) -> SegmentWriter:
        return SegmentWriter(self._files, self._request.output_directory)

    def _function(self, name: str) -> Any:
        function = self._functions.get(name)
        if not callable(function):
            raise BadFunctions(f"the job has a {name} stage, but no {name} function")
        return function

    def _initialize(self, name: str, records: Iterator[Any]) -> None:
        if (function := self._functions.get(name)) is not None:
            function(records, self._params)


class Out:
    """The `out` of a reduce with three arguments."""

    def __init__(self, task: Task, collector: Collector) -> None:
        self._task = task
        self._collector = collector
        self._pairs: list[tuple[Any, Any]] = []

    def add(self, key: Any, value: Any) -> None:
        """Write one record."""
        self._pairs.append((key, value))
        if len(self._pairs) >= CHUNK_RECORDS:
            self.flush()

    def flush(self) -> None:
        """Hand on what was added since the last time."""
        if self._pairs:
            self._task.collect(self._pairs, self._collector)
            self._pairs = []
