"""A blob's file is renamed to its place without its bytes having been synced."""

from __future__ import annotations

from peerdisco_dht.blobs.shelf import Spool
from peerdisco_sim.planted.bug import Bug, asked_for, put


def plant() -> None:
    """Close the spool without a sync."""

    async def seal(self: Spool) -> None:
        await self._writer.close()

    put(Spool, "seal", seal)


BUG = Bug(
    "missing-sync",
    "a blob is acknowledged although its bytes were never synced",
    ("B1 acknowledged too early", "B1 blob lost", "B4"),
    plant,
    asked_for("blobs"),
)
