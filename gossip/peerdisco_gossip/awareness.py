"""How much this node trusts its own hearing: Lifeguard's local health (section IV.A).

A node that misses what it should have heard suspects itself first: its score rises, and with it
the time that it gives everybody else.
"""

from __future__ import annotations


class Awareness:
    """A score from 0 (healthy) to `limit - 1`; the multiplier for probes is one more."""

    def __init__(self, limit: int) -> None:
        assert limit >= 1
        self._limit = limit
        self.score = 0

    @property
    def multiplier(self) -> int:
        """By how much probe intervals and timeouts are stretched."""
        return self.score + 1

    def improve(self) -> None:
        """Something was heard in time."""
        self.score = max(0, self.score - 1)

    def worsen(self, by: int = 1) -> None:
        """Something was missed, or this node stood still."""
        assert by >= 0
        self.score = min(self._limit - 1, self.score + by)
