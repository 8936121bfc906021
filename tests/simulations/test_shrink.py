"""Shrinking, with a judge that knows what it takes."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from peerdisco_sim.schedule import Fault, Schedule
from peerdisco_sim.shrink import minimize

FAULTS = tuple(Fault(float(at), "kill", f"n{at % 5}") for at in range(40))


class Judge:
    """Fails a schedule that still has all of these faults."""

    def __init__(self, needed: Sequence[int]) -> None:
        self._needed = [FAULTS[index] for index in needed]
        self.runs = 0

    def __call__(self, candidates: Sequence[Schedule]) -> int | None:
        for index, candidate in enumerate(candidates):
            self.runs += 1
            if all(fault in candidate.faults for fault in self._needed):
                return index
        return None


def build(faults: Sequence[Fault]) -> Schedule:
    return msgspec.structs.replace(Schedule(), faults=tuple(faults))


def test_what_it_takes_is_left() -> None:
    for needed in ([], [0], [39], [3, 31], [5, 6, 22], list(range(0, 40, 10))):
        judge = Judge(needed)
        left = minimize(FAULTS, build, judge)
        assert [FAULTS[index] for index in needed] == left
        assert judge.runs < 400


def test_nothing_to_leave_out_stays() -> None:
    assert [FAULTS[0]] == minimize(FAULTS[:1], build, Judge([0]))
    assert [] == minimize((), build, Judge([]))
