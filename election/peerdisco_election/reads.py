"""Reads that wait until a quorum has confirmed the leadership (paper, section 8).

A leader may not trust its own state: a newer leader may have committed more. Each read notes the
commit index, then a heartbeat round that carries its token must be answered by a quorum. Tokens
grow, so that one answer confirms all reads before it. No leases: elections here are started by
evidence, and evidence would break a lease.
"""

from __future__ import annotations

from collections import deque


class Reads:
    """The queue of one leader."""

    def __init__(self) -> None:
        self._early: list[int] = []
        self._waiting: deque[tuple[int, int]] = deque()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    @property
    def latest(self) -> int:
        """The token that the next heartbeat should carry; 0 when no read waits for one."""
        return self._waiting[-1][0] if self._waiting else 0

    @property
    def last(self) -> int:
        """The latest token of all that wait, also of those that wait for a first commit."""
        return self._early[-1] if self._early else self.latest

    def postpone(self, token: int) -> None:
        """Keep a read until the leader has committed an entry of its own term."""
        self._early.append(token)

    def begin(self, commit: int) -> bool:
        """That has happened: postponed reads may start their round. Whether there are any."""
        begun = [(token, commit) for token in self._early]
        self._waiting.extend(begun)
        self._early.clear()
        return bool(begun)

    def add(self, token: int, commit: int) -> None:
        """A read that begins its round now."""
        assert token > self.latest, "tokens grow"
        self._waiting.append((token, commit))

    def confirm(self, token: int) -> tuple[int, int] | None:
        """A quorum has acknowledged `token`: the latest finished read and its index, if any."""
        finished = None
        while self._waiting and self._waiting[0][0] <= token:
            finished = self._waiting.popleft()
        return finished
