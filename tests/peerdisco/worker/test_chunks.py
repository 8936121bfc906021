"""Chunks as maps see them: compressed texts, and streams in Disco's format."""

from __future__ import annotations

import io
from typing import Any

import pytest

from peerdisco.dataflow.disco_format import DiscoWriter
from peerdisco.dataflow.lines import LinesWriter
from peerdisco.dataflow.records import chain_reader

LINES = ["one\n", "zwei\n", "trois\n"]


def entries(entry: Any, params: Any) -> Any:
    yield entry, 1


def compressed(*frames: bytes) -> bytes:
    file = io.BytesIO()
    writer = LinesWriter(file)
    for frame in frames:
        writer.write(frame)
    writer.close()
    return file.getvalue()


def disco(*records: object) -> bytes:
    file = io.BytesIO()
    writer = DiscoWriter(file)
    for record in records:
        writer.write(record)
    writer.close()
    return file.getvalue()


@pytest.mark.parametrize("reader", [None, chain_reader])
@pytest.mark.parametrize(
    "chunk",
    [compressed(b"one\nzwei\n", b"trois\n"), disco(b"one\n", "zwei\n", b"trois\n")],
    ids=["compressed", "disco"],
)
def test_a_map_gets_the_lines_in_a_chunk(bench: Any, reader: Any, chunk: bytes) -> None:
    functions = {"map": entries} | ({"map_reader": reader} if reader else {})
    outcome = bench.map(functions, bench.text(chunk), final=True)
    assert [(line, 1) for line in LINES] == bench.records(outcome)


def test_a_map_reader_gets_the_text_in_a_chunk_and_its_size(bench: Any) -> None:
    def reader(fd: Any, size: int, url: str) -> Any:
        fd.seek(-6, 2)
        yield from (size, fd.read(), fd.seek(0), fd.read(4))

    functions = {"map": entries, "map_reader": reader}
    outcome = bench.map(functions, bench.text(compressed(b"one\nzwei\n", b"trois\n")), final=True)
    assert [15, b"trois\n", 0, b"one\n"] == [entry for entry, _ in bench.records(outcome)]


def test_records_of_disco_are_entries_as_they_are(bench: Any) -> None:
    outcome = bench.map({"map": entries}, bench.text(disco(("a", 1), [2.5])), final=True)
    assert [(("a", 1), 1), ([2.5], 1)] == bench.records(outcome)


def test_a_sorting_reduce_takes_chunks_too(bench: Any) -> None:
    def reduce(records: Any, params: Any) -> Any:
        yield from records

    functions = {"reduce": reduce, "sort": True}
    outcome = bench.reduce(functions, bench.text(disco(("b", 1), ("a", 2))), final=True)
    assert [("a", 2), ("b", 1)] == bench.records(outcome)
