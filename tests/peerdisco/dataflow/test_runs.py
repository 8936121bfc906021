"""Counting equal records never changes one."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerdisco.dataflow.runs import TRIAL_RECORDS, RunLengths, expand

TRICKY = st.sampled_from(
    [0, 1, True, False, 1.0, 0.0, -0.0, "1", b"1", None, (1,), (True,), (1.0, "a"), ("a",), ((1,),)]
)


def exactly(records: list[tuple[Any, Any]]) -> Counter[str]:
    return Counter(f"{key!r}:{value!r}" for key, value in records)


def count(*chunks: list[tuple[Any, Any]]) -> tuple[RunLengths, list[tuple[Any, Any]]]:
    """The counter, and what it refused."""
    runs, refused = RunLengths(), []
    for chunk in chunks:
        keys, values = [key for key, _ in chunk], [value for _, value in chunk]
        if not runs.add(chunk, keys, values):
            refused += chunk
    return runs, refused


@settings(max_examples=100)
@given(st.lists(st.lists(st.tuples(TRICKY, TRICKY), min_size=1)))
def test_types_that_compare_equal_are_never_confused(chunks: list[list[tuple[Any, Any]]]) -> None:
    runs, refused = count(*chunks)
    counted = list(chain.from_iterable(map(expand, runs.drain())))
    assert exactly(list(chain.from_iterable(chunks))) == exactly(counted + refused)


def test_equal_records_become_one_entry_in_sorted_order() -> None:
    runs, refused = count([("b", 1), ("a", 1), ("b", 1)], [("b", 1)])
    [batch] = runs.drain()
    assert (["a", "b"], [1, 1], [1, 3]) == tuple(batch)
    assert refused == []
    assert runs.entries == 0


def test_varied_values_are_counted_by_pair() -> None:
    runs, _ = count([("b", 2), ("a", 1), ("b", 2), ("b", 1)])
    [batch] = runs.drain()
    assert (["a", "b", "b"], [1, 1, 2], [1, 1, 2]) == tuple(batch)


@pytest.mark.parametrize("value", [[1], {}, object(), 0.0, (1, True), ((1,), 2)])
def test_what_cannot_be_counted_safely_is_refused_untouched(value: Any) -> None:
    chunk = [("a", value), ("a", value)]
    runs, refused = count(chunk)
    assert chunk == refused
    assert list(runs.drain()) == []


def test_keys_without_an_order_keep_the_order_in_which_they_came() -> None:
    runs, _ = count([("b", 1), (None, 1), ("a", 1)])
    [batch] = runs.drain()
    assert ["b", None, "a"] == batch.keys


def test_counting_is_given_up_when_all_records_are_different() -> None:
    chunk: list[tuple[Any, Any]] = [(str(number), number) for number in range(TRIAL_RECORDS)]
    runs, _ = count(chunk)
    assert not runs.paying


def test_counting_goes_on_while_it_pays() -> None:
    runs, _ = count([(str(number % 100), 1) for number in range(TRIAL_RECORDS)])
    assert runs.paying
