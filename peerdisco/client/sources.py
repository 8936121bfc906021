"""What can be stored: files, URLs and open files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, cast
from urllib.parse import unquote, urlsplit

from peerdisco.client.cluster import Cluster
from peerdisco.client.names import has_scheme

File = str | Path | IO[bytes]
"""What can be stored: a path, a URL, or an open binary file."""


@dataclass(frozen=True, slots=True)
class Source:
    """One input.

    Attributes:
        file: As given; a `file://` URL is its path.
        name: For messages.
    """

    file: File
    name: str

    @property
    def path(self) -> Path | None:
        """Where the bytes are on this machine; None when they are not in a file."""
        if isinstance(self.file, Path):
            return self.file
        return Path(self.file) if isinstance(self.file, str) and not has_scheme(self.file) else None

    @contextmanager
    def open(self, cluster: Cluster) -> Iterator[BinaryIO]:
        """The bytes as they are. A file that was handed in open stays open."""
        if self.path is not None:
            with self.path.open("rb") as file:
                yield file
        elif isinstance(self.file, str):
            from peerdisco.client.results import open_url

            with open_url(cluster, self.file)[0] as remote:
                yield cast("BinaryIO", remote)
        else:
            yield cast("BinaryIO", self.file)


def sources_of(files: File | list[File]) -> list[Source]:
    """Inputs in the order given. Raises OSError for a path that cannot be opened."""
    listed = files if isinstance(files, list) else [files]
    return [_source(file) for file in listed]


def _source(file: File) -> Source:
    if isinstance(file, str) and file.startswith("file://"):
        file = unquote(urlsplit(file).path)
    source = Source(file, str(getattr(file, "name", file)))
    if source.path is not None:
        with source.path.open("rb"):
            pass
    return source
