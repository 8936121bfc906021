"""Cuts a stream of text into chunks that end on line ends, so that no record is split."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

CHUNK_BYTES = 32 << 20
"""A chunk ends at the first line end after this many bytes."""
LINE_BYTES_MAX = 32 << 20


class LineTooLong(ValueError):
    """A line exceeds LINE_BYTES_MAX; the stream is hardly text."""


async def chunks_of_lines(
    source: AsyncIterator[bytes], size: int = CHUNK_BYTES, line_max: int = LINE_BYTES_MAX
) -> AsyncGenerator[bytes, None]:
    """Chunks of at least `size` bytes that end with a line end; the last one may do neither.

    Holds one chunk in memory. An empty stream yields nothing. Raises LineTooLong.
    """
    chunk = bytearray()
    async for piece in source:
        searched = max(len(chunk), size - 1)
        chunk += piece
        while (end := chunk.find(b"\n", searched) + 1) > 0:
            yield bytes(chunk[:end])
            del chunk[:end]
            searched = size - 1
        if len(chunk) > size + line_max:
            raise LineTooLong(f"a line is longer than {line_max} bytes")
    if chunk:
        yield bytes(chunk)
