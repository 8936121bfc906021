"""Bounded traffic in the real cluster (M6, B8): datagrams, bytes, calls and copies per node."""

from __future__ import annotations

from peerdisco.node import Node
from peerdisco_dht.blobs.messages import Copy, Keep, Offer, Stored
from peerdisco_sim.arena import Arena
from peerdisco_sim.checkers import taps
from peerdisco_sim.checkers.traffic_rules import Copying, Rate
from peerdisco_sim.recorder import TimedEvent

DATAGRAMS_PER_S = 400.0
DATAGRAM_BYTES_PER_S = 256 * 1024.0
CALLS_PER_S = 2000.0
"""One node's, to all others together; a busy one with ten clients needs three hundred."""


class TrafficChecker:
    """M6 and B8 of the list in `__init__.py`."""

    name = "traffic"

    def begin(self, arena: Arena) -> None:
        """See Checker."""
        self._arena = arena
        self.datagrams = Rate(arena.fail, "M6 too many datagrams", DATAGRAMS_PER_S)
        self.bytes = Rate(arena.fail, "M6 too many bytes", DATAGRAM_BYTES_PER_S)
        self.calls = Rate(arena.fail, "B8 too many calls", CALLS_PER_S)
        self.copying = Copying(arena.fail)
        arena.observe(self._observe)
        arena.recorder.subscribe(self._happened)

    def at_rest(self) -> None:
        """Nothing: the limits hold at all times."""

    def _observe(self, name: str, node: Node) -> None:
        world, storage = self._arena.world, node.storage

        def datagram(address: object, channel: int, payload: bytes) -> None:
            del address, channel
            self.datagrams.add(name, world.now)
            self.bytes.add(name, world.now, len(payload))

        def call(*_: object, **__: object) -> None:
            self.calls.add(name, world.now)

        taps.before(node.membership._datagrams, "send", datagram)
        for method in ("call", "fetch", "push"):
            taps.before(node.peers, method, call)

        putter, sender, shelf = storage.blobs._putter, storage.blobs._putter._sender, storage._shelf
        taps.before(putter, "_spread", lambda blob, *_: self.copying.put(name, blob))
        for method in ("_remove", "_forget", "doubt"):
            taps.before(shelf, method, lambda blob, *_: self.copying.lost(name, blob))
        taps.around_async(sender, "send_small", lambda peer, keep: self._copies(name, peer, keep))
        taps.around_async(sender, "_push", lambda peer, offer, *_: self._copies(name, peer, offer))

    def _happened(self, event: TimedEvent) -> None:
        if event.kind == "fault" and event.data.get("kind") == "disk_loss":
            self.copying.lost_all(str(event.data["nodes"]).split(",")[0])  # as in `_lose_disk`

    def _copies(self, name: str, peer: str, what: Keep | Offer) -> taps.Observer:
        def finish(stored: Stored) -> None:
            if stored.copy is Copy.HELD:
                self.copying.copied(name, self._arena.name_of(peer), what.id)

        return finish
