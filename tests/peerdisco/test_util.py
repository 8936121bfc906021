"""The helpers that job functions use."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from peerdisco import util


def test_kvgroup_groups_what_stands_together_and_does_not_sort() -> None:
    pairs = [("a", 1), ("a", 2), ("b", 3), ("a", 4)]
    assert [("a", [1, 2]), ("b", [3]), ("a", [4])] == [
        (key, list(values)) for key, values in util.kvgroup(pairs)
    ]


def test_kvgroup_is_lazy_and_skips_values_nobody_asked_for() -> None:
    groups = util.kvgroup((number // 3, number) for number in range(10**9))
    assert [0, 1, 2] == [next(groups)[0] for _ in range(3)]


def test_iterify_wraps_what_is_no_collection() -> None:
    assert ([1], ["ab"], [b"x"], [], [1, 2]) == tuple(
        util.listify(value) for value in (1, "ab", b"x", None, (1, 2))
    )


def test_kvify_completes_pairs() -> None:
    assert [("a", 1), ("b", None)] == list(util.kvify([("a", 1), "b"]))
    assert util.key(("a", 1)) == "a"


def test_flatten_goes_all_the_way_down_and_chainify_one_step() -> None:
    assert [1, "ab", 2, 3] == list(util.flatten([1, ["ab", [2, (3,)]]]))
    assert [1, 2] == util.chainify([[1], (2,)])


def test_partition_sorts_into_lists() -> None:
    assert {0: [2, 4], 1: [1, 3]} == util.partition([1, 2, 3, 4], lambda number: number % 2)


def test_ilen_counts() -> None:
    assert util.ilen(iter("abc")) == 3


class Reducer:
    def reduce(self, records: Any, params: Any) -> None:
        """Two arguments beside self."""


@pytest.mark.parametrize(
    ("function", "count"),
    [
        (lambda a, b: None, 2),
        (lambda a, b, c=1, *rest, d=2: None, 3),
        (Reducer().reduce, 2),
        (functools.partial(lambda a, b, c: None, 1), 2),
    ],
)
def test_argument_count_counts_what_a_call_may_pass(function: Any, count: int) -> None:
    assert count == util.argument_count(function)


def test_argument_count_of_a_function_that_does_not_tell() -> None:
    with pytest.raises(TypeError, match="does not tell"):
        util.argument_count(iter)
