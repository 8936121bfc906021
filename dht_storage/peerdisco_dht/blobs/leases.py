"""Leases: how long the garbage collection must leave a copy alone, whatever it finds.

Every copy that is put, pinned or handed over gets a lease on the wall clock, so that a client has
time to name what it uploaded. Since clocks jump, each touch also notes the newest generation of the
collection that this node has heard of: a generation never condemns what was touched after it
began here, whatever the time. The rules that read both are in `collection/rules.py`.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from peerdisco_dht.blobs.messages import BlobRow


class Leases:
    """Stamps rows.

    Args:
        wall_time: The calendar of this node.
        lease_s: How long a fresh lease lasts.
    """

    def __init__(self, wall_time: Callable[[], float], lease_s: float) -> None:
        self.wall_time = wall_time
        self._lease_s = lease_s
        self.generation = 0
        """The newest generation of the collection that this node has heard of."""

    def fresh(self) -> float:
        """A lease that begins now."""
        return self.wall_time() + self._lease_s

    def of_copy(self, lease: float | None) -> float:
        """The lease that a copy brings with it; a fresh one when it brings none."""
        return self.fresh() if lease is None else lease

    def renewed(self, row: BlobRow) -> float:
        """A fresh lease, unless the present one will do for a while: that spares a sync."""
        now = self.wall_time()
        return row.lease if row.lease >= now + self._lease_s / 2 else now + self._lease_s

    def touch(self, row: BlobRow, lease: float) -> BlobRow:
        """The row with a lease, out of the trash, and safe from the generation that runs now."""
        return msgspec.structs.replace(row, lease=lease, touched=self.generation, condemned=None)
