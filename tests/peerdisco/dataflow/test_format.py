"""The record stream: what is written is read back, and damage never passes for data."""

from __future__ import annotations

import io
import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerdisco.dataflow import BadRecord, Batch, CorruptRecords, RecordWriter, is_record_stream
from peerdisco.dataflow.format import MAGIC, read_batches
from peerdisco.dataflow.records import chain_reader, read_records

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def stream_of(*batches: Batch) -> bytes:
    file = io.BytesIO()
    closed = file.close
    file.close = lambda: None  # type: ignore[method-assign]  # so that its bytes can be taken
    writer = RecordWriter(file)
    for batch in batches:
        writer.write(batch)
    writer.close()
    data = file.getvalue()
    assert len(data) == writer.size
    closed()
    return data


def records_of(data: bytes, *, trusted: bool = False) -> list[tuple[Any, Any]]:
    return list(read_records(io.BytesIO(data), trusted=trusted))


@settings(max_examples=60)
@given(st.lists(st.tuples(PLAIN, PLAIN)))
def test_records_come_out_as_they_went_in(records: list[tuple[Any, Any]]) -> None:
    keys, values = [key for key, _ in records], [value for _, value in records]
    out = records_of(stream_of(Batch(keys, values, None)))
    assert repr(records) == repr(out)


def test_counted_records_are_expanded() -> None:
    data = stream_of(Batch(["a", "b"], [1, 2], [3, 1]))
    assert [("a", 1)] * 3 + [("b", 2)] == records_of(data)


def test_an_empty_stream_has_a_head_and_an_end() -> None:
    data = stream_of()
    assert is_record_stream(data)
    assert [] == records_of(data)


def test_a_stream_cut_anywhere_is_never_taken_for_complete() -> None:
    data = stream_of(Batch(["a"], [1], None), Batch(["b"], [2], None))
    for size in range(len(data)):
        with pytest.raises(CorruptRecords):
            records_of(data[:size])


def test_a_changed_byte_anywhere_is_noticed() -> None:
    data = stream_of(Batch(list("abcdef"), list(range(6)), [1, 2, 3, 4, 5, 6]))
    for place in range(len(data)):
        if place in range(len(MAGIC) + 1, len(MAGIC) + 4) or place in range(
            len(data) - 19, len(data) - 16
        ):
            continue  # the padding of the two frames means nothing
        changed = bytearray(data)
        changed[place] ^= 0x10
        with pytest.raises(CorruptRecords):
            records_of(bytes(changed))


def test_bytes_after_the_end_mark_are_damage() -> None:
    with pytest.raises(CorruptRecords, match="end mark"):
        records_of(stream_of() + b"x")


def test_another_version_is_named() -> None:
    with pytest.raises(CorruptRecords, match="version 9"):
        records_of(MAGIC[:-1] + b"\x09" + b"rest")


def test_text_is_no_record_stream() -> None:
    with pytest.raises(CorruptRecords, match="not a record stream"):
        records_of(b"to be or not to be")


def test_batches_stay_small_when_records_are_large() -> None:
    values = [bytes([number]) * 300_000 for number in range(60)]
    data = stream_of(Batch(list(range(60)), values, None))
    sizes = [len(batch.keys) for batch in read_batches(io.BytesIO(data), trusted=False)]
    assert sum(sizes) == 60
    assert max(sizes) < 20


def test_a_value_that_cannot_be_pickled_is_the_users_error() -> None:
    with pytest.raises(BadRecord, match="cannot be pickled"):
        stream_of(Batch(["a"], [threading.Lock()], None))


def test_a_class_of_the_users_program_travels_by_value_among_trusting_processes() -> None:
    class Point:
        def __init__(self, x: int) -> None:
            self.x = x

    data = stream_of(Batch(["a"], [Point(7)], None))
    [(_, point)] = records_of(data, trusted=True)
    assert (7, True) == (point.x, type(point) is Point)


def test_chain_reader_reads_records_as_a_map_reader_does() -> None:
    data = stream_of(Batch(["a"], [1], None))
    assert [("a", 1)] == list(chain_reader(io.BytesIO(data), len(data), "blob:x", None))
