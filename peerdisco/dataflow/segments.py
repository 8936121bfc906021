"""The outputs of one task: one record stream per label, spilled when memory runs short.

A spill is a single file with the batches of all labels one after the other, so that a task with
a thousand labels still has one open file. At the end every label's batches are copied, as they
are, from the spills into the label's own stream. Next: `collect.py`, which decides when.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from peerdisco.dataflow.files import Files
from peerdisco.dataflow.format import Batch, BatchEncoder, RecordWriter

_COPY_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Segment:
    """One finished record stream: its label, path, size in bytes and number of records."""

    label: int
    path: str
    size: int
    records: int


class _Extent(NamedTuple):
    spill: str
    offset: int
    size: int
    records: int


class SegmentWriter:
    """Writes the segments of one task into a directory.

    Attributes:
        spills: How many spill files were written.
    """

    def __init__(self, files: Files, directory: str) -> None:
        self._files = files
        self._directory = directory
        self._extents: dict[int, list[_Extent]] = {}
        self.spills = 0

    def spill(self, batches: Mapping[int, Iterable[Batch]]) -> None:
        """Write batches, by label, out of memory. Raises OSError and BadRecord."""
        path = f"{self._directory}/spill-{self.spills}"
        self.spills += 1
        encoder = BatchEncoder()
        offset = 0
        with self._files.open_write(path) as file:
            for label in sorted(batches):
                for batch in batches[label]:
                    for framed, records in encoder.encode(batch):
                        file.write(framed)
                        self._note(label, _Extent(path, offset, len(framed), records))
                        offset += len(framed)

    def finish(self, batches: Mapping[int, Iterable[Batch]]) -> list[Segment]:
        """Write what is still in memory and merge all; the segments in label order."""
        labels = sorted(self._extents.keys() | batches.keys())
        segments = [self._write(label, batches.get(label, ())) for label in labels]
        for number in range(self.spills):
            self._files.remove(f"{self._directory}/spill-{number}")
        return segments

    def _note(self, label: int, extent: _Extent) -> None:
        extents = self._extents.setdefault(label, [])
        if extents and extents[-1].spill == extent.spill:
            whole = extents.pop()
            size, records = whole.size + extent.size, whole.records + extent.records
            extent = _Extent(whole.spill, whole.offset, size, records)
        extents.append(extent)

    def _write(self, label: int, batches: Iterable[Batch]) -> Segment:
        path = f"{self._directory}/{label}"
        with self._files.open_write(path) as file:
            writer = RecordWriter(file)
            for extent in self._extents.get(label, ()):
                self._copy(extent, writer)
            for batch in batches:
                writer.write(batch)
            writer.close()
        return Segment(label, path, writer.size, writer.records)

    def _copy(self, extent: _Extent, writer: RecordWriter) -> None:
        with self._files.open_read(extent.spill) as spill:
            spill.seek(extent.offset)
            left = extent.size
            while left and (piece := spill.read(min(left, _COPY_BYTES))):
                left -= len(piece)
                writer.write_framed(piece, 0)
        if left:
            raise OSError(f"{extent.spill} lost {left} bytes while the task ran")
        writer.write_framed(b"", extent.records)
