"""Cutting a stream at line ends."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerdisco_webui.chunks import LineTooLong, chunks_of_lines


async def pieces_of(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


@settings(max_examples=100)
@given(
    st.lists(st.binary(max_size=12).map(lambda line: line.replace(b"\n", b"")), max_size=30),
    st.booleans(),
    st.integers(1, 40),
    st.integers(1, 17),
)
async def test_chunks_join_to_the_text_and_never_split_a_line(
    lines: list[bytes], ends: bool, size: int, piece: int
) -> None:
    text = b"\n".join(lines) + (b"\n" if ends and lines else b"")
    chunks = [chunk async for chunk in chunks_of_lines(pieces_of(text, piece), size)]
    assert b"".join(chunks) == text
    assert all(chunk.endswith(b"\n") and len(chunk) >= size for chunk in chunks[:-1])
    for chunk in chunks[:-1]:
        assert b"\n" not in chunk[size - 1 : -1]
    assert b"" not in chunks


async def test_a_line_without_end_is_refused() -> None:
    with pytest.raises(LineTooLong):
        async for _ in chunks_of_lines(pieces_of(b"x" * 200, 10), 20, line_max=50):
            pass
