"""What must hold of membership (SWIM with generations), as events arrive. Pure and O(1) an event.

`membership.py` listens to the real ledgers; tests feed it by hand.

    M4  numbers never decrease, only their owner raises them, and a restart outdoes all earlier ones
    M5  the dead and the departed do not come back with the numbers that they died with
    M6  each rumour is told a bounded number of times
    M7  nobody outside the cluster appears in any view
"""

from __future__ import annotations

import enum

from peerdisco_sim.checkers.raft_rules import Fail

Life = tuple[int, int]
"""Generation and incarnation."""


class Belief(enum.IntEnum):
    """What a member is believed to be; as in the product, which a test compares."""

    ALIVE = 1
    SUSPECT = 2
    DEAD = 3
    LEFT = 4


class MembershipRules:
    """The judge of all views of a cluster. Nodes are named by their ids."""

    def __init__(self, fail: Fail) -> None:
        self._fail = fail
        self._own: dict[str, Life] = {}

    def born(self, node: str, generation: int) -> None:
        """A node has started with this generation (M4)."""
        before = self._own.get(node)
        if before is not None and (generation, 0) <= before:
            detail = f"{node[:8]} starts as {generation} after it was {before}"
            self._fail("M4 numbers reused", detail, node)
        self._own[node] = (generation, 0)

    def raised(self, node: str, life: Life) -> None:
        """A node speaks with these numbers from now on (M4)."""
        before = self._own.get(node, (0, 0))
        if life < before:
            self._fail("M4 numbers went back", f"{node[:8]} from {before} to {life}", node)
        self._own[node] = max(life, before)

    def met(self, observer: str, subject: str, life: Life) -> None:
        """A view has a new member (M7, M4)."""
        if subject not in self._own:
            self._fail("M7 stranger", f"{subject[:8]} is no node of this cluster", observer)
            return
        self._spoken(observer, subject, life)

    def believed(
        self, observer: str, subject: str, before: tuple[Belief, Life], after: tuple[Belief, Life]
    ) -> None:
        """A view changed what it believes of a member (M4, M5)."""
        if after[1] < before[1]:
            detail = f"{subject[:8]} from {before} to {after}"
            self._fail("M4 numbers went back", detail, observer)
        was_gone, is_present = before[0] >= Belief.DEAD, after[0] <= Belief.SUSPECT
        if was_gone and is_present and after[1] <= before[1]:
            detail = f"{subject[:8]} is {after[0].name} {after[1]} after {before[0].name}"
            self._fail("M5 resurrection", detail, observer)
        self._spoken(observer, subject, after[1])

    def _spoken(self, observer: str, subject: str, life: Life) -> None:
        own = self._own.get(subject)
        if own is not None and life > own:
            detail = f"{subject[:8]} is believed to be {life} but never was more than {own}"
            self._fail("M4 raised by another", detail, observer)


class TellingRules:
    """The judge of one queue of rumours (M6)."""

    def __init__(self, fail: Fail, node: str) -> None:
        self._fail = fail
        self._node = node
        self._told: dict[bytes, int] = {}
        self._most = 0

    def put(self, rumour: bytes) -> None:
        """It is news, once more perhaps."""
        self._told[rumour] = 0

    def took(self, rumours: list[bytes], told_max: int) -> None:
        """These go into a packet; none may have been told as often as that before.

        A cluster that shrinks allows less; what was told in it when it was big stays counted.
        """
        self._most = max(self._most, told_max)
        for rumour in rumours:
            told = self._told[rumour] = self._told.get(rumour, 0) + 1
            if told > self._most:
                detail = f"a rumour was told {told} times, {self._most} are allowed"
                self._fail("M6 told too often", detail, self._node)
