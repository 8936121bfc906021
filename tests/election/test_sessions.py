"""Client sessions: repeated proposals are applied once, also across snapshots, within limits."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerdisco_election.errors import Dropped
from peerdisco_election.messages import encode
from peerdisco_election.sessions import (
    OUTSTANDING_MAX,
    Command,
    Once,
    Refusal,
    Session,
    Sessions,
    plain,
    register,
)


class Sum:
    """Adds numbers; the result is the sum so far."""

    def __init__(self) -> None:
        self.total = 0

    def apply(self, index: int, command: bytes) -> int:
        self.total += int(command)
        return self.total

    def snapshot(self) -> bytes:
        return b"%d" % self.total

    def restore(self, data: bytes) -> None:
        self.total = int(data)


def test_6_3_a_repeated_command_is_applied_once_and_answered_again() -> None:
    """With the first answer, whatever happened since."""
    inner = Sum()
    machine = Sessions(inner)
    session = Session(machine.apply(1, register()))
    first, second = session.wrap(b"5"), session.wrap(b"7")
    assert 5 == machine.apply(2, first.command)
    assert 12 == machine.apply(3, second.command)
    assert 5 == machine.apply(4, first.command)
    assert 12 == inner.total


def test_commands_may_arrive_out_of_order() -> None:
    """Several are outstanding, and the network mixes them."""
    inner = Sum()
    machine = Sessions(inner)
    session = Session(machine.apply(1, register()))
    first, second = session.wrap(b"5"), session.wrap(b"7")
    assert 7 == machine.apply(2, second.command)
    assert 12 == machine.apply(3, first.command)
    assert 7 == machine.apply(4, second.command)


def test_what_is_settled_is_forgotten_and_never_applied_again() -> None:
    """A very late duplicate is refused."""
    inner = Sum()
    machine = Sessions(inner)
    session = Session(machine.apply(1, register()))
    first = session.wrap(b"5")
    machine.apply(2, first.command)
    session.settled(first)
    machine.apply(3, session.wrap(b"7").command)
    assert Refusal.EXPIRED == machine.apply(4, first.command)
    assert 12 == inner.total


def test_an_unknown_session_is_refused_not_guessed() -> None:
    """The longest unused goes first when there are too many."""
    inner = Sum()
    machine = Sessions(inner, sessions_max=2)
    sessions = [Session(machine.apply(at, register())) for at in (1, 2)]
    machine.apply(3, sessions[0].wrap(b"1").command)
    machine.apply(4, register())
    assert Refusal.EXPIRED == machine.apply(5, sessions[1].wrap(b"1").command)
    assert 2 == machine.apply(6, sessions[0].wrap(b"1").command)


def test_what_is_outstanding_is_bounded_on_both_sides() -> None:
    """A client waits; one that does not is refused."""
    machine = Sessions(Sum())
    session = Session(machine.apply(1, register()))
    wrapped = [session.wrap(b"1") for _ in range(OUTSTANDING_MAX)]
    with pytest.raises(Dropped):
        session.wrap(b"1")
    session.settled(wrapped[0])
    session.wrap(b"1")
    assert Refusal.AHEAD == machine.apply(2, encode(Command(Once(1, OUTSTANDING_MAX + 1, 0, b"1"))))


def test_plain_and_malformed_commands() -> None:
    """Plain ones are applied each time; the others never, and never raise."""
    machine = Sessions(Sum())
    assert [1, 2] == [machine.apply(at, plain(b"1")) for at in (1, 2)]
    assert Refusal.MALFORMED == machine.apply(3, b"junk")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 9)), max_size=25),
    st.randoms(use_true_random=False),
    st.integers(0, 60),
)
def test_any_repetition_gives_what_no_repetition_gives(
    commands: list[tuple[int, int]], chance: random.Random, cut: int
) -> None:
    """Also when the state goes through a snapshot in between."""
    inner = Sum()
    machine = Sessions(inner)
    sessions = [Session(machine.apply(at, register())) for at in (1, 2, 3)]
    wrapped = [sessions[who].wrap(b"%d" % value).command for who, value in commands]
    log = [one for one in wrapped for _ in range(1 + chance.randint(0, 2))]
    answers: dict[bytes, object] = {}
    for index, one in enumerate(log, 4):
        if index - 4 == cut:
            data = machine.snapshot()
            inner = Sum()
            machine = Sessions(inner)
            machine.restore(data)
            assert data == machine.snapshot()
        assert answers.setdefault(one, machine.apply(index, one)) == machine.apply(index, one)
    assert sum(value for _, value in commands) == inner.total
