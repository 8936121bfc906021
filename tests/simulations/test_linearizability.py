"""The decision procedure says yes, no or don't know, and is right where it says yes or no."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from peerdisco_sim.linearizability import NEVER, Operation, Verdict, decide
from peerdisco_sim.list_append import Append, Read, judge
from peerdisco_sim.tag_model import Append as Put
from peerdisco_sim.tag_model import Delete, Done, Get, Replace, Seen, TagModel


class Register:
    """A model: writes of numbers, reads that must see the last one."""

    def initial(self) -> Hashable:
        return 0

    def step(self, state: Hashable, operation: Operation) -> Hashable | None:
        action = operation.action
        assert isinstance(action, tuple)
        if action[0] == "write":
            value: Hashable = action[1]
            return value
        return state if not operation.is_known or operation.result == state else None


def write(call: float, end: float, value: int) -> Operation:
    return Operation(call, end, ("write", value), None)


def read(call: float, end: float, value: int) -> Operation:
    return Operation(call, end, ("read",), value)


def test_operations_in_a_row_must_see_each_other() -> None:
    assert decide([write(0, 1, 5), read(2, 3, 5)], Register()).verdict is Verdict.LINEARIZABLE
    stale = decide([write(0, 1, 5), read(2, 3, 0)], Register())
    assert stale.verdict is Verdict.VIOLATION
    assert stale.stuck == read(2, 3, 0)


def test_operations_at_the_same_time_may_come_in_any_order() -> None:
    history = [write(0, 10, 1), write(0, 10, 2), read(1, 9, 2), read(1, 9, 1)]
    assert decide(history, Register()).verdict is Verdict.LINEARIZABLE
    history = [write(0, 10, 1), write(0, 10, 2), read(11, 12, 2), read(13, 14, 1)]
    assert decide(history, Register()).verdict is Verdict.VIOLATION


def test_a_write_with_an_unknown_outcome_may_take_effect_late_or_never() -> None:
    lost = write(0, NEVER, 7)
    assert decide([lost, read(5, 6, 0)], Register()).verdict is Verdict.LINEARIZABLE
    late = [lost, read(5, 6, 0), read(7, 8, 7)]
    assert decide(late, Register()).verdict is Verdict.LINEARIZABLE
    undone = [lost, read(5, 6, 7), read(7, 8, 0)]
    assert decide(undone, Register()).verdict is Verdict.VIOLATION


def test_it_gives_up_when_its_budget_is_spent() -> None:
    history = [write(0, 100, value) for value in range(12)] + [read(0, 100, 99)]
    decision = decide(history, Register(), states_max=500)
    assert decision.verdict is Verdict.UNDECIDED
    assert decision.states == 500


def brute_force(history: Sequence[Operation]) -> bool:
    """Whether any order respects time and the model; operations without an end may be left out."""
    known = [each for each in history if each.is_known]
    unknown = [each for each in history if not each.is_known]
    for count in range(len(unknown) + 1):
        for chosen in itertools.combinations(unknown, count):
            for order in itertools.permutations([*known, *chosen]):
                if _respects_time(order) and _explains(order):
                    return True
    return False


def _respects_time(order: Sequence[Operation]) -> bool:
    return all(
        later.end >= earlier.call
        for place, earlier in enumerate(order)
        for later in order[place + 1 :]
    )


def _explains(order: Sequence[Operation]) -> bool:
    model, state = Register(), Register().initial()
    for operation in order:
        following = model.step(state, operation)
        if following is None:
            return False
        state = following
    return True


operations = st.builds(
    lambda call, length, value, kind: (
        read(call, call + length, value)
        if kind == "read"
        else write(call, NEVER if kind == "lost" else call + length, value)
    ),
    st.integers(0, 8),
    st.integers(1, 6),
    st.integers(0, 2),
    st.sampled_from(["read", "write", "write", "lost"]),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(operations, max_size=5))
def test_it_agrees_with_trying_all_orders(history: list[Operation]) -> None:
    verdict = decide(history, Register()).verdict
    assert (verdict is Verdict.LINEARIZABLE) == brute_force(history)


# -- tags -------------------------------------------------------------------------------------


def tag(*operations: tuple[float, float, Hashable, Hashable]) -> Verdict:
    history = [Operation(*operation) for operation in operations]
    return decide(history, TagModel()).verdict


def test_a_tag_is_what_was_done_to_it() -> None:
    good = tag(
        (0, 1, Put("a"), Done()),
        (2, 3, Put("b"), Done()),
        (4, 5, Get(), Seen(("a", "b"), 2)),
        (6, 7, Replace(("c",), 2), Done()),
        (8, 9, Replace(("d",), 2), Done(refused=True)),
        (10, 11, Put("c", unique=True), Done()),
        (12, 13, Get(), Seen(("c",), 3)),
        (14, 15, Delete(), Done()),
        (16, 17, Get(), Seen(None)),
        (18, 19, Put("e"), Done()),
        (20, 21, Get(), Seen(("e",), 5)),
    )
    assert good is Verdict.LINEARIZABLE


def test_a_tag_that_forgets_doubles_or_goes_back_is_found_out() -> None:
    appended = (0, 1, Put("a"), Done())
    assert tag(appended, (2, 3, Get(), Seen((), 0))) is Verdict.VIOLATION
    assert tag(appended, (2, 3, Get(), Seen(("a", "a"), 2))) is Verdict.VIOLATION
    assert tag(appended, (2, 3, Get(), Seen(("a",), 2))) is Verdict.VIOLATION
    assert tag(appended, (2, 3, Replace((), 9), Done())) is Verdict.VIOLATION
    twice = tag((0, 1, Replace(("x",), 0), Done()), (2, 3, Replace(("y",), 0), Done()))
    assert twice is Verdict.VIOLATION
    maybe = (0, NEVER, Put("a"), None)
    assert tag(maybe, (2, 3, Get(), Seen(("a",), 1))) is Verdict.LINEARIZABLE
    assert tag(maybe, (2, 3, Get(), Seen(None))) is Verdict.LINEARIZABLE


# -- lists that only grow ---------------------------------------------------------------------


def test_a_list_that_keeps_all_appends_in_order_is_right() -> None:
    appends = [Append(0, 1, ("a",)), Append(2, NEVER, ("lost",)), Append(3, 6, ("b", "c"))]
    reads = [Read(1, 2, ("a",)), Read(4, 5, ("a", "b", "c")), Read(4, 5, ("a",))]
    assert judge(appends, reads, ("a", "b", "c")) == []


def complaint(appends: list[Append], reads: list[Read], final: tuple[str, ...]) -> str:
    wrong = judge(appends, reads, final)
    assert wrong
    return wrong[0]


def test_a_list_that_loses_doubles_invents_tears_or_reorders_is_found_out() -> None:
    a, b = Append(0, 1, ("a",)), Append(2, 3, ("b",))
    assert "acknowledged and lost" in complaint([a, b], [], ("a",))
    assert "applied twice" in complaint([a, b], [], ("a", "b", "a"))
    assert "never appended" in complaint([a, b], [], ("a", "b", "z"))
    assert "another order" in complaint([a, b], [Read(4, 5, ("b",))], ("a", "b"))
    assert "stands before it" in complaint([a, b], [], ("b", "a"))
    assert "stands before it" in complaint([a, b], [Read(4, 5, ("a",))], ("a", "b"))
    assert "stands before it" in complaint([a, b], [Read(0, 1, ("a", "b"))], ("a", "b"))
    both = Append(0, 9, ("c", "d"))
    assert "fell apart" in complaint([a, both], [], ("c", "a", "d"))
    assert "fell apart" in complaint([both], [], ("d",)) or "lost" in complaint([both], [], ("d",))
    assert "a part of" in complaint([both], [Read(1, 2, ("c",))], ("c", "d"))
    stale = [Read(10, 11, ("a", "b")), Read(12, 13, ("a",))]
    assert "stands before it" in complaint([Append(0, NEVER, ("b",)), a], stale, ("a", "b"))
