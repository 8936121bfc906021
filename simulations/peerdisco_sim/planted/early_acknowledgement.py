"""A put is acknowledged as soon as copies are on their way."""

from __future__ import annotations

import asyncio

from peerdisco_dht.blobs.acknowledgement import Targets
from peerdisco_dht.blobs.pins import Pins
from peerdisco_dht.blobs.putting import BlobInfo, Putter, _Results
from peerdisco_dht.ports import NodeId
from peerdisco_sim.planted.bug import Bug, asked_for, put


def plant() -> None:
    """Send, and do not wait."""

    async def spread(
        self: Putter, blob: str, size: int, pins: Pins, targets: Targets, holders: list[NodeId]
    ) -> BlobInfo:
        results: _Results = asyncio.Queue()
        for node in targets.now:
            if node not in holders:
                self._background.start(self._send(node, blob, pins, results))
        return BlobInfo(blob, size, len(targets.now))

    put(Putter, "_spread", spread)


BUG = Bug(
    "early-acknowledgement",
    "a put is acknowledged before a quorum has durable copies",
    ("B1",),
    plant,
    asked_for("blobs"),
)
