"""Small helpers for map and reduce functions, with the names that Disco gave them.

They run inside workers, for every record, so they are thin over `itertools`. Nothing here knows
of jobs or nodes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Iterable, Iterator
from itertools import chain, groupby
from operator import itemgetter
from typing import Any, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")
V = TypeVar("V")

_first, _second = itemgetter(0), itemgetter(1)


def kvgroup(pairs: Iterable[tuple[K, V]]) -> Iterator[tuple[K, Iterator[V]]]:
    """Group consecutive pairs that have equal keys: yields (key, values).

    It does not sort: `kvgroup(sorted(iter))` is the idiom, or `sort=True` in the job. The values
    of a group are lazy and gone once the next group is asked for.
    """
    for key, group in groupby(pairs, _first):
        yield key, map(_second, group)


def kvify(entries: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """Make every entry a pair: those that are none yet get None for a value."""
    return (entry if iskv(entry) else (entry, None) for entry in entries)


def iskv(value: object) -> bool:
    """Whether a value is a pair."""
    return isinstance(value, tuple) and len(value) == 2


def key(pair: tuple[K, Any]) -> K:
    """The key of a pair."""
    return pair[0]


def isiterable(value: object) -> bool:
    """Whether a value is a collection of others; text and bytes are not."""
    return hasattr(value, "__iter__") and not isinstance(value, str | bytes)


def iterify(value: Any) -> Iterable[Any]:
    """The value if it is a collection, else a collection of just it; of None, an empty one."""
    if value is None:
        return ()
    return value if isiterable(value) else (value,)


def listify(value: Any) -> list[Any]:
    """`iterify` as a list."""
    return list(iterify(value))


def chainify(iterables: Iterable[Iterable[T]]) -> list[T]:
    """One list of the elements of all."""
    return list(chain.from_iterable(iterables))


def flatten(values: Iterable[Any]) -> Iterator[Any]:
    """The elements of collections within collections, as deep as they go."""
    for value in values:
        if isiterable(value):
            yield from flatten(value)
        else:
            yield value


def partition(iterable: Iterable[T], group: Callable[[T], K]) -> dict[K, list[T]]:
    """Sort elements into lists by what `group` says of them."""
    parts: dict[K, list[T]] = {}
    for element in iterable:
        parts.setdefault(group(element), []).append(element)
    return parts


def ilen(iterable: Iterable[Any]) -> int:
    """How many elements an iterable yields; it is used up."""
    return sum(1 for _ in iterable)


def argument_count(function: Callable[..., Any]) -> int:
    """How many positional arguments a call may pass: bound ones do not count.

    Raises TypeError for functions of C that do not say.
    """
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError as error:
        raise TypeError(f"{function!r} does not tell its arguments") from error
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(parameter.kind in positional for parameter in parameters)


argcount = argument_count
