"""Nobody talks too much: limits on rates and repetitions. Pure and O(1) an event.

They are far above what a healthy cluster needs and far below a storm: an amplifying loop multiplies
traffic by hundreds (the `kademlia` package sent each of 2,008 stores 31 times, growing).
"""

from __future__ import annotations

from peerdisco_sim.checkers.raft_rules import Fail

WINDOW_S = 5.0


class Rate:
    """Counts events in windows of `WINDOW_S` and complains once when one has too many.

    Args:
        fail: Told of too many.
        rule: What to call that.
        per_second: Limit, on average over a window.
    """

    def __init__(self, fail: Fail, rule: str, per_second: float) -> None:
        self._fail = fail
        self._rule = rule
        self._limit = per_second * WINDOW_S
        self._window: dict[str, int] = {}
        self._count: dict[str, float] = {}
        self.peak = 0.0
        """The highest rate seen in a whole window, per second."""

    def add(self, who: str, now: float, amount: float = 1.0) -> None:
        """So much happened there now."""
        window = int(now / WINDOW_S)
        if self._window.get(who) != window:
            self._window[who], self._count[who] = window, 0.0
        before = self._count[who]
        self._count[who] = count = before + amount
        self.peak = max(self.peak, count / WINDOW_S)
        if before <= self._limit < count:
            detail = f"over {self._limit:.0f} within {WINDOW_S:.0f} s"
            self._fail(self._rule, detail, who)


class Copying:
    """B8: one node gives another the same blob at most twice, and once more for each put of it."""

    def __init__(self, fail: Fail, times: int = 2) -> None:
        self._fail = fail
        self._times = times
        self._copied: dict[tuple[str, str, str], int] = {}
        self._puts: dict[tuple[str, str], int] = {}

    def put(self, node: str, blob: str) -> None:
        """Somebody stores this blob through the node."""
        self._puts[node, blob] = self._puts.get((node, blob), 0) + 1

    def lost(self, node: str, blob: str) -> None:
        """The node's copy went bad or was deleted: it may be given again."""
        for key in [key for key in self._copied if key[1:] == (node, blob)]:
            del self._copied[key]

    def lost_all(self, node: str) -> None:
        """The node's disk is gone."""
        for key in [key for key in self._copied if key[1] == node]:
            del self._copied[key]

    def copied(self, source: str, target: str, blob: str) -> None:
        """A copy's bytes arrived and were kept."""
        key = (source, target, blob)
        count = self._copied[key] = self._copied.get(key, 0) + 1
        if count > self._times + self._puts.get((source, blob), 0):
            detail = f"{blob[:15]} was given to {target} {count} times"
            self._fail("B8 copied again and again", detail, source)
