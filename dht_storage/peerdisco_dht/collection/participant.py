"""A home's part in a garbage collection: remember marks, then judge its own copies.

A generation is open on a node from Begin until the placement changes, a newer one begins or the
node restarts; marks live in memory only. A node judges nothing unless all 4096 partitions have told
it what they name, so whatever goes missing on the way means that garbage stays.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from peerdisco_dht.blobs.identity import partition_of_blob
from peerdisco_dht.blobs.leases import Leases
from peerdisco_dht.blobs.messages import BlobRow, Condemned, Verdict, Where
from peerdisco_dht.blobs.pins import SHARED, owner_of
from peerdisco_dht.blobs.shelf import BLOBS, Shelf
from peerdisco_dht.collection import rules
from peerdisco_dht.collection.filter import MarkFilter
from peerdisco_dht.collection.messages import Begin, Marks, Sweep, Swept, Taken
from peerdisco_dht.collection.rules import Finding, Terms
from peerdisco_dht.config import StorageConfig
from peerdisco_dht.epochs import EpochRpc
from peerdisco_dht.keeper import LayoutKeeper
from peerdisco_dht.keys import PARTITIONS
from peerdisco_dht.messages import decode, encode
from peerdisco_dht.ports import Disk, NodeId, Store
from peerdisco_dht.wanted import USUAL, Wanted

logger = logging.getLogger(__name__)

BEGIN = "dht/collection/begin"
MARKS = "dht/collection/marks"
SWEEP = "dht/collection/sweep"
GENERATION_ROW = b"dht/collection/generation"
PAGE_ROWS = 256
COUNT_ROWS = 1000
SAMPLE_MAX = 100
"""Reasons that a page of a dry run reports."""


@dataclass(slots=True)
class _Open:
    """A generation that is open here."""

    terms: Terms
    since: int
    marks: MarkFilter
    owners: dict[str, None] = field(default_factory=dict)
    wishes: dict[bytes, int] = field(default_factory=dict)
    """Copies wanted by tags with a number of their own; these are not in `marks`."""
    told: int = 0
    """Bit map of the partitions that have told everything."""

    @property
    def complete(self) -> bool:
        return self.told.bit_count() == PARTITIONS


class Participant:
    """Answers the collector and the markers for this node."""

    def __init__(
        self,
        me: NodeId,
        shelf: Shelf,
        disk: Disk,
        index: Store,
        leases: Leases,
        epochs: EpochRpc,
        keeper: LayoutKeeper,
        wanted: Wanted,
        repair: Callable[[str], None],
        config: StorageConfig,
    ) -> None:
        self._me = me
        self._shelf = shelf
        self._disk = disk
        self._index = index
        self._leases = leases
        self._keeper = keeper
        self._wanted = wanted
        self._repair = repair
        self._config = config
        self._open: _Open | None = None
        row = index.get(GENERATION_ROW)
        leases.generation = int(row) if row is not None else 0
        epochs.serve(BEGIN, self._begin)
        epochs.serve(MARKS, self._marks)
        epochs.serve(SWEEP, self._sweep)

    async def _begin(self, peer: NodeId, body: bytes) -> bytes:
        number = decode(body, Begin).generation
        newest = self._leases.generation
        if number <= newest:
            return encode(Taken(f"generation {newest} began here already"))
        if self._keeper.layout.previous:
            return encode(Taken("the layout is changing"))
        # Raised before it is durable, and told only when it is: what is touched from here on
        # bears the new number even if the node restarts.
        self._leases.generation = number
        self._open = None
        await self._index.commit([(GENERATION_ROW, b"%d" % number)])
        await self._shelf.settle()
        expected = await self._count()
        if number != self._leases.generation:
            return encode(Taken("a newer generation began meanwhile"))
        terms = Terms(number, self._leases.wall_time(), self._config.trash_s)
        since = self._keeper.layout.since
        self._open = _Open(terms, since, MarkFilter(expected, number))
        logger.info(f"event=collection_begins generation={number} collector={peer} rows={expected}")
        return encode(Taken())

    async def _marks(self, peer: NodeId, body: bytes) -> bytes:
        del peer
        marks = decode(body, Marks)
        now = self._current(marks.generation)
        if now is None:
            return encode(Taken("the generation is not open here"))
        for digest in marks.ids:
            now.marks.add(digest)
        for digest, replicas in marks.wishes:
            now.wishes[digest] = max(replicas, now.wishes.get(digest, 0))
        now.owners.update(dict.fromkeys(marks.owners))
        for partition in marks.partitions:
            now.told |= 1 << partition
        return encode(Taken())

    async def _sweep(self, peer: NodeId, body: bytes) -> bytes:
        del peer
        request = decode(body, Sweep)
        now = self._current(request.generation)
        if now is None:
            return encode(Swept({}, refused="the generation is not open here"))
        if not now.complete:
            missing = PARTITIONS - now.told.bit_count()
            return encode(Swept({}, refused=f"{missing} partitions have not told what they name"))
        rows = self._shelf.scan(request.after, PAGE_ROWS)
        counts: dict[str, tuple[int, int]] = {}
        sample: list[tuple[str, int, str, str]] = []
        for blob, row in rows:
            if self._current(request.generation) is None:
                return encode(Swept(counts, refused="the layout changed meanwhile"))
            finding = await self._apply(blob, row, now, dry_run=request.dry_run)
            bytes_here = row.size if row.where is not Where.NOWHERE else 0
            copies, size = counts.get(finding.verdict, (0, 0))
            counts[finding.verdict] = (copies + 1, size + bytes_here)
            if request.dry_run and finding.verdict in (Verdict.CONDEMN, Verdict.REMOVE):
                sample.append((blob, bytes_here, finding.verdict, finding.reason))
        after = rows[-1][0] if len(rows) == PAGE_ROWS else ""
        if not after and not request.dry_run:
            await self._remove_orphans()
        return encode(Swept(counts, after, tuple(sample[:SAMPLE_MAX])))

    async def _apply(self, blob: str, row: BlobRow, now: _Open, *, dry_run: bool) -> Finding:
        """Judge a row, and unless it is a dry run do so again under its lock and act."""
        if not dry_run:
            row = await self._set_replicas(blob, row, now)
        finding = self._judge(blob, row, now)
        if dry_run or (finding.verdict is Verdict.KEEP and finding.condemned == row.condemned):
            return finding
        latest = finding

        def judgement(blob: str, row: BlobRow) -> tuple[Verdict, Condemned | None]:
            nonlocal latest
            latest = self._judge(blob, row, now)
            return latest.verdict, latest.condemned

        await self._shelf.judge(blob, judgement)
        if latest.verdict is Verdict.CONDEMN:
            # Else whoever has a copy beside the homes would bring it back when they drop theirs.
            await self._shelf.set_replicas(blob, USUAL)
        if latest.verdict is not Verdict.KEEP:
            logger.info(
                f"event=collected verdict={latest.verdict} blob={blob} bytes={row.size} "
                f"generation={now.terms.number} reason={latest.reason!r}"
            )
        return latest

    async def _set_replicas(self, blob: str, row: BlobRow, now: _Open) -> BlobRow:
        """Note how many copies of a blob its tags want together, and let repair see to it."""
        if self._me not in self._keeper.home(partition_of_blob(blob)):
            return row
        digest = bytes.fromhex(blob[3:])
        usual = self._keeper.layout.replicas
        replicas = now.wishes.get(digest)
        if digest in now.marks:
            replicas = max(usual, replicas or usual)
        if replicas is None:
            return row
        replicas = USUAL if replicas == usual else replicas
        if await self._shelf.set_replicas(blob, replicas):
            self._repair(blob)
        return self._shelf.row(blob) or row

    def _judge(self, blob: str, row: BlobRow, now: _Open) -> Finding:
        live = row.pins.live if now.owners else ()
        digest = bytes.fromhex(blob[3:])
        is_home = self._me in self._keeper.home(partition_of_blob(blob))
        return rules.judge(
            row,
            now.terms,
            home=is_home and self._me in self._wanted.nodes(blob, row.replicas),
            named=digest in now.marks or digest in now.wishes,
            held=any(each == SHARED or owner_of(each) in now.owners for each in live),
        )

    def _current(self, generation: int) -> _Open | None:
        """The open generation, if it is this one and the placement is the one it began under."""
        layout = self._keeper.layout
        if self._open is not None and (self._open.since != layout.since or layout.previous):
            self._open = None
        if self._open is None or self._open.terms.number != generation:
            return None
        return self._open

    async def _count(self) -> int:
        count, after = self._shelf.count("", COUNT_ROWS)
        while after:
            await asyncio.sleep(0)
            more, after = self._shelf.count(after, COUNT_ROWS)
            count += more
        return count

    async def _remove_orphans(self) -> None:
        """Remove files without a row, which a crash between two steps leaves behind."""
        for number in range(256):
            directory = f"{BLOBS}/{number:02x}"
            for name in await self._disk.list(directory):
                if not self._shelf.holds(name) and await self._shelf.remove_orphan(directory, name):
                    logger.info(f"event=orphan_removed file={directory}/{name}")
