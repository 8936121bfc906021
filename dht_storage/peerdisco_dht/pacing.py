"""How fast background work may go: bytes per second, fewer of them while somebody waits.

Repair and scrub take their bytes from a `Throttle` before they move them. While clients put or read
blobs through this node, or tasks run on it, the throttle gives the busy rate; a moment after the
last of them it gives the full one, so that an idle node rebuilds as fast as it can.

`Pace` is pure; `Traffic` and `Throttle` know the loop's clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

QUIET_S = 1.0
"""So long after its last operation the foreground counts as busy."""
WAIT_S_MAX = 5.0
"""Nobody waits longer for the next piece: a transfer that stands still is taken for dead."""


class Pace:
    """A line at which everybody waits his turn; its rate may differ from piece to piece."""

    def __init__(self) -> None:
        self._free_at = 0.0

    def reserve(self, size: int, rate: int, now: float) -> float:
        """Seconds to wait before moving so many bytes, at `rate` bytes per second."""
        wait_s = min(WAIT_S_MAX, max(0.0, self._free_at - now))
        self._free_at = now + wait_s + size / rate
        return wait_s


class Traffic:
    """Knows whether somebody in the foreground uses this node.

    Args:
        also: Whether others than users of blobs do.
    """

    def __init__(self, also: Callable[[], bool] = lambda: False) -> None:
        self._also = also
        self._running = 0
        self._ended = -QUIET_S

    @contextmanager
    def foreground(self) -> Iterator[None]:
        """Count as foreground work within."""
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1
            self._ended = asyncio.get_running_loop().time()

    def busy(self, now: float) -> bool:
        """Whether foreground work is under way, or ended a moment ago."""
        return self._running > 0 or now - self._ended < QUIET_S or self._also()


class Throttle:
    """The bytes of one kind of background work on this node.

    Args:
        traffic: Tells when to yield.
        bytes_per_s: The limit while nobody else uses the node.
        busy_bytes_per_s: The limit while somebody does.
    """

    def __init__(self, traffic: Traffic, bytes_per_s: int, busy_bytes_per_s: int) -> None:
        self._traffic = traffic
        self._full = bytes_per_s
        self._busy = min(bytes_per_s, busy_bytes_per_s)
        self._pace = Pace()

    async def take(self, size: int, *, hurry: bool = False) -> None:
        """Return when so many bytes may move; those in a hurry do not yield to anybody."""
        now = asyncio.get_running_loop().time()
        rate = self._busy if self._traffic.busy(now) and not hurry else self._full
        wait_s = self._pace.reserve(size, rate, now)
        if wait_s:
            await asyncio.sleep(wait_s)
