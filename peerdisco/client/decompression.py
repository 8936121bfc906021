"""Compressed inputs: known by how they begin, whatever their names, and read as what is in them.

One that was cut short or damaged is an error, never a shorter input.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from peerdisco.client.errors import BadInput
from peerdisco.dataflow.errors import CorruptRecords
from peerdisco.dataflow.lines import LinesStream

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

HEAD_BYTES = 6
READ_BYTES = 1 << 20
DAMAGES = (EOFError, zlib.error, lzma.LZMAError, CorruptRecords)
"""What decompressing raises, beside OSErrors that have no number."""


def is_compressed(path: Path) -> bool:
    """Whether a file begins like a compressed one."""
    with path.open("rb") as file:
        return _is_compressed(file.read(HEAD_BYTES))


@contextmanager
def decompressed(file: BinaryIO, name: str) -> Iterator[BinaryIO]:
    """What is in a file, compressed or not. Damage found inside the block raises BadInput."""
    head = file.read(HEAD_BYTES)
    rest = cast("BinaryIO", io.BufferedReader(_Rest(head, file), READ_BYTES))
    try:
        yield _opened(head, rest)
    except (OSError, *DAMAGES) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise BadInput(f"{name} is damaged or cut short: {error}") from error


def _opened(head: bytes, file: BinaryIO) -> BinaryIO:
    if head.startswith(b"\x1f\x8b"):
        return cast("BinaryIO", gzip.GzipFile(fileobj=file))
    if head.startswith(b"BZh"):
        return cast("BinaryIO", bz2.BZ2File(file))
    if head.startswith(b"\xfd7zXZ\x00"):
        return cast("BinaryIO", lzma.LZMAFile(file))
    if _is_zstd(head):
        return cast("BinaryIO", io.BufferedReader(LinesStream(file, any_zstd=True), READ_BYTES))
    return file


def _is_compressed(head: bytes) -> bool:
    return head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00")) or _is_zstd(head)


def _is_zstd(head: bytes) -> bool:
    """A frame, or a skippable one, of which a file may begin with several."""
    return head.startswith(b"\x28\xb5\x2f\xfd") or (
        head[1:4] == b"\x2a\x4d\x18" and head[0] >> 4 == 5
    )


class _Rest(io.RawIOBase):
    """A file of which the beginning was read already."""

    def __init__(self, head: bytes, file: BinaryIO) -> None:
        self._head = head
        self._file = file
        self._position = 0

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        data = self._head[: len(view)] or self._file.read(len(view)) or b""
        self._head = self._head[len(data) :]
        view[: len(data)] = data
        self._position += len(data)
        return len(data)
