"""A call that fails is made twice more, at once: retries of retries multiply."""

from __future__ import annotations

import asyncio

from peerdisco.peers.service import Peers
from peerdisco_sim.planted.bug import Bug, asked_for, put


def plant() -> None:
    """Two new calls for each that failed, without a pause and without a limit."""
    original = Peers.call

    async def call(self: Peers, peer: str, method: str, body: bytes, *, timeout: float) -> bytes:
        try:
            return await original(self, peer, method, body, timeout=timeout)
        except OSError:
            again = (self.call(peer, method, body, timeout=timeout) for _ in range(2))
            answers = await asyncio.gather(*again)
            return answers[0]

    put(Peers, "call", call)


BUG = Bug(
    "retry-storm",
    "each call that fails brings forth two more",
    ("B8 too many calls", "M6", "N5"),
    plant,
    asked_for("small_jobs"),
)
