"""Which nodes have lost their disk: what they held durably is gone, and nobody is to blame."""

from __future__ import annotations

from peerdisco_sim.arena import Arena
from peerdisco_sim.recorder import TimedEvent


class Losses:
    """Listens for lost disks.

    Attributes:
        ids: Ids of the nodes that lived on them, which never come back.
    """

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self.ids: dict[str, None] = {}
        arena.recorder.subscribe(self._happened)

    def _happened(self, event: TimedEvent) -> None:
        if event.kind == "fault" and event.data.get("kind") == "disk_loss":
            names = str(event.data.get("nodes", "")).split(",")
            ids = [node for node, name in self._arena.ready.names.items() if name in names]
            self.ids.update(dict.fromkeys(ids))
