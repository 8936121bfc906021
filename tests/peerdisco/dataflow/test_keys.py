"""Partitions are the same in every process, and equal keys are never parted."""

from __future__ import annotations

import decimal
import fractions
import os
import subprocess
import sys
import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerdisco.dataflow import BadRecord, default_partition
from peerdisco.dataflow.keys import key_bytes, labels_of

KEYS: list[Any] = ["word", b"word", 7, -1, 2.5, ("a", 1, None), None, True, frozenset("abc")]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (1, 1.0),
        (0.0, -0.0),
        (1, decimal.Decimal(1)),
        (0.5, fractions.Fraction(1, 2)),
        ((1, "a"), (True, "a")),
        (frozenset(["b", "a"]), frozenset(["a", "b"])),
        ({"a": 1, "b": 2}, {"b": 2.0, "a": 1}),
        (b"x", bytearray(b"x")),
    ],
)
def test_equal_keys_have_equal_encodings(one: Any, other: Any) -> None:
    assert one == other
    assert key_bytes(one) == key_bytes(other)


def test_elements_of_compound_keys_do_not_run_together() -> None:
    keys = [("ab", "c"), ("a", "bc"), ("abc",), (("a", "b"), "c"), ("a", ("b", "c")), ("ab", b"c")]
    assert len(keys) == len(set(map(key_bytes, keys)))


def test_text_with_lone_surrogates_has_a_partition() -> None:
    assert [default_partition("\ud800", 8), default_partition("a", 8)] == labels_of(
        ["\ud800", "a"], 8
    )


@settings(max_examples=50)
@given(st.lists(st.one_of(st.text(), st.integers(), st.none()), min_size=1), st.integers(1, 9))
def test_a_column_is_labelled_like_its_keys(keys: list[Any], partitions: int) -> None:
    assert [default_partition(key, partitions) for key in keys] == labels_of(keys, partitions)


def test_labels_do_not_depend_on_the_process() -> None:
    program = (
        "from peerdisco.dataflow import default_partition as p;"
        f"print([p(key, 1000) for key in {KEYS!r}])"
    )
    outputs = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert outputs[0] == outputs[1]
    assert str([default_partition(key, 1000) for key in KEYS]) == outputs[0].strip()


def test_nan_has_a_partition() -> None:
    assert default_partition(float("nan"), 5) == default_partition(float("nan"), 5)


def test_a_key_that_cannot_be_encoded_asks_for_a_partition_function() -> None:
    with pytest.raises(BadRecord, match="partition function"):
        default_partition(threading.Lock(), 3)
