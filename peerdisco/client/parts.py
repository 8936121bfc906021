"""The bytes of a tag as one file that can be read from any place, without reading the rest.

A tag's entries follow each other in the order in which they stand in it, newest first; of chunks
of lines it is the text that counts. Sizes and tables never change, so each is asked for once.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import partial
from itertools import accumulate

from peerdisco.client.cluster import Cluster
from peerdisco.client.errors import BadInput
from peerdisco.client.names import BLOB_SCHEME
from peerdisco.dataflow.lines import MAGIC, Frames, is_lines

PARTS_CACHED_MAX = 4096


class Part:
    """One blob: its bytes, or of a chunk of lines the text in it.

    Attributes:
        size: Bytes that a reader sees.
    """

    def __init__(self, cluster: Cluster, blob: str) -> None:
        self._read_blob = partial(_read, cluster, blob)
        stored = cluster.blob_size(blob)
        head = self._read_blob(0, min(len(MAGIC), stored))
        self._frames = Frames(self._read_blob, stored) if is_lines(head) else None
        self.size = stored if self._frames is None else self._frames.size

    def read(self, start: int, stop: int) -> bytes:
        """The bytes from one place to before another. Raises CorruptRecords."""
        if self._frames is None:
            return self._read_blob(start, stop - start)
        begin, text = self._frames.text(start, stop)
        return text[start - begin : stop - begin]


class Parts:
    """The parts of tags; those that were opened lately are kept."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._known: dict[str, Part] = {}

    def of(self, entries: Sequence[Sequence[str]]) -> Whole:
        """The entries of a tag as one. Raises BadInput for one that is not in the cluster."""
        return Whole([self._part(entry) for entry in entries])

    def _part(self, entry: Sequence[str]) -> Part:
        blob = next((url for url in entry if url.startswith(BLOB_SCHEME)), None)
        if blob is None:
            raise BadInput(f"{entry[0]:.100} is no blob of the cluster, and only these are files")
        part = self._known.pop(blob, None)
        if part is None:
            part = Part(self._cluster, blob.removeprefix(BLOB_SCHEME))
        self._known[blob] = part
        if len(self._known) > PARTS_CACHED_MAX:
            del self._known[next(iter(self._known))]
        return part


class Whole:
    """Several parts as one file.

    Attributes:
        size: Of all together.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = [part for part in parts if part.size]
        self._starts = [0, *accumulate(part.size for part in self._parts)]
        self.size = self._starts[-1]

    def read(self, start: int, stop: int) -> bytes:
        """The bytes from one place to before another, or the end."""
        found = []
        stop = min(stop, self.size)
        while start < stop:
            number = bisect_right(self._starts, start) - 1
            begin, end = self._starts[number : number + 2]
            found.append(self._parts[number].read(start - begin, min(stop, end) - begin))
            start = end
        return b"".join(found)


def _read(cluster: Cluster, blob: str, start: int, size: int) -> bytes:
    if not size:
        return b""
    with cluster.open_blob(blob, start=start, stop=start + size) as file:
        return file.read()
