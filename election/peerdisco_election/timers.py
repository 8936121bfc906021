"""When which group is due: one heap for all groups of a node.

A deadline that was changed is left in the heap until its time, and then passed over.
"""

from __future__ import annotations

import heapq
import itertools
from typing import Generic, TypeVar

G = TypeVar("G")


class Timers(Generic[G]):
    """At most one deadline for each group."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, G]] = []
        self._armed: dict[G, float] = {}
        self._numbers = itertools.count()

    def set(self, group: G, deadline: float | None) -> bool:
        """This is the group's deadline now, or it has none; whether there is a new one."""
        if deadline is None:
            self._armed.pop(group, None)
        elif self._armed.get(group) != deadline:
            self._armed[group] = deadline
            heapq.heappush(self._heap, (deadline, next(self._numbers), group))
            return True
        return False

    def armed(self) -> list[G]:
        """All groups that have a deadline."""
        return [*self._armed]

    @property
    def deadline(self) -> float:
        """The nearest; infinity when there is none."""
        while self._heap and self._armed.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else float("inf")

    def due(self, now: float) -> G | None:
        """The next group whose time has come; it has no deadline any more."""
        if self.deadline > now:
            return None
        _, _, group = heapq.heappop(self._heap)
        del self._armed[group]
        return group
