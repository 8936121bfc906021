"""The pure rules of registers: acceptor, quorums, values, sessions."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Sequence
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerdisco_dht import BadMessage, encode
from peerdisco_dht.registers import quorum
from peerdisco_dht.registers.acceptor import accept, prepare
from peerdisco_dht.registers.messages import (
    Accept,
    AcceptorRow,
    Ballot,
    Held,
    Operation,
    Peek,
    Prepare,
    Result,
)
from peerdisco_dht.registers.plain import CompareAndSet, Delete, PlainKind
from peerdisco_dht.registers.rows import AcceptorRows, row_key
from peerdisco_dht.registers.value import (
    RECENT_MAX,
    SESSIONS_MAX,
    Opened,
    close_value,
    open_value,
    perform,
)

KIND = PlainKind()
EMPTY = Opened(0, None, ())


def propose(ballot: Ballot, value: bytes, upcoming: Ballot | None = None) -> Accept:
    return Accept("r/x", ballot, value, upcoming or ballot, listed=True)


def test_an_acceptor_never_goes_below_its_promise() -> None:
    row, held = prepare(AcceptorRow(), Prepare("r/x", Ballot(3, "a")))
    assert held.granted
    same, held = prepare(row, Prepare("r/x", Ballot(3, "a")))
    assert (same, held.granted, held.promised) == (row, False, Ballot(3, "a"))
    same, held = accept(row, propose(Ballot(2, "z"), b"old"))
    assert (same, held.granted) == (row, False)
    row, held = accept(row, propose(Ballot(3, "a"), b"new", Ballot(4, "a")))
    assert (held.granted, row.promised, row.accepted, row.value) == (
        True,
        Ballot(4, "a"),
        Ballot(3, "a"),
        b"new",
    )
    same, held = accept(row, propose(Ballot(3, "b"), b"late"))
    assert (same, held.granted) == (row, False)
    _, held = prepare(row, Prepare("r/x", Ballot(4, "b")))
    assert (held.granted, held.accepted, held.value) == (True, Ballot(3, "a"), b"new")


class SlowDisk:
    """A store whose commits wait for `arrived`, and may fail then; `rows` are durable."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}
        self.arrived = asyncio.Event()
        self.failing = False

    def get(self, key: bytes) -> bytes | None:
        return self.rows.get(key)

    async def commit(self, writes: Sequence[tuple[bytes, bytes | None]]) -> None:
        await self.arrived.wait()
        if self.failing:
            raise OSError("the sync failed")
        self.rows.update({key: value for key, value in writes if value is not None})


@pytest.mark.parametrize("failing", [False, True])
async def test_a_peek_tells_what_a_crash_would_leave(failing: bool) -> None:
    """A reader counted a value that one acceptor of two could not keep, and it was lost."""
    disk = SlowDisk()
    disk.failing = failing
    keeper = SimpleNamespace(epoch=1, unsaved=list, saved=lambda _: None)
    rows = AcceptorRows(disk, keeper)  # type: ignore[arg-type]  # as much of both as `answer` needs
    asked = asyncio.create_task(rows.answer([propose(Ballot(3, "a"), b"new")]))
    await asyncio.sleep(0)
    assert (await rows.answer([Peek("r/x")]))[0].accepted == Ballot()
    disk.arrived.set()
    await asyncio.wait([asked])
    told = (await rows.answer([Peek("r/x")]))[0]
    assert told.accepted == (Ballot() if failing else Ballot(3, "a"))
    assert (asked.exception() is not None) is failing


def test_a_joint_quorum_needs_a_majority_of_every_set() -> None:
    sets = (("c", "d", "e"), ("a", "b", "c"))
    assert quorum.acceptors(sets) == ("c", "d", "e", "a", "b")
    assert quorum.reached(["c", "d", "a"], sets)
    assert not quorum.reached(["c", "d", "e"], sets)
    assert quorum.hopeless(["a", "b"], sets)
    assert not quorum.hopeless(["a", "d"], sets)
    assert not quorum.reached(["a"], ((),))
    assert not quorum.reached(["a"], (("a", "b"),))


def test_a_read_is_settled_only_when_majorities_agree() -> None:
    sets = (("a", "b", "c"),)
    old, new = Held(True, accepted=Ballot(1, "x")), Held(True, accepted=Ballot(2, "x"))
    assert quorum.settled({"a": old, "b": old}, sets) == old
    assert quorum.settled({"a": old, "b": new}, sets) is None
    assert quorum.settled({"a": old, "b": new, "c": new}, sets) == new
    assert quorum.settled({"a": Held(True)}, sets) is None
    assert quorum.settled({"a": Held(True), "b": Held(True)}, sets) == Held(True)


def write(number: int, sequence: int, session: str = "s") -> Operation:
    return Operation(encode(CompareAndSet(number, b"v")), session, sequence)


def test_a_repeated_operation_gets_its_first_answer() -> None:
    opened, first = perform(EMPTY, write(0, 5), KIND)
    opened, _ = perform(opened, write(1, 6), KIND)
    again, repeated = perform(opened, write(0, 5), KIND)
    assert (first.result, first.version) == (Result.APPLIED, 1)
    assert (repeated.result, repeated.version) == (Result.APPLIED, 1)
    assert again == opened == open_value(close_value(opened, KIND), KIND)


def test_a_refused_operation_may_be_tried_again() -> None:
    opened, reply = perform(EMPTY, write(9, 1), KIND)
    assert reply.result is Result.REFUSED
    assert opened == EMPTY


def test_a_late_duplicate_of_what_found_nothing_to_change_changes_nothing() -> None:
    delete = Operation(encode(Delete()), "s", 1)
    opened, reply = perform(EMPTY, delete, KIND)
    assert (reply.result, reply.version, opened.content) == (Result.KEPT, 0, None)
    opened, _ = perform(opened, write(0, 1, "t"), KIND)
    again, reply = perform(opened, delete, KIND)
    assert (again, reply.version) == (opened, 0)
    again, reply = perform(opened, Operation(encode(Delete()), "s", 2), KIND)
    assert (again.content, reply.result) == (None, Result.APPLIED)


def test_a_retry_beyond_memory_is_never_applied() -> None:
    opened = EMPTY
    for sequence in range(1, RECENT_MAX + 11):
        opened, _ = perform(opened, write(sequence - 1, sequence), KIND)
    same, reply = perform(opened, write(opened.version, 10), KIND)
    assert (reply.result, same) == (Result.FORGOTTEN, opened)
    _, reply = perform(opened, write(0, 11), KIND)
    assert (reply.result, reply.version) == (Result.APPLIED, 11)


def test_operations_of_a_session_may_arrive_in_any_order() -> None:
    opened = EMPTY
    order = random.Random(1).sample(range(1, 101), 100)
    for version, sequence in enumerate(order):
        opened, reply = perform(opened, write(version, sequence), KIND)
        assert reply.result is Result.APPLIED
    for version, sequence in enumerate(order):
        _, reply = perform(opened, write(0, sequence), KIND)
        assert (reply.result, reply.version) == (Result.APPLIED, version + 1)


def test_sessions_are_limited_and_the_least_recent_goes_first() -> None:
    opened = EMPTY
    for number in range(SESSIONS_MAX + 1):
        opened, _ = perform(opened, write(number, 1, f"s{number}"), KIND)
    names = [session.name for session in opened.sessions]
    assert names == [f"s{number}" for number in range(1, SESSIONS_MAX + 1)]


def test_a_broken_action_is_refused() -> None:
    _, reply = perform(EMPTY, Operation(b"\xff", "s", 1), KIND)
    assert reply.result is Result.REFUSED


def test_round_0_is_for_those_who_never_heard_of_the_register() -> None:
    row, held = accept(AcceptorRow(), propose(Ballot(0, "a/1"), b"first", Ballot(1, "a")))
    assert (held.granted, row.accepted, row.promised) == (True, Ballot(0, "a/1"), Ballot(1, "a"))
    same, held = accept(row, propose(Ballot(0, "b/1"), b"other", Ballot(1, "b")))
    assert (same, held.granted, held.promised) == (row, False, Ballot(1, "a"))
    promised, _ = prepare(AcceptorRow(), Prepare("r/x", Ballot(1, "c")))
    _, held = accept(promised, propose(Ballot(0, "b/2"), b"other"))
    assert not held.granted


def test_round_0_counts_only_when_everybody_took_it() -> None:
    sets = (("a", "b", "c"),)
    first = Held(True, accepted=Ballot(0, "a/1"))
    assert quorum.unanimous(["a", "b", "c"], sets)
    assert not quorum.unanimous(["a", "b"], sets)
    assert quorum.settled({"a": first, "b": first}, sets) is None
    assert quorum.settled({"a": first, "b": Held(True)}, sets) is None
    assert quorum.settled({"a": first, "b": first, "c": first}, sets) == first


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 10**6), moves=st.booleans())
def test_two_values_are_never_chosen_one_after_the_other_without_the_first(
    seed: int, moves: bool
) -> None:
    """Three proposers append to a list with lost messages, restarts and a joint layout change.

    Proposals of round 0 are made at any time and arrive whenever it pleases the network, and
    readers look on: whatever was chosen or read, one is always the beginning of the other, and
    nobody reads less than what was chosen before.
    """
    rng = random.Random(seed)
    rows = {name: AcceptorRow() for name in "abcde"}
    old, new = tuple("abc"), tuple("cde")
    phases = [(old,), (new, old), (new,)] if moves else [(old,)]
    chosen: list[bytes] = []
    read: list[bytes] = []
    ballots = dict.fromkeys("xyz", 0)
    firsts: list[First] = []
    for number in range(40):
        sets = phases[min(len(phases) - 1, number // 14)]
        if moves and number in (14, 28):
            # The handover: nothing is proposed under the next phase before one full round, and
            # what was sent under an older one is refused.
            firsts.clear()
            while not attempt(rows, phases[1], "x", ballots, b"", rng, 1.0, chosen):
                pass
        if rng.random() < 0.1:
            ballots[rng.choice("xyz")] = 0
        item = bytes([65 + number])
        if len(sets) == 1 and rng.random() < (0.5 if number < 4 else 0.1):
            firsts.append(First(sets, Ballot(0, f"{number:02}"), item, rng))
        else:
            attempt(rows, sets, rng.choice("xyz"), ballots, item, rng, 0.7, chosen)
        for first in firsts:
            first.arrive(rows, rng, chosen)
        peeked = {n: Held(True, accepted=rows[n].accepted, value=rows[n].value)
                  for n in quorum.acceptors(sets) if rng.random() < 0.8}  # fmt: skip
        settled = quorum.settled(peeked, sets)
        if settled is not None:
            assert len(settled.value) >= max(map(len, chosen), default=0)
            read.append(settled.value)
    for shorter, longer in itertools.pairwise(sorted([*chosen, *read], key=len)):
        assert longer.startswith(shorter)


class First:
    """A proposal of round 0 whose messages are under way."""

    def __init__(
        self, sets: tuple[tuple[str, ...], ...], ballot: Ballot, item: bytes, rng: random.Random
    ) -> None:
        self.request = propose(ballot, item, Ballot(1, "x"))
        self.waiting = list(quorum.acceptors(sets))
        rng.shuffle(self.waiting)
        self.sets = sets
        self.granted: list[str] = []

    def arrive(self, rows: dict[str, AcceptorRow], rng: random.Random, chosen: list[bytes]) -> None:
        """Some of the messages reach their acceptors; those of the last decide."""
        while self.waiting and rng.random() < 0.7:
            name = self.waiting.pop()
            rows[name], held = accept(rows[name], self.request)
            if held.granted:
                self.granted.append(name)
            if quorum.unanimous(self.granted, self.sets):
                chosen.append(self.request.value)


def attempt(
    rows: dict[str, AcceptorRow],
    sets: tuple[tuple[str, ...], ...],
    proposer: str,
    ballots: dict[str, int],
    item: bytes,
    rng: random.Random,
    arrives: float,
    chosen: list[bytes],
) -> bool:
    """One round of one proposer, each message arriving with some probability."""
    ballots[proposer] += 1
    ballot = Ballot(ballots[proposer], proposer)
    promises: dict[str, Held] = {}
    for name in quorum.acceptors(sets):
        if rng.random() < arrives:
            rows[name], held = prepare(rows[name], Prepare("r/x", ballot))
            ballots[proposer] = max(ballots[proposer], held.promised.round)
            if held.granted and rng.random() < arrives:
                promises[name] = held
    if not quorum.reached(promises, sets):
        return False
    value = quorum.newest(promises).value + item
    accepted = []
    for name in quorum.acceptors(sets):
        if rng.random() < arrives:
            rows[name], held = accept(rows[name], propose(ballot, value))
            if held.granted:
                accepted.append(name)
    if not quorum.reached(accepted, sets):
        return False
    chosen.append(value)
    return True


@pytest.mark.parametrize("name", ["", "x" * 1025])
def test_names_that_no_register_can_have_are_malformed(name: str) -> None:
    with pytest.raises(BadMessage):
        row_key(name)
