"""Is this history linearizable? A small decision procedure with a budget. Pure.

A history is a list of operations with the times of their calls and returns; a model says what each
does to a state. The search is that of Wing and Gong with Lowe's memo: lift operations one after the
other out of a list of calls and returns, never past the return of one that still stands in it, and
never twice into the same pair of (lifted operations, state). It is exponential at worst, so it
stops after so many states and says that it does not know; the caller counts those.

An operation whose outcome nobody knows returns at infinity: it may take effect at any time after
its call, or so late that nobody ever sees it.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol

NEVER = math.inf
"""The return time of an operation with an unknown outcome."""

STATES_MAX = 200_000


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a history.

    Attributes:
        call: When it was invoked.
        end: When its outcome became known; NEVER when it did not.
        action: What was asked for.
        result: What came back; None when unknown.
        process: Who asked, for people.
    """

    call: float
    end: float
    action: Hashable
    result: Hashable = None
    process: str = ""

    @property
    def is_known(self) -> bool:
        """Whether the outcome is known."""
        return self.end != NEVER


class Model(Protocol):
    """What operations mean, one after the other."""

    def initial(self) -> Hashable:
        """The state before all operations."""

    def step(self, state: Hashable, operation: Operation) -> Hashable | None:
        """The state after the operation, or None when it cannot have had that result there.

        An operation with an unknown outcome must be possible in every state.
        """


class Verdict(enum.StrEnum):
    """What was found out."""

    LINEARIZABLE = "linearizable"
    VIOLATION = "violation"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer.

    Attributes:
        verdict: What was found out.
        states: How many pairs of lifted operations and state were looked at.
        stuck: On a violation, the operation that nobody could order: the first one whose return
            was reached in the longest order found.
    """

    verdict: Verdict
    states: int
    stuck: Operation | None = None


class _Node:
    """A call or a return in the doubly linked list of what is still to be lifted."""

    __slots__ = ("after", "before", "is_call", "number", "partner")

    def __init__(self, number: int, *, is_call: bool) -> None:
        self.number = number
        self.is_call = is_call
        self.partner: _Node | None = None
        self.before: _Node | None = None
        self.after: _Node | None = None

    def lift(self) -> None:
        """Take this call and its return out of the list; `unlift` in reverse order."""
        for node in (self, self.partner):
            assert node is not None
            assert node.before is not None
            node.before.after = node.after
            if node.after is not None:
                node.after.before = node.before

    def unlift(self) -> None:
        """Put them back where they were."""
        for node in (self.partner, self):
            assert node is not None
            assert node.before is not None
            node.before.after = node
            if node.after is not None:
                node.after.before = node


def decide(history: Sequence[Operation], model: Model, *, states_max: int = STATES_MAX) -> Decision:
    """Whether one order of all operations explains every result."""
    head = _linked(history)
    state = model.initial()
    lifted = 0
    seen: dict[tuple[int, Hashable], None] = {(0, state): None}
    path: list[tuple[_Node, Hashable]] = []
    node = head.after
    furthest, stuck = -1, None
    while head.after is not None:
        if node is not None and node.is_call:
            following = model.step(state, history[node.number])
            key = (lifted | 1 << node.number, following)
            if following is not None and key not in seen:
                if len(seen) >= states_max:
                    return Decision(Verdict.UNDECIDED, len(seen))
                seen[key] = None
                path.append((node, state))
                state, lifted = following, key[0]
                node.lift()
                node = head.after
            else:
                node = node.after
            continue
        # The return of an operation that still stands: nothing further may come before it.
        if node is not None and len(path) > furthest:
            furthest, stuck = len(path), history[node.number]
        if not path:
            return Decision(Verdict.VIOLATION, len(seen), stuck)
        node, state = path.pop()
        lifted &= ~(1 << node.number)
        node.unlift()
        node = node.after
    return Decision(Verdict.LINEARIZABLE, len(seen))


def _linked(history: Sequence[Operation]) -> _Node:
    """Calls and returns in order of time; of equal times calls come first, which allows more."""
    events: list[tuple[float, int, int, _Node]] = []
    for number, operation in enumerate(history):
        assert operation.call <= operation.end, "an operation ended before it began"
        call, end = _Node(number, is_call=True), _Node(number, is_call=False)
        call.partner = end
        events.append((operation.call, 0, number, call))
        events.append((operation.end, 1, number, end))
    events.sort(key=lambda event: event[:3])
    head = last = _Node(-1, is_call=False)
    for *_, node in events:
        last.after, node.before = node, last
        last = node
    return head
