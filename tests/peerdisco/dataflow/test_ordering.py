"""Sorted input is sorted and complete, in memory and through files."""

from __future__ import annotations

from typing import Any

import pytest

from peerdisco.dataflow import BadRecord, Batch
from peerdisco.dataflow.ordering import sorted_records

BATCHES = [
    Batch([f"{number * 7919 % 1009:04}" for number in range(500)], list(range(500)), None),
    Batch(["0003", "0001"], ["x", "y"], [2, 3]),
    Batch([], [], None),
    Batch([f"{number * 31 % 1009:04}" for number in range(500)], list(range(500)), None),
]


@pytest.mark.parametrize("memory", [1 << 30, 100_000, 1])
def test_records_are_sorted_by_key_and_none_is_lost(files: Any, memory: int) -> None:
    records = list(sorted_records(iter(BATCHES), files, "sort", memory))
    expected = [
        pair for batch in BATCHES if not batch.counts for pair in zip(*batch[:2], strict=True)
    ]
    expected += [("0003", "x")] * 2 + [("0001", "y")] * 3
    assert sorted(records, key=lambda pair: pair[0]) == records
    assert sorted(expected, key=repr) == sorted(records, key=repr)
    assert bool(files.contents) == (memory < 1 << 30)


def test_keys_that_cannot_be_compared_are_the_users_error(files: Any) -> None:
    with pytest.raises(BadRecord, match="sort=True needs keys that can be compared"):
        sorted_records([Batch(["a", 1], [1, 1], None)], files, "sort", 1 << 20)
