"""Compressed texts: what a chunk of lines looks like on a disk and on a wire.

A chunk is a series of zstd frames of about a MiB of whole lines each, every one with its size and
a checksum, so that any part can be read without what is before it. It is also a file of the zstd
seekable format (a table of the frames stands at its end), which every zstd tool decompresses.

    head   16 bytes  a skippable frame that says what this is: MAGIC
    frames           zstd level 1, at most FRAME_BYTES_MAX each
    table            a skippable frame: sizes of all frames, then their number and SEEKABLE

The head tells such a chunk from a `.zst` file that somebody stored as it is: that one stays as it
is. Records that are no lines are in `format.py`.
"""

from __future__ import annotations

import io
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, BinaryIO

import zstandard

from peerdisco.dataflow.errors import CorruptRecords

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

SKIPPABLE = 0x184D2A50
SKIPPABLE_HEAD, SKIPPABLE_TABLE, SEEKABLE = 0x184D2A5D, 0x184D2A5E, 0x8F92EAB1
MAGIC = struct.pack("<II", SKIPPABLE_HEAD, 8) + b"pdlines\x01"
FRAME_BYTES = 1 << 20
"""A frame ends with the first line that reaches this..."""
FRAME_BYTES_MAX = 1 << 30
"""...and no line, so no frame, is longer than this."""
FRAMES_MAX = 1 << 22
READ_BYTES = 1 << 18

ReadAt = Callable[[int, int], bytes]

_ENTRY = struct.Struct("<II")
_FOOTER = struct.Struct("<IBI")


class LinesWriter:
    """Writes one chunk.

    Attributes:
        size: Bytes of text so far.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._compressor = zstandard.ZstdCompressor(level=1, write_checksum=True)
        self._table = [(file.write(MAGIC), 0)]
        self.size = 0

    def write(self, lines: bytes) -> None:
        """Append whole lines as one frame."""
        assert len(lines) <= FRAME_BYTES_MAX
        self._table.append((self._file.write(self._compressor.compress(lines)), len(lines)))
        self.size += len(lines)

    def close(self) -> None:
        """Write the table; the file stays open."""
        entries = b"".join(_ENTRY.pack(*entry) for entry in self._table)
        footer = _FOOTER.pack(len(self._table), 0, SEEKABLE)
        head = struct.pack("<II", SKIPPABLE_TABLE, len(entries) + len(footer))
        self._file.write(head + entries + footer)


def is_lines(head: bytes) -> bool:
    """Whether a file that begins with these bytes (16 or more) is a compressed text."""
    return head.startswith(MAGIC)


class Frames:
    """Where the frames of a chunk are, and what they hold: for reading any part of the text.

    Args:
        read_at: Reads so many bytes of the chunk at a place; short only at its end.
        end: Size of the chunk.

    Attributes:
        size: Bytes of text.

    Raises CorruptRecords.
    """

    def __init__(self, read_at: ReadAt, end: int) -> None:
        self._read_at = read_at
        stored, text = _read_table(self._read, end)
        self._stored = [0, *accumulate(stored)]
        self._text = [0, *accumulate(text)]
        self._decompressor = zstandard.ZstdDecompressor()
        self.size = self._text[-1]

    def text(self, start: int, stop: int) -> tuple[int, bytes]:
        """The text of all frames that hold a part of that range, and where it begins."""
        first = bisect_right(self._text, start) - 1
        last = max(first + 1, bisect_left(self._text, min(stop, self.size)))
        place = self._stored[first]
        data = memoryview(self._read(place, self._stored[last] - place))
        parts = []
        for number in range(first, last):
            begin, end = (self._stored[each] - place for each in (number, number + 1))
            parts.append(self._decompress(number, data[begin:end]))
        return self._text[first], parts[0] if len(parts) == 1 else b"".join(parts)

    def _read(self, start: int, size: int) -> bytes:
        data = self._read_at(start, size) if start >= 0 else b""
        if len(data) != size:
            raise CorruptRecords("a compressed text is cut short")
        return data

    def _decompress(self, number: int, stored: memoryview) -> bytes:
        size = self._text[number + 1] - self._text[number]
        try:
            if zstandard.frame_content_size(stored) != size:
                raise CorruptRecords("a compressed text is damaged: its table is wrong")
            return self._decompressor.decompress(stored)
        except zstandard.ZstdError as error:
            raise CorruptRecords(f"a compressed text is damaged: {error}") from None


class LinesFile(io.RawIOBase):
    """The text in a chunk, as a file that can be read from any place.

    Args:
        file: The chunk; it must be seekable, and is closed together with this one.

    Raises CorruptRecords, at once or when the damaged part is read.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._frames = Frames(partial(_read_at, file), file.seek(0, io.SEEK_END))
        self._position = 0
        self._begin, self._text = 0, b""

    @property
    def size(self) -> int:
        """Bytes of text."""
        return self._frames.size

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to a place in the text."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise ValueError("negative position")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """The place in the text."""
        return self._position

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read from the frame at the position; 0 at the end."""
        view = memoryview(buffer).cast("B")
        if self._position >= self.size or not view:
            return 0
        if not self._begin <= self._position < self._begin + len(self._text):
            self._begin, self._text = self._frames.text(self._position, self._position + 1)
        start = self._position - self._begin
        part = memoryview(self._text)[start : start + len(view)]
        view[: len(part)] = part
        self._position += len(part)
        return len(part)

    def close(self) -> None:
        """Close the chunk too."""
        self._file.close()
        super().close()


def decoded(file: BinaryIO) -> tuple[BinaryIO, int]:
    """A seekable file, or the text in it when it is a chunk of lines; and the size of either.

    Both stand at their beginning. Raises CorruptRecords.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    head = file.read(len(MAGIC))
    file.seek(0)
    if not is_lines(head):
        return file, size
    lines = LinesFile(file)
    return io.BufferedReader(lines, FRAME_BYTES), lines.size


class LinesStream(io.RawIOBase):
    """The text in a chunk that is read once, from its beginning to its end.

    Args:
        file: The chunk; it is closed together with this one.
        head: What was read of it already.
        any_zstd: Whether any other zstd file will do as well.

    Raises CorruptRecords, also at the end when the chunk was cut short.
    """

    def __init__(self, file: BinaryIO, head: bytes = b"", *, any_zstd: bool = False) -> None:
        self._file = file
        self._blocks = _blocks(file, head, any_zstd=any_zstd)
        self._block = memoryview(b"")

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read what the next block has; 0 at the end."""
        view = memoryview(buffer).cast("B")
        if not self._block:
            self._block = memoryview(next(self._blocks, b""))
        part = self._block[: len(view)]
        view[: len(part)] = part
        self._block = self._block[len(part) :]
        return len(part)

    def close(self) -> None:
        """Close the chunk too."""
        self._file.close()
        super().close()


def _blocks(file: BinaryIO, data: bytes, *, any_zstd: bool) -> Iterator[bytes]:
    """The text in a chunk, frame by frame."""
    ended = any_zstd
    while data := data or file.read(READ_BYTES):
        if ended and not any_zstd:
            raise CorruptRecords("a compressed text is damaged: something follows its table")
        data = _fill(file, data, 8)
        magic, size = struct.unpack_from("<II", data)
        if magic & ~0xF == SKIPPABLE:
            data = _fill(file, data, 8 + size)[8 + size :]
            ended = any_zstd or magic == SKIPPABLE_TABLE
            continue
        frame = zstandard.ZstdDecompressor().decompressobj()
        try:
            while not frame.eof:
                if text := frame.decompress(data):
                    yield text
                data = b"" if frame.eof else _fill(file, b"", 1)
        except zstandard.ZstdError as error:
            raise CorruptRecords(f"a compressed text is damaged: {error}") from None
        data = frame.unused_data
    if not ended:
        raise CorruptRecords("a compressed text is cut short: it has no table")


def _fill(file: BinaryIO, data: bytes, size: int) -> bytes:
    """The data, with so much more from the file that it has the size at least."""
    parts = [data]
    length = len(data)
    while length < size:
        part = file.read(max(READ_BYTES, size - length))
        if not part:
            raise CorruptRecords("a compressed text is cut short")
        parts.append(part)
        length += len(part)
    return b"".join(parts)


def _read_table(read: ReadAt, end: int) -> tuple[list[int], list[int]]:
    """Stored sizes and sizes of text of all frames."""
    start = end - _FOOTER.size
    frames, flags, magic = _FOOTER.unpack(read(start, _FOOTER.size))
    if magic != SEEKABLE or flags or not 0 < frames <= FRAMES_MAX:
        raise CorruptRecords("a compressed text is damaged or cut short: it has no table")
    start -= frames * _ENTRY.size
    entries = list(_ENTRY.iter_unpack(read(start, frames * _ENTRY.size)))
    stored, text = [entry[0] for entry in entries], [entry[1] for entry in entries]
    if sum(stored) != start - 8 or text[0] or max(text) > FRAME_BYTES_MAX:
        raise CorruptRecords("a compressed text is damaged: its table is wrong")
    return stored, text


def _read_at(file: BinaryIO, start: int, size: int) -> bytes:
    file.seek(start)
    return file.read(size)
