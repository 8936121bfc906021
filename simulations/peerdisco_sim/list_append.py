"""Is the history of a list to which unique values are appended linearizable? Exact, fast, pure.

Since every value is appended once, the list at the end names the order in which all appends took
effect, and a read names its place in that order by what it saw. So there is nothing to search: a
history is linearizable if and only if the places agree with real time. Values are in order of age,
oldest first.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from peerdisco_sim.linearizability import NEVER


@dataclass(frozen=True, slots=True)
class Append:
    """An append of values that belong together; `end` is NEVER when its outcome is unknown."""

    call: float
    end: float
    values: tuple[str, ...]
    process: str = ""


@dataclass(frozen=True, slots=True)
class Read:
    """A read that answered with these values."""

    call: float
    end: float
    values: tuple[str, ...]
    process: str = ""


def judge(appends: Sequence[Append], reads: Sequence[Read], final: Sequence[str]) -> list[str]:
    """What is wrong with a history, most telling first; nothing when it is linearizable.

    Args:
        appends: All that were tried.
        reads: All that were answered.
        final: What the list holds when everything has come to rest.
    """
    places = {value: place for place, value in enumerate(final)}
    tried = [value for append in appends for value in append.values]
    assert len(dict.fromkeys(tried)) == len(tried), "values must be unique"
    wrong = []
    if len(places) != len(final):
        doubled = [v for place, v in enumerate(final) if places[v] != place]
        wrong.append(f"applied twice: {doubled[:3]}")
    lost = [a for a in appends if a.end != NEVER and a.values[0] not in places]
    if lost:
        wrong.append(f"acknowledged and lost: {[a.values[0] for a in lost[:3]]} of {len(lost)}")
    known = dict.fromkeys(tried)
    phantoms = [value for value in final if value not in known]
    if phantoms:
        wrong.append(f"never appended: {phantoms[:3]}")
    strange = [read for read in reads if tuple(final[: len(read.values)]) != read.values]
    if strange:
        wrong.append(f"a read saw another order: {_difference(strange[0], final)}")
    return wrong or _torn(appends, reads, final, places) or _out_of_time(appends, reads, places)


def _torn(
    appends: Sequence[Append], reads: Sequence[Read], final: Sequence[str], places: dict[str, int]
) -> list[str]:
    """Appends of several values that did not take effect as one."""
    inside: dict[int, Append] = {}
    for append in appends:
        there = [value for value in append.values if value in places]
        if not there:
            continue
        first = places.get(append.values[0], -1)
        if first < 0 or tuple(final[first : first + len(append.values)]) != append.values:
            return [f"an append fell apart: {append.values[:3]}"]
        inside.update(dict.fromkeys(range(first + 1, first + len(append.values)), append))
    for read in reads:
        if len(read.values) in inside:
            return [f"a read saw a part of {inside[len(read.values)].values[:3]}"]
    return []


def _out_of_time(
    appends: Sequence[Append], reads: Sequence[Read], places: dict[str, int]
) -> list[str]:
    """Pairs of operations whose places contradict the clock.

    An append has the odd place behind all that are older than it, a read of n values the even one
    behind n appends. Whatever ended before an operation began must not have a later place.
    """
    operations: list[tuple[float, float, int, Append | Read]] = [
        (a.call, a.end, 2 * places[a.values[0]] + 1, a) for a in appends if a.values[0] in places
    ]
    operations += [(r.call, r.end, 2 * len(r.values), r) for r in reads]
    operations.sort(key=lambda each: (each[0], each[1], each[2]))
    running: list[tuple[float, int, int]] = []
    latest = -1
    last: Append | Read | None = None
    for number, (call, end, place, operation) in enumerate(operations):
        while running and running[0][0] < call:
            _, ended, index = heapq.heappop(running)
            if ended > latest:
                latest, last = ended, operations[index][3]
        if place < latest and last is not None:
            return [f"{_word(operation)} came after {_word(last)} had ended, but stands before it"]
        heapq.heappush(running, (end, place, number))
    return []


def _difference(read: Read, final: Sequence[str]) -> str:
    for place, value in enumerate(read.values):
        expected = final[place] if place < len(final) else "nothing"
        if value != expected:
            return f"{value} where {expected} stands in the end (t={read.end:.3f})"
    return "a prefix of itself"


def _word(operation: Append | Read) -> str:
    if isinstance(operation, Append):
        return f"the append of {operation.values[0]} (t={operation.call:.3f}..{operation.end:.3f})"
    return f"a read of {len(operation.values)} (t={operation.call:.3f}..{operation.end:.3f})"
