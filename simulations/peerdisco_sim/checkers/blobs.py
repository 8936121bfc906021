"""Blobs, checked on the disks themselves: see `blob_rules.py` for the rules.

An acknowledgement is compared with what a power cut at that very moment would leave, so a missing
sync, a failed one that counts as done (B9), and an acknowledgement before its quorum show at once.
Faults that destroy data trigger a count of the copies. What a boot leaves on a shelf must be whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from peerdisco.node import Node
from peerdisco_dht.blobs.acknowledgement import Targets
from peerdisco_dht.blobs.identity import partition_of_blob
from peerdisco_dht.blobs.messages import Where
from peerdisco_dht.blobs.pins import Pins, owner_of
from peerdisco_sim.arena import Arena
from peerdisco_sim.checkers import taps
from peerdisco_sim.checkers.blob_rules import BlobRules
from peerdisco_sim.checkers.losses import Losses
from peerdisco_sim.checkers.stored import blob_rows, has_intact, is_in_trash
from peerdisco_sim.disk import SimDisk
from peerdisco_sim.recorder import TimedEvent

DESTRUCTIVE = ("power_cut", "crash_at_step", "bit_rot", "disk_loss")
"""Kinds of faults after which copies are counted."""


class BlobChecker:
    """B1, B3, B4, B6 and B9 of the list in `__init__.py`; B2 is every reader's own check."""

    name = "blobs"

    def begin(self, arena: Arena) -> None:
        """See Checker."""
        self._arena = arena
        self.rules = BlobRules(arena.fail)
        self.marks: Counter[str] = Counter()
        self._rotten: dict[tuple[str, str], None] = {}
        self._losses = Losses(arena)
        self._seen: dict[tuple[str, str], None] = {}
        self._due = False
        arena.observe(self._observe)
        arena.recorder.subscribe(self._happened)

    def waiting_for(self) -> str:
        """B1: until repair has brought every blob to its homes in the core."""
        nodes = {name: node for name in self._arena.core if (node := self._arena.node(name))}
        if not nodes:
            return ""
        keeper = max(nodes.values(), key=lambda node: node.storage.layout.epoch).storage._keeper
        if keeper.layout.previous:
            return "B1: a handover"
        # By id: a machine whose disk was lost is another node now, and its old id a dead home.
        names = {node.identity.node_id: name for name, node in nodes.items()}
        for blob in self.rules.acknowledged:
            if not self.rules.must_live(blob):
                continue
            homes = [names[home] for home in keeper.home(partition_of_blob(blob)) if home in names]
            lacking = [name for name in homes if not self._has(name, blob)]
            # A copy in the trash is carried nowhere; that it is dropped in the end is B6's matter.
            if lacking and any(self._keeps(name, blob) for name in nodes):
                return f"B1: {blob[:15]} is not on its homes {lacking}"
        return ""

    def at_rest(self) -> None:
        """All copies are there, and all are whole."""
        if wrong := self.waiting_for():
            self._arena.fail("B1 not repaired", wrong)
        self._count()
        for name in self._arena.core:
            self._inspect(name)

    def _keeps(self, name: str, blob: str) -> bool:
        """Whether a machine has a copy that the garbage collection has not condemned."""
        return self._has(name, blob) and not is_in_trash(self._arena.cluster.node(name), blob)

    def _has(self, name: str, blob: str) -> bool:
        """Whether a machine has an intact copy; once it has, in the calm, it keeps it."""
        if (name, blob) not in self._seen and has_intact(self._arena.cluster.node(name), blob):
            self._seen[name, blob] = None
        # Rot that nobody has read yet is nobody's fault: the product does not scrub so far.
        return (name, blob) in self._seen or (name, blob) in self._rotten

    # -- listening ----------------------------------------------------------------------------

    def _observe(self, name: str, node: Node) -> None:
        storage = node.storage
        putter, shelf, zone = storage.blobs._putter, storage._shelf, storage._keeper.zone
        machine = self._arena.cluster.node(name)
        disk = machine.devices["disk"]
        assert isinstance(disk, SimDisk)

        def spread(blob: str, size: int, pins: Pins, targets: Targets, _: object) -> taps.Observer:
            del size
            self.rules.begun(blob)
            self.marks["blob.stand_in"] += any(each not in targets.homes for each in targets.now)
            owner = owner_of(pins.live[0])

            def acked(_: object) -> None:
                holders = self._holders(blob)
                # Who has lost a disk, or a bit of it, may have had the copy when it said so.
                there = [*holders, *(name for name, rotten in self._rotten if rotten == blob)]
                ids = [i for i, m in self._arena.ready.names.items() if m in there]
                ids += self._losses.ids
                enough = targets.satisfied(ids, zone)
                self.rules.acked(name, blob, owner, holders, enough=enough)

            return acked

        def release(blob: str, *, owner: str = "") -> None:
            self.rules.released(blob, owner)

        taps.around_async(putter, "_spread", spread)
        taps.before(storage.blobs, "delete", release)
        taps.before(shelf, "keep_inline", lambda blob, *_: self.rules.begun(blob))
        taps.before(shelf, "keep_file", lambda _, chunks, *__: self._keeps_file(chunks.id))
        taps.before(shelf, "set_aside", lambda _: self._mark("blob.set_aside"))
        taps.before(storage._repair, "_send", lambda _: self._mark("blob.repaired"))
        taps.before(shelf, "_remove", lambda blob, *_: self.rules.dropped(name, blob))
        self._inspect(name)

    def _mark(self, name: str) -> None:
        self.marks[name] += 1

    def _keeps_file(self, blob: str) -> None:
        self._mark("blob.file")
        self.rules.begun(blob)

    def _happened(self, event: TimedEvent) -> None:
        kind = event.data.get("kind", event.detail)
        if event.kind != "fault" or kind not in DESTRUCTIVE or self._due:
            return
        if kind == "bit_rot":
            self._note_rot()
        # Several faults at one moment are counted after once.
        self._due = True
        self._arena.world.after(0.0, self._count)

    def _note_rot(self) -> None:
        """Remember which copies chance has damaged: nobody else may be blamed for those."""
        for name in self._arena.cluster.names:
            machine = self._arena.cluster.node(name)
            for blob, row in blob_rows(machine):
                if row.where is Where.FILE and not has_intact(machine, blob):
                    self._rotten[name, blob] = None

    def _count(self) -> None:
        self._due = False
        for blob in list(self.rules.acknowledged):
            if self.rules.must_live(blob):
                self.rules.counted(blob, self._holders(blob))

    def _inspect(self, name: str) -> None:
        """B3, B4: what a machine lists is whole."""
        machine = self._arena.cluster.node(name)
        for blob, row in blob_rows(machine):
            if row.where is not Where.NOWHERE:
                rotten = (name, blob) in self._rotten
                intact = has_intact(machine, blob)
                self.rules.on_shelf(name, blob, intact=intact, rotten=rotten)

    def _holders(self, blob: str) -> Sequence[str]:
        cluster = self._arena.cluster
        return [name for name in cluster.names if has_intact(cluster.node(name), blob)]
