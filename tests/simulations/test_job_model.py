"""What clients see of one job: histories that one order explains, and histories that none does."""

from __future__ import annotations

from collections.abc import Hashable

from peerdisco_sim.job_model import (
    ACTIVE,
    DEAD,
    READY,
    UNKNOWN,
    End,
    JobModel,
    Kill,
    Look,
    Purge,
    Submit,
)
from peerdisco_sim.linearizability import NEVER, Operation, Verdict, decide

SUBMITTED = Operation(0, 1, Submit())


def look(call: float, end: float, told: Hashable) -> Operation:
    return Operation(call, end, Look(), told)


def verdict(*operations: Operation) -> Verdict:
    return decide([SUBMITTED, *operations], JobModel()).verdict


def test_a_job_that_runs_ends_and_is_purged_is_seen_to_do_so() -> None:
    whole = [
        look(0, 0.5, UNKNOWN),
        look(1, 2, ACTIVE),
        Operation(0, 5, End(READY)),
        look(5, 6, READY),
        Operation(6, 8, Kill()),
        Operation(6, 8, Purge()),
        look(6, 9, READY),
        look(9, 10, UNKNOWN),
    ]
    assert verdict(*whole) is Verdict.LINEARIZABLE


def test_a_kill_that_meets_the_end_changes_nothing() -> None:
    race = [Operation(2, 6, Kill()), Operation(0, 5, End(READY))]
    assert verdict(*race, look(5, 6, ACTIVE), look(7, 8, READY)) is Verdict.LINEARIZABLE
    assert verdict(*race, look(7, 8, DEAD)) is Verdict.VIOLATION
    alone = (Operation(2, 6, Kill()), look(5, 6, ACTIVE), look(7, 8, DEAD))
    assert verdict(*alone) is Verdict.LINEARIZABLE


def test_a_kill_without_an_answer_may_take_effect_late() -> None:
    lost = Operation(2, NEVER, Kill())
    assert verdict(lost, look(3, 4, ACTIVE), look(9, 9, DEAD)) is Verdict.LINEARIZABLE
    assert verdict(lost, look(3, 4, DEAD), look(9, 9, ACTIVE)) is Verdict.VIOLATION


def test_answers_that_are_out_of_date_are_noticed() -> None:
    ended = Operation(0, 5, End(READY))
    assert verdict(ended, look(6, 7, ACTIVE)) is Verdict.VIOLATION
    assert verdict(look(2, 3, UNKNOWN)) is Verdict.VIOLATION
    assert verdict(look(2, 3, READY)) is Verdict.VIOLATION
    purged = [ended, Operation(6, 8, Purge())]
    assert verdict(*purged, look(9, 9, READY)) is Verdict.VIOLATION
