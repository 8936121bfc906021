"""Reading a stranger's records never runs the stranger's code."""

from __future__ import annotations

import collections
import datetime as dt
import decimal
import fractions
import importlib
import io
import ipaddress
import os
import pickle
from typing import Any

import pytest

from peerdisco.dataflow.errors import BadRecord, CorruptRecords, UnsafeRecord
from peerdisco.dataflow.trust import AS_CLASS, loads_trusted, loads_untrusted

UTC = dt.UTC
HARMLESS: list[Any] = [
    {"a": [1, 2.5, None, True, b"x", ("t",)]},
    {1, 2},
    frozenset([3]),
    bytearray(b"xy"),
    1 + 2j,
    range(3),
    slice(1, 2),
    dt.datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
    dt.datetime(2026, 1, 2, tzinfo=dt.timezone(dt.timedelta(hours=2))),
    dt.date(2026, 1, 2),
    dt.time(1, 2),
    dt.timedelta(3),
    decimal.Decimal("1.50"),
    fractions.Fraction(1, 3),
    collections.Counter("aab"),
    collections.OrderedDict(b=1, a=2),
    collections.defaultdict(list, {"a": [1]}),
    collections.deque([1, 2], maxlen=3),
    ipaddress.IPv4Address("10.0.0.1"),
    ipaddress.IPv6Address("::1"),
]


@pytest.mark.parametrize("value", HARMLESS, ids=lambda value: type(value).__name__)
def test_harmless_values_are_rebuilt_without_trust(value: Any) -> None:
    rebuilt = loads_untrusted(pickle.dumps(value, 5))
    assert (value, type(value)) == (rebuilt, type(rebuilt))


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("true",)


def test_a_call_of_anything_else_is_refused_by_name_with_the_way_out() -> None:
    name = f"{os.system.__module__}.system"
    with pytest.raises(UnsafeRecord, match=rf"{name}.*trusted=True"):
        loads_untrusted(pickle.dumps(Evil(), 5))


@pytest.mark.parametrize("name", ["getattr", "eval", "__import__", "open", "type", "object"])
def test_no_gateway_of_builtins_is_open(name: str) -> None:
    with pytest.raises(UnsafeRecord):
        loads_untrusted(b"\x80\x05cbuiltins\n" + name.encode() + b"\n.")


def test_dotted_names_do_not_reach_into_allowed_classes() -> None:
    dotted = pickle.PROTO + b"\x05\x8c\x08builtins\x8c\x0cint.__init__\x93."
    with pytest.raises(UnsafeRecord):
        loads_untrusted(dotted)


def test_every_class_that_is_handed_out_is_immutable() -> None:
    for module, name in sorted(AS_CLASS):
        with pytest.raises(TypeError):
            getattr(importlib.import_module(module), name).planted = 1


def test_a_stream_cannot_change_a_class_written_in_python() -> None:
    # BUILD with a slot state: setattr(Fraction, "planted", 1), if it got hold of Fraction.
    plant = b"\x80\x05cfractions\nFraction\n(N}X\x07\x00\x00\x00plantedK\x01stb."
    with pytest.raises(CorruptRecords):
        loads_untrusted(plant)
    assert not hasattr(fractions.Fraction, "planted")


def test_nonsense_is_corrupt_without_trust_and_the_users_with_it() -> None:
    with pytest.raises(CorruptRecords):
        loads_untrusted(b"nonsense")
    with pytest.raises(BadRecord, match="cannot be rebuilt"):
        loads_trusted(b"\x80\x05cno_such_module\nThing\n.")


def test_trusted_records_may_be_anything() -> None:
    assert io.BytesIO is loads_trusted(pickle.dumps(io.BytesIO))
