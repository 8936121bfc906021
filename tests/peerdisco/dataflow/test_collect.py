"""The map side: nothing is lost between a function and its segments, whatever the memory limit."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from peerdisco.dataflow import BadRecord, Segment, default_partition
from peerdisco.dataflow.collect import CHUNK_RECORDS, Pairs, RunCollector, columns, labeller
from peerdisco.dataflow.combine import CombiningCollector
from peerdisco.dataflow.segments import SegmentWriter

RECORDS = [(f"word{number * 7919 % 3001}", number % 5) for number in range(20_000)]


def feed(collector: Any, records: Pairs) -> list[Segment]:
    for start in range(0, len(records), CHUNK_RECORDS):
        collector.add(records[start : start + CHUNK_RECORDS])
    segments: list[Segment] = collector.finish()
    return segments


@pytest.mark.parametrize("memory", [1, 300_000, 1 << 30])
@pytest.mark.parametrize("ordered", [False, True])
def test_all_records_arrive_under_their_label(files: Any, memory: int, ordered: bool) -> None:
    collector = RunCollector(
        SegmentWriter(files, "out"), labeller(5, None, None), memory, ordered=ordered
    )
    segments = feed(collector, RECORDS)
    assert [0, 1, 2, 3, 4] == [segment.label for segment in segments]
    together: Counter[Any] = Counter()
    for segment in segments:
        records = files.records(segment)
        assert len(records) == segment.records
        assert len(files.contents[segment.path]) == segment.size
        assert {segment.label} == {default_partition(key, 5) for key, _ in records}
        together.update(records)
    assert Counter(RECORDS) == together
    assert sorted(segment.path for segment in segments) == sorted(files.contents)


def test_ordered_records_keep_their_order_through_spills(files: Any) -> None:
    writer = SegmentWriter(files, "out")
    collector = RunCollector(writer, labeller(0, None, None), 500_000, ordered=True)
    [segment] = feed(collector, RECORDS)
    assert writer.spills > 1
    assert files.records(segment) == RECORDS


def test_a_partition_function_may_name_any_label(files: Any) -> None:
    labels = labeller(2, lambda key, partitions, params: params + len(key), 100)
    segments = feed(
        RunCollector(SegmentWriter(files, "out"), labels, 1 << 20),
        [("a", 1), ("bb", 1), ("a", 1)],
    )
    assert [(101, 2), (102, 1)] == [(segment.label, segment.records) for segment in segments]


def test_without_partitions_everything_is_label_zero(files: Any) -> None:
    for partitions in (0, 1):
        collector = RunCollector(
            SegmentWriter(files, "out"), labeller(partitions, None, None), 1 << 20
        )
        assert [0] == [segment.label for segment in feed(collector, RECORDS[:100])]


def test_no_records_leave_no_segments(files: Any) -> None:
    collector = RunCollector(SegmentWriter(files, "out"), labeller(3, None, None), 1 << 20)
    assert feed(collector, []) == []
    assert files.contents == {}


def test_values_that_cannot_be_hashed_are_carried_as_they_are(files: Any) -> None:
    records: list[tuple[Any, Any]] = [("a", [1]), ("b", {"x": 1}), ("a", [1])]
    collector = RunCollector(SegmentWriter(files, "out"), labeller(1, None, None), 1 << 20)
    [segment] = feed(collector, records)
    assert records == files.records(segment)


@pytest.mark.parametrize("odd", [None, 1, ("a",), ("a", 1, 2), "abc", {"a": 1, "b": 2}, iter("ab")])
def test_what_is_no_pair_is_shown_to_the_user(odd: Any) -> None:
    with pytest.raises(BadRecord, match=r"a record must be a pair \(key, value\), not "):
        columns([("a", 1), odd])


def test_two_characters_are_no_pair() -> None:
    with pytest.raises(BadRecord, match="not 'ab'"):
        columns(["ab", "cd"])  # type: ignore[list-item]  # as users do


def test_lists_of_two_pass_for_pairs() -> None:
    assert (["a"], [1]) == columns([["a", 1]])  # type: ignore[list-item]  # as users do


def summing(
    key: Any, value: Any, buffer: dict[Any, Any], done: bool, params: Any
) -> list[tuple[Any, Any]] | None:
    if done:
        return sorted(buffer.items())
    buffer[key] = buffer.get(key, 0) + value
    if len(buffer) < params:
        return None
    full = list(buffer.items())
    buffer.clear()
    return full


@pytest.mark.parametrize("buffer_size", [10, 1 << 30])
@pytest.mark.parametrize("memory", [1, 1 << 30])
def test_a_combiner_has_a_buffer_per_label_and_the_last_word(
    files: Any, buffer_size: int, memory: int
) -> None:
    collector = CombiningCollector(
        SegmentWriter(files, "out"), labeller(3, None, None), memory, summing, buffer_size
    )
    sums: Counter[Any] = Counter()
    for segment in feed(collector, RECORDS):
        for key, value in files.records(segment):
            assert segment.label == default_partition(key, 3)
            sums[key] += value
    expected: Counter[Any] = Counter()
    for key, value in RECORDS:
        expected[key] += value
    assert expected == sums


def test_only_what_a_combiner_returns_is_stored(files: Any) -> None:
    collector = CombiningCollector(
        SegmentWriter(files, "out"), labeller(3, None, None), 1 << 20, lambda *_: None, None
    )
    assert feed(collector, RECORDS[:10]) == []
