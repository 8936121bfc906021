"""What the operations on one tag mean, one after the other: the model for `linearizability.decide`.

A state is the list of entries with the tag's version. Lists are interned as chains, so that a state
is a pair of small numbers and equal lists are equal numbers. Pure.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from peerdisco_sim.linearizability import Operation

Values = tuple[str, ...]
"""Entries of a tag, oldest first."""


@dataclass(frozen=True, slots=True)
class Append:
    """Put a value before all others; `unique` leaves it out when it is there already."""

    value: str
    unique: bool = False


@dataclass(frozen=True, slots=True)
class Replace:
    """Put values in place of all others, if the version is the expected one."""

    values: Values
    if_version: int | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Let the tag exist no more."""


@dataclass(frozen=True, slots=True)
class Get:
    """Read it; the result is a Seen."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a read saw; values are None when there was no such tag."""

    values: Values | None
    version: int = 0


@dataclass(frozen=True, slots=True)
class Done:
    """A write was carried out, or refused for its condition."""

    refused: bool = False


_ABSENT, _EMPTY = 0, 1


class TagModel:
    """See linearizability.Model. States are (list, version)."""

    def __init__(self) -> None:
        self._children: dict[tuple[int, str], int] = {}
        self._members: dict[int, frozenset[str]] = {_ABSENT: frozenset(), _EMPTY: frozenset()}

    def initial(self) -> Hashable:
        """No tag."""
        return (_ABSENT, 0)

    def step(self, state: Hashable, operation: Operation) -> Hashable | None:
        """See Model."""
        assert isinstance(state, tuple)
        here, version = state
        action, result = operation.action, operation.result
        match action:
            case Get():
                assert isinstance(result, Seen)
                return state if self._shows(here, version, result) else None
            case Append(value, unique):
                if unique and value in self._members[here]:
                    return state
                return (self._child(max(here, _EMPTY), value), version + 1)
            case Replace(values, if_version):
                current = version if here != _ABSENT else 0
                met = if_version is None or if_version == current
                if operation.is_known and met == _is_refused(result):
                    return None
                return (self._intern(values), version + 1) if met else state
            case Delete():
                return state if here == _ABSENT else (_ABSENT, version + 1)
        raise AssertionError(f"a tag cannot {action}")

    def _shows(self, here: int, version: int, seen: Seen) -> bool:
        if seen.values is None:
            return here == _ABSENT
        return (here, version) == (self._intern(seen.values), seen.version)

    def _intern(self, values: Values) -> int:
        here = _EMPTY
        for value in values:
            here = self._child(here, value)
        return here

    def _child(self, here: int, value: str) -> int:
        key = (here, value)
        found = self._children.get(key)
        if found is None:
            found = self._children[key] = len(self._children) + 2
            self._members[found] = self._members[here] | {value}
        return found


def _is_refused(result: object) -> bool:
    return isinstance(result, Done) and result.refused
