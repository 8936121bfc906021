"""A rename is taken for durable although the directory was never synced.

Sits in the simulated twin of `peerdisco.host.disk`, where the real one calls fsync on a directory.
"""

from __future__ import annotations

from peerdisco_sim.disk import SimDisk
from peerdisco_sim.filesystem import check_path
from peerdisco_sim.planted.bug import Bug, asked_for, put


def plant() -> None:
    """Rename, and leave it at that."""

    async def rename(self: SimDisk, source: str, target: str) -> None:
        check_path(source)
        await self.step("rename", check_path(target))
        self.files.rename(source, target)

    put(SimDisk, "rename", rename)


BUG = Bug(
    "missing-directory-sync",
    "a file's new name is lost by a power cut after the blob was acknowledged",
    ("B1 acknowledged too early", "B1 blob lost", "B4"),
    plant,
    asked_for("blobs"),
)
