"""Compressed texts and Disco's own streams: written, read in both ways, and damaged."""

from __future__ import annotations

import io
import pickle
import struct
import zlib
from collections import OrderedDict
from typing import BinaryIO

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from peerdisco.dataflow import CorruptRecords, UnsafeRecord, read_records
from peerdisco.dataflow.disco_format import DiscoWriter, is_disco_stream, read_disco
from peerdisco.dataflow.lines import LinesFile, LinesStream, LinesWriter, decoded, is_lines


def compressed(*frames: bytes) -> bytes:
    file = io.BytesIO()
    writer = LinesWriter(file)
    for frame in frames:
        writer.write(frame)
    writer.close()
    assert writer.size == sum(map(len, frames))
    return file.getvalue()


class Trickle(io.RawIOBase):
    """A file that gives a few bytes at a time, as a network does."""

    def __init__(self, data: bytes, step: int) -> None:
        self._file, self._step = io.BytesIO(data), step

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        return self._file.read(self._step if size < 0 else min(size, self._step))


def stream(data: bytes) -> BinaryIO:
    return io.BufferedReader(LinesStream(io.BytesIO(data)))


@settings(max_examples=50, deadline=None)
@given(
    frames=st.lists(st.binary(min_size=1, max_size=2000), max_size=6),
    step=st.integers(1, 50),
    cuts=st.lists(st.integers(0, 9000), max_size=6),
)
def test_a_compressed_text_is_read_from_beginning_to_end_and_from_anywhere(
    frames: list[bytes], step: int, cuts: list[int]
) -> None:
    text, data = b"".join(frames), compressed(*frames)
    assert is_lines(data[:16])
    assert io.BufferedReader(LinesStream(Trickle(data, step))).read() == text  # type: ignore[arg-type]  # as much of a file as it needs
    with io.BufferedReader(LinesFile(io.BytesIO(data)), 64) as file:
        for cut in cuts:
            file.seek(min(cut, len(text)))
            assert file.read(100) == text[cut : cut + 100]
        assert file.seek(-min(5, len(text)), io.SEEK_END) == max(0, len(text) - 5)
        assert file.read() == text[max(0, len(text) - 5) :]


def test_every_zstd_tool_decompresses_a_compressed_text() -> None:
    data = compressed(b"one\n" * 1000, b"two\n")
    reader = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data), read_across_frames=True)
    assert reader.read() == b"one\n" * 1000 + b"two\n"


def test_only_our_own_chunks_are_decoded() -> None:
    stored = zstandard.compress(b"somebody's own archive")
    for data in (stored, b"", b"text\n"):
        file, size = decoded(io.BytesIO(data))
        assert (file.read(), size) == (data, len(data))
    file, size = decoded(io.BytesIO(compressed(b"a\n", b"bc\n")))
    assert (file.read(), size) == (b"a\nbc\n", 5)


@pytest.mark.parametrize("place", [20, 40, 60, -1, -6, -12])
def test_damage_is_noticed(place: int) -> None:
    data = bytearray(compressed(b"some text\n" * 50, b"more of it\n" * 50))
    data[place] ^= 0x55
    with pytest.raises(CorruptRecords):
        LinesFile(io.BytesIO(bytes(data))).read()


def test_a_compressed_text_that_was_cut_short_never_looks_complete() -> None:
    data = compressed(b"some text\n" * 50, b"more of it\n" * 50)
    for size in range(16, len(data), 7):
        with pytest.raises(CorruptRecords):
            LinesFile(io.BytesIO(data[:size])).read()
        with pytest.raises(CorruptRecords):
            stream(data[:size]).read()
    with pytest.raises(CorruptRecords, match="follows"):
        stream(data + data).read()


def test_records_of_every_kind_of_chunk_are_read_by_one_function() -> None:
    text = "one\nzwölf\r\nthree".encode()
    assert list(read_records(io.BytesIO(compressed(text)))) == ["one\n", "zwölf\r\n", "three"]
    file = io.BytesIO()
    writer = DiscoWriter(file)
    for record in ("zwölf\n".encode(), ("a", 1), b"\xff\n"):
        writer.write(record)
    writer.close()
    assert is_disco_stream(file.getvalue())
    records = list(read_records(io.BytesIO(file.getvalue())))
    assert records == ["zwölf\n", ("a", 1), "\udcff\n"]
    with pytest.raises(CorruptRecords, match="not a record stream"):
        list(read_records(io.BytesIO(b"plain text, and more of it")))


def disco_hunk(data: bytes, *, compress: bool) -> bytes:
    """A hunk as Disco 0.5 writes it, put together by hand."""
    stored = zlib.compress(data, 2) if compress else data
    return struct.pack("<BBIQ", 129, compress, zlib.crc32(data), len(stored)) + stored


@pytest.mark.parametrize("compress", [True, False])
def test_streams_that_disco_wrote_are_read(compress: bool) -> None:
    python2 = b"(U\x05hellop1\nI3\ntp2\n."
    python3 = pickle.dumps(("word", 2), 1) + pickle.dumps("x" * 300, 1)
    data = disco_hunk(python2, compress=compress) + disco_hunk(python3, compress=compress)
    data += disco_hunk(b"", compress=compress)
    expected = [("hello", 3), ("word", 2), "x" * 300]
    assert list(read_disco(io.BytesIO(data), trusted=False)) == expected
    # Disco joins streams by putting one behind the other.
    assert list(read_disco(io.BytesIO(data * 2), trusted=True)) == expected * 2


def test_many_records_make_several_hunks() -> None:
    file = io.BytesIO()
    writer = DiscoWriter(file)
    lines = [b"%09d\n" % number * 100 for number in range(3000)]
    for line in lines:
        writer.write(line)
    writer.close()
    assert list(read_disco(io.BytesIO(file.getvalue()), trusted=False)) == [
        line.decode() for line in lines
    ]
    assert writer.size == len(file.getvalue())


def test_a_damaged_stream_of_disco_says_where() -> None:
    good = disco_hunk(pickle.dumps("a", 1), compress=True)
    bad = bytearray(disco_hunk(pickle.dumps("b", 1), compress=False))
    for data, word in [
        (good + bytes(bad[:-1]), f"cut short in the hunk at byte {len(good)}"),
        (good + bytes(bad[:5]), f"cut short at byte {len(good)}"),
        (good + b"no hunk begins here", f"no hunk at byte {len(good)}"),
        (good + bytes(bad[:-1]) + b"X", "fails its checksum"),
        (disco_hunk(b"", compress=False)[:-8] + struct.pack("<Q", 1 << 40), "no hunk"),
    ]:
        with pytest.raises(CorruptRecords, match=word):
            list(read_disco(io.BytesIO(data), trusted=True))


def test_a_stream_of_disco_is_no_way_to_run_code() -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return print, ("owned",)

    data = disco_hunk(pickle.dumps(Evil(), 1), compress=True)
    with pytest.raises(UnsafeRecord):
        list(read_disco(io.BytesIO(data), trusted=False))
    harmless = disco_hunk(pickle.dumps(OrderedDict(a=1), 1), compress=True)
    assert list(read_disco(io.BytesIO(harmless), trusted=False)) == [OrderedDict(a=1)]
