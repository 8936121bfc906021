"""Reading every copy on this node again, slowly, before somebody needs it.

A pass goes through the shelf in order of ids, reads each copy to its end and compares its hashes.
What has rotted is set aside, not deleted, and repair is told; what the disk refuses to read counts
as missing until repair has brought it again. The place where a pass is, is saved now and then, so
that a restart goes on there. The next pass begins one period after the last one began.

A file that was set aside is removed only when this node has a good copy again: until then its
remains may be the best that there is.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

import msgspec

from peerdisco_dht.blobs.identity import CHUNK_BYTES, is_id
from peerdisco_dht.blobs.messages import Where
from peerdisco_dht.blobs.shelf import SET_ASIDE, Shelf
from peerdisco_dht.config import StorageConfig
from peerdisco_dht.messages import BadMessage, Message, decode, encode
from peerdisco_dht.pacing import Throttle
from peerdisco_dht.ports import Disk, Store

logger = logging.getLogger(__name__)

ROW = b"dht/scrub"
PAGE_ROWS = 100
SAVE_INTERVAL_S = 10.0
CHECK_INTERVAL_S = 60.0
"""How often the calendar is asked whether a pass is due."""


class ScrubPass(Message, frozen=True, array_like=True):
    """One pass over all copies.

    Attributes:
        began: Wall time; 0 when there was none.
        finished: Wall time; 0 while it goes on.
        blobs: Copies that were read to their end.
        bytes: Their bytes.
        rotten: Copies that had changed, and were set aside.
        unreadable: Copies that the disk refused to read.
    """

    began: float = 0.0
    finished: float = 0.0
    blobs: int = 0
    bytes: int = 0
    rotten: int = 0
    unreadable: int = 0


class ScrubState(Message, frozen=True, array_like=True):
    """Where the scrub of a node is; this is what it saves.

    Attributes:
        since: Wall time from which the period of the first pass counts.
        after: The running pass goes on behind this id.
        running: The pass that is under way; None between two.
        last: The last one that was finished.
        aside: Copies that lie aside because this node has no good one in their place.
    """

    since: float
    after: str = ""
    running: ScrubPass | None = None
    last: ScrubPass | None = None
    aside: int = 0


class Scrub:
    """Scrubs the copies of this node.

    Args:
        shelf: The copies.
        disk: Where what was set aside lies.
        index: Keeps the place of the pass.
        throttle: The limit on reading.
        wall_time: The calendar.
        config: The period.
    """

    def __init__(
        self,
        shelf: Shelf,
        disk: Disk,
        index: Store,
        throttle: Throttle,
        wall_time: Callable[[], float],
        config: StorageConfig,
    ) -> None:
        self._shelf = shelf
        self._disk = disk
        self._index = index
        self._throttle = throttle
        self._wall_time = wall_time
        self._period_s = config.scrub_period_s
        self._asked = asyncio.Event()
        self.state = self._load()

    def ask(self) -> None:
        """Begin a pass now, unless one is under way."""
        if self.state.running is None:
            self._asked.set()

    async def run(self) -> None:
        """Scrub until cancelled; trouble with the disk interrupts it for a while."""
        while True:
            try:
                await self._save()
                while True:
                    await self._until_due()
                    self._asked.clear()
                    await self._pass()
            except OSError as error:
                logger.warning(f"event=scrub_interrupted error={error}")
                await asyncio.sleep(CHECK_INTERVAL_S)

    async def _until_due(self) -> None:
        while self.state.running is None and not self._is_due():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CHECK_INTERVAL_S):
                    await self._asked.wait()

    def _is_due(self) -> bool:
        """Whether a pass must begin; a calendar that was set back makes one begin early."""
        last = self.state.last
        since = last.began if last is not None else self.state.since
        return self._asked.is_set() or not 0.0 <= self._wall_time() - since < self._period_s

    async def _pass(self) -> None:
        """Read everything behind the place where the last life of the node had come."""
        loop = asyncio.get_running_loop()
        if self.state.running is None:
            self._change(running=ScrubPass(self._wall_time()), after="")
        saved_at = loop.time()
        while rows := self._shelf.scan(self.state.after, PAGE_ROWS):
            for blob, row in rows:
                if row.where is not Where.NOWHERE:
                    await self._check(blob)
                self._change(after=blob)
                if loop.time() - saved_at >= SAVE_INTERVAL_S:
                    saved_at = loop.time()
                    await self._save()
            await asyncio.sleep(0)
        await self._tidy()
        done = self.state.running
        assert done is not None
        done = msgspec.structs.replace(done, finished=self._wall_time())
        self._change(running=None, last=done, after="")
        await self._save()
        logger.info(
            f"event=scrubbed blobs={done.blobs} bytes={done.bytes} rotten={done.rotten} "
            f"unreadable={done.unreadable} aside={self.state.aside}"
        )

    async def _check(self, blob: str) -> None:
        """Read one copy to its end."""
        chunks = self._shelf.chunk_list(blob)
        if chunks is None:
            return
        try:
            good = chunks.matches(blob)
            for index in range(chunks.count if good else 0):
                await self._throttle.take(min(CHUNK_BYTES, chunks.size - index * CHUNK_BYTES))
                chunk = await self._shelf.read_raw(blob, index)
                good = good and chunks.verifies(index, chunk)
        except OSError as error:
            if self._shelf.holds(blob):
                logger.warning(f"event=unreadable_copy blob={blob} error={error}")
                self._shelf.doubt(blob)
                self._count(unreadable=1)
            return
        if good:
            self._count(blobs=1, size=chunks.size)
        elif await self._shelf.set_aside(blob):
            self._count(rotten=1)

    async def _tidy(self) -> None:
        """Remove what lies aside although a good copy is back in its place."""
        aside = 0
        for blob in await self._disk.list(SET_ASIDE):
            if is_id(blob) and self._shelf.holds(blob):
                await self._disk.remove(f"{SET_ASIDE}/{blob}")
            else:
                aside += 1
        self._change(aside=aside)

    def _count(
        self, *, blobs: int = 0, size: int = 0, rotten: int = 0, unreadable: int = 0
    ) -> None:
        so_far = self.state.running
        assert so_far is not None
        self._change(
            running=ScrubPass(
                so_far.began,
                0.0,
                so_far.blobs + blobs,
                so_far.bytes + size,
                so_far.rotten + rotten,
                so_far.unreadable + unreadable,
            )
        )

    def _change(self, **changes: object) -> None:
        self.state = msgspec.structs.replace(self.state, **changes)

    def _load(self) -> ScrubState:
        row = self._index.get(ROW)
        try:
            return decode(row, ScrubState) if row is not None else ScrubState(self._wall_time())
        except BadMessage as error:
            logger.warning(f"event=scrub_state_unreadable error={error}")
            return ScrubState(self._wall_time())

    async def _save(self) -> None:
        await self._index.commit([(ROW, encode(self.state))])
