"""Run-length encoding of equal records while they leave the map function.

`("the", 1)` is then partitioned, sorted, compressed and sent once, with a count, instead of
thousands of times. Counting uses dictionaries, which take 1, 1.0 and True for the same key; a
record must come out as it went in, so columns are counted only when their types cannot be
confused, and each combination of types has its own counter. Everything else is left to the
caller, as is everything once counting has turned out not to pay.

Counting reorders the records of one task, which no reader may rely on. Next: `collect.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from itertools import chain, repeat
from operator import itemgetter
from types import NoneType
from typing import Any

from peerdisco.dataflow.format import Batch

TRIAL_RECORDS = 1 << 15
"""Counting is on trial for this many records before it may be given up."""

DISTINCT_SHARE_MAX = 0.7
"""Above this share of distinct records the dictionaries cost more than they save."""

_NUMBERS = frozenset([int, bool, float])
_PLAIN = frozenset([str, bytes, NoneType]) | _NUMBERS
_first, _second = itemgetter(0), itemgetter(1)


class RunLengths:
    """Counts of equal records.

    Attributes:
        paying: False once counting has been found useless; such an object takes nothing more.
        entries: Distinct records held.
    """

    def __init__(self) -> None:
        self.paying = True
        self.entries = 0
        self._added = 0
        self._by_value: dict[Hashable, tuple[Any, Counter[Any]]] = {}
        self._by_pair: dict[Hashable, Counter[tuple[Any, Any]]] = {}

    def add(self, pairs: Sequence[tuple[Any, Any]], keys: list[Any], values: list[Any]) -> bool:
        """Count a chunk of records, given as pairs and as columns; False if it must not be."""
        flavour = _flavour(keys)
        counted = flavour is not None and (
            self._count_keys(flavour, keys, values) or self._count_pairs(flavour, pairs, values)
        )
        if counted:
            self._added += len(keys)
            self.entries = sum(map(len, self._by_pair.values()))
            self.entries += sum(len(counter) for _, counter in self._by_value.values())
            if self._added >= TRIAL_RECORDS:
                self.paying = self.entries <= DISTINCT_SHARE_MAX * self._added
        return counted

    def drain(self) -> Iterator[Batch]:
        """Hand out all that was counted, as sorted runs where the keys have an order."""
        for value, counter in self._by_value.values():
            keys = _in_order(counter)
            yield Batch(keys, [value] * len(keys), list(map(counter.__getitem__, keys)))
        for pairs in self._by_pair.values():
            order = _in_order(pairs)
            columns = list(map(_first, order)), list(map(_second, order))
            yield Batch(*columns, list(map(pairs.__getitem__, order)))
        self._by_value, self._by_pair = {}, {}
        self._added = self.entries = 0

    def _count_keys(self, flavour: str, keys: list[Any], values: list[Any]) -> bool:
        """The common case, twice as fast: one and the same value everywhere, as in a count."""
        value = values[0]
        if type(value) not in _PLAIN or len(set(map(id, values))) > 1 or value != value:
            return False
        if type(value) is float and value == 0.0:
            return False
        slot = (flavour, type(value), value)
        self._by_value.setdefault(slot, (value, Counter()))[1].update(keys)
        return True

    def _count_pairs(
        self, flavour: str, pairs: Sequence[tuple[Any, Any]], values: list[Any]
    ) -> bool:
        value_flavour = _flavour(values)
        if value_flavour is None:
            return False
        self._by_pair.setdefault((flavour, value_flavour), Counter()).update(map(tuple, pairs))
        return True


def _flavour(column: Sequence[Any]) -> str | None:
    """A name for the types in a column within which `==` means identity of value, or None."""
    types = set(map(type, column))
    if types == {tuple}:
        inner = list(chain.from_iterable(column))
        if tuple in set(map(type, inner)):
            return None
        flavour = _flavour(inner)
        return None if flavour is None else f"tuple of {flavour}"
    numbers = types & _NUMBERS
    if not types <= _PLAIN or len(numbers) > 1:
        return None
    if float in numbers and 0.0 in column:
        return None  # 0.0 == -0.0
    return next((kind.__name__ for kind in _PLAIN_ORDER if kind in numbers), "plain")


_PLAIN_ORDER = (int, bool, float)


def _in_order(counter: Counter[Any]) -> list[Any]:
    """Sorted, so that whoever sorts after us only merges; as they came if they have no order."""
    entries = list(counter)
    try:
        entries.sort()
    except TypeError:
        return list(counter)
    return entries


def expand(batch: Batch) -> Iterator[tuple[Any, Any]]:
    """The records of a batch. Repeated ones are the same object, which makes grouping cheap."""
    pairs = zip(batch.keys, batch.values, strict=True)
    if batch.counts is None:
        return pairs
    return chain.from_iterable(map(repeat, pairs, batch.counts))
