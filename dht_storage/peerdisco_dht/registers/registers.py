"""Plain registers by key: what job pointers and other small agreed facts are kept in.

This is the public face; the protocol is in `coordinator.py` and `acceptor.py`. Each register is
linearizable by itself; nothing is promised about the order between two of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from peerdisco_dht.errors import Forgotten
from peerdisco_dht.messages import encode
from peerdisco_dht.registers.messages import Operation, Result
from peerdisco_dht.registers.plain import CompareAndSet, Create, Delete
from peerdisco_dht.registers.router import Router

PREFIX = "r/"
"""What names of plain registers begin with, so that kinds never collide."""


@dataclass(frozen=True, slots=True)
class Versioned:
    """A value and its version, which grows with every change."""

    version: int
    value: bytes


class Registers:
    """Small replicated values; every method raises Unavailable without a quorum."""

    def __init__(self, router: Router) -> None:
        self._router = router

    async def create(self, key: str, value: bytes) -> bytes:
        """Create the register if it does not exist; returns the value that stands.

        Of several concurrent creators exactly one wins, and all get its value.
        """
        reply = await self._router.submit(PREFIX + key, Operation(encode(Create(value))))
        return reply.answer

    async def read(self, key: str) -> Versioned | None:
        """The newest value, or None when the register does not exist."""
        value = await self._router.read(PREFIX + key)
        return None if value.data is None else Versioned(value.version, value.data)

    async def compare_and_set(self, key: str, expected_version: int, value: bytes) -> bool:
        """Write if the version is the expected one (0: does not exist); False if it is not.

        Raises Forgotten when it stayed unanswered so long that its effect is unknown.
        """
        action = encode(CompareAndSet(expected_version, value))
        reply = await self._router.submit(PREFIX + key, self._router.numbered(action))
        if reply.result is Result.FORGOTTEN:
            raise Forgotten(key)
        return reply.result is Result.APPLIED

    async def delete(self, key: str) -> None:
        """Let the register exist no more; one that does not exist is no error."""
        action = encode(Delete())
        reply = await self._router.submit(PREFIX + key, self._router.numbered(action))
        if reply.result is Result.FORGOTTEN:
            raise Forgotten(key)
