"""Files in a dictionary, and how to read what was written there."""

from __future__ import annotations

import io
from typing import Any, BinaryIO

import pytest

from peerdisco.dataflow import read_records
from peerdisco.dataflow.segments import Segment


class _Written(io.BytesIO):
    def __init__(self, files: MemoryFiles, path: str) -> None:
        super().__init__()
        self._files, self._path = files, path

    def close(self) -> None:
        if not self.closed:
            self._files.contents[self._path] = self.getvalue()
        super().close()


class MemoryFiles:
    """`Files` without a disk."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}

    def open_read(self, path: str) -> BinaryIO:
        if path not in self.contents:
            raise FileNotFoundError(path)
        return io.BytesIO(self.contents[path])

    def open_write(self, path: str) -> BinaryIO:
        return _Written(self, path)

    def remove(self, path: str) -> None:
        self.contents.pop(path, None)

    def records(self, segment: Segment) -> list[tuple[Any, Any]]:
        """The records of a segment, in file order."""
        return list(read_records(self.open_read(segment.path), trusted=True))


@pytest.fixture
def files() -> MemoryFiles:
    return MemoryFiles()
