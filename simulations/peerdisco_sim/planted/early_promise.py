"""An acceptor's promise leaves before it is durable."""

from __future__ import annotations

import asyncio

from peerdisco_dht.ports import Write
from peerdisco_dht.registers.rows import AcceptorRows
from peerdisco_sim.planted.bug import Bug, asked_for, put


def plant() -> None:
    """Let the commit go on by itself."""
    original = AcceptorRows._commit

    async def commit(self: AcceptorRows, writes: list[Write]) -> None:
        task = asyncio.get_running_loop().create_task(original(self, writes))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.sleep(0)

    put(AcceptorRows, "_commit", commit)


BUG = Bug(
    "early-promise",
    "an acceptor answers before its row is durable",
    ("T1", "B5", "R7"),
    plant,
    asked_for("tags"),
)
