"""Seeing to it that every blob has its copies at home.

Each node walks the replicas on its own shelf: at start, after every change of the layout, now and
then, and for single blobs that a put or a corrupt read reported. It asks the homes of each whether
they hold it (merging pins on the way) and sends copies to those that do not, fewest copies first.
Of several holders only the first home that has it sends, so a new home gets one copy and not two.
A node that is no home turns its copy into a cache once all homes have theirs; a copy whose pins
were all released elsewhere is dropped.

A node that leaves drops its copies instead. What a garbage collection condemned is not repaired.

What this leaves out: pacing against foreground load, progress reports, and scrubbing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from peerdisco_dht.blobs.identity import partition_of_blob
from peerdisco_dht.blobs.messages import (
    BATCH_MAX,
    BlobRow,
    Copy,
    Hold,
    Ids,
    Role,
    Stored,
    Where,
)
from peerdisco_dht.blobs.sending import Sender
from peerdisco_dht.blobs.shelf import Shelf
from peerdisco_dht.config import StorageConfig
from peerdisco_dht.fanout import ask_all
from peerdisco_dht.keeper import LayoutKeeper
from peerdisco_dht.layout import Layout, NodeState
from peerdisco_dht.messages import BadMessage, decode, encode
from peerdisco_dht.ports import Members, NodeId, Rpc

logger = logging.getLogger(__name__)

LOOK = "dht/blob/look"
URGENT_MAX = 10_000
"""Single blobs that may wait; more of them make a full walk instead."""


@dataclass(frozen=True, slots=True)
class _Missing:
    """Copies of one blob that some homes lack."""

    blob: str
    copies: int
    homes: tuple[NodeId, ...]


class Repair:
    """One node's share of the repair of all blobs."""

    def __init__(
        self,
        me: NodeId,
        shelf: Shelf,
        sender: Sender,
        keeper: LayoutKeeper,
        members: Members,
        rpc: Rpc,
        config: StorageConfig,
    ) -> None:
        self._me = me
        self._rpc = rpc
        self._shelf = shelf
        self._sender = sender
        self._keeper = keeper
        self._members = members
        self._config = config
        self._urgent: dict[str, None] = {}
        self._lost: dict[str, None] = {}
        self._walk_due = True
        self._news = asyncio.Event()
        keeper.subscribe(self._on_layout)
        shelf.on_lost(self._on_lost)
        rpc.serve(LOOK, self._look)

    def want(self, blob: str) -> None:
        """Look after a blob on this node soon."""
        self._try_again(blob)
        self._news.set()

    async def run(self) -> None:
        """Repair until cancelled."""
        loop = asyncio.get_running_loop()
        pause = self._config.retry_s
        next_walk = loop.time()
        while True:
            self._news.clear()
            if self._walk_due or loop.time() >= next_walk:
                next_walk = loop.time() + self._config.repair_interval_s
            await self._round(walk=self._walk_due)
            settled = not self._urgent and not self._lost
            pause = self._config.retry_s if settled else min(2 * pause, next_walk - loop.time())
            try:
                wait_s = next_walk - loop.time() if settled else pause
                async with asyncio.timeout(max(self._config.retry_s, wait_s)):
                    await self._news.wait()
            except TimeoutError:
                self._walk_due = self._walk_due or loop.time() >= next_walk
            else:
                await asyncio.sleep(self._config.retry_s)

    def _on_layout(self, layout: Layout) -> None:
        del layout
        self._walk_due = True
        self._news.set()

    def _on_lost(self, blob: str) -> None:
        if len(self._lost) < URGENT_MAX:
            self._lost[blob] = None
        self._news.set()

    async def _look(self, peer: NodeId, body: bytes) -> bytes:
        """A peer asks to look after blobs that it lost."""
        del peer
        try:
            for blob in decode(body, Ids).ids[:BATCH_MAX]:
                self.want(blob)
        except BadMessage as error:
            logger.warning(f"event=bad_request method={LOOK} error={error}")
        return b""

    async def _round(self, *, walk: bool) -> None:
        """Everything that is due; what could not be done stays urgent."""
        lost, self._lost = list(self._lost), {}
        for blob in lost:
            await self._report_lost(blob)
        urgent, self._urgent = list(self._urgent), {}
        if walk:
            self._walk_due = False
            await self._walk()
            return
        for start in range(0, len(urgent), BATCH_MAX):
            some = urgent[start : start + BATCH_MAX]
            rows = [(blob, row) for blob in some if (row := self._shelf.row(blob)) is not None]
            await self._check(rows, caches=True)

    async def _walk(self) -> None:
        """Look at every replica on this node."""
        after = ""
        while rows := self._shelf.scan(after, BATCH_MAX):
            after = rows[-1][0]
            await self._check(rows)

    async def _check(self, rows: Sequence[tuple[str, BlobRow]], *, caches: bool = False) -> None:
        """See to a batch of blobs; those whose homes did not all answer are tried again.

        Caches are nobody's promise, but a writer's is all that knows of a home it did not reach.
        """
        mine = {
            blob: row
            for blob, row in rows
            if row.where is not Where.NOWHERE
            and (caches or row.role is Role.REPLICA)
            and row.condemned is None
            and self._home(blob)
        }
        answers = await self._ask_homes(mine)
        missing: list[_Missing] = []
        others: dict[NodeId, list[str]] = {}
        for blob in mine:
            # A home that came with a new layout meanwhile was not asked and counts as silent.
            state = {home: answers.get(home, {}).get(blob) for home in self._others(blob)}
            if None in state.values():
                self._try_again(blob)
            released = [s for s in state.values() if s and s.copy is Copy.RELEASED]
            if released:
                await self._shelf.hold(blob, released[0].pins, 0.0)
                continue
            lacking = tuple(h for h, s in state.items() if s and s.copy is Copy.MISSING)
            holding = [h for h, s in state.items() if s and s.copy is Copy.HELD]
            sender = self._sender_of(blob, holding)
            if lacking and sender == self._me:
                missing.append(_Missing(blob, 1 + len(holding), lacking))
            elif lacking:
                self._try_again(blob)
                others.setdefault(sender, []).append(blob)
            elif len(holding) == len(state) and self._me not in self._home(blob):
                await self._let_go(blob)
        missing.sort(key=lambda each: (each.copies, each.blob))
        await self._send_all(missing, mine)
        # Whose turn it is may not know: it can have got its own copy a moment ago.
        await ask_all(list(others), lambda home: self._ask_to_look(home, others[home]))

    async def _let_go(self, blob: str) -> None:
        """All homes have their copies: ours is a cache, and on a node that leaves not even that."""
        entry = self._keeper.layout.node(self._me)
        if entry is not None and entry.state is not NodeState.UP:
            await self._shelf.drop(blob)
        else:
            await self._shelf.demote(blob)

    def _try_again(self, blob: str) -> None:
        if len(self._urgent) < URGENT_MAX:
            self._urgent[blob] = None
        else:
            self._walk_due = True

    def _home(self, blob: str) -> tuple[NodeId, ...]:
        return self._keeper.home(partition_of_blob(blob))

    def _others(self, blob: str) -> list[NodeId]:
        return [home for home in self._home(blob) if home != self._me]

    def _sender_of(self, blob: str, holding: Sequence[NodeId]) -> NodeId:
        """The first home that has the blob; this node if none has."""
        for home in self._home(blob):
            if home == self._me or home in holding:
                return home
        return self._me

    async def _ask_homes(self, rows: dict[str, BlobRow]) -> dict[NodeId, dict[str, Stored]]:
        """What each home answers about each of the blobs; nothing where it does not answer."""
        asks: dict[NodeId, list[Hold]] = {}
        for blob, row in rows.items():
            for home in self._others(blob):
                asks.setdefault(home, []).append(Hold(blob, row.pins, row.lease))
        alive = self._members.alive()
        answers = await ask_all(
            [home for home in asks if home in alive],
            lambda home: self._sender.hold(home, asks[home]),
        )
        told: dict[NodeId, dict[str, Stored]] = {home: {} for home in asks}
        for home, answer in answers.items():
            if not isinstance(answer, Exception):
                items = zip(asks[home], answer, strict=True)
                told[home] = {hold.id: s for hold, s in items if s.copy is not Copy.FAILED}
        return told

    async def _send_all(self, missing: Sequence[_Missing], rows: dict[str, BlobRow]) -> None:
        """Send copies, so many at a time."""
        jobs = [(each.blob, home) for each in missing for home in each.homes]
        for start in range(0, len(jobs), self._config.repair_concurrency):
            some = jobs[start : start + self._config.repair_concurrency]
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._sender.send(home, blob, rows[blob].pins))
                    for blob, home in some
                ]
            for (blob, home), task in zip(some, tasks, strict=True):
                stored = task.result()
                # Once more, when all homes hold it, to see whether our copy is still needed.
                self._try_again(blob)
                logger.debug(f"event=repaired blob={blob} home={home} result={stored.copy}")

    async def _report_lost(self, blob: str) -> None:
        """Ask the other homes to send a copy in place of one that was corrupt here."""
        if self._me not in self._home(blob) or self._shelf.holds(blob):
            return
        answers = await ask_all(self._others(blob), lambda home: self._ask_to_look(home, [blob]))
        if all(isinstance(answer, Exception) for answer in answers.values()):
            self._lost[blob] = None

    async def _ask_to_look(self, home: NodeId, blobs: Sequence[str]) -> bytes:
        """Ask a home to see to blobs; raises OSError."""
        body = encode(Ids(tuple(blobs)))
        return await self._rpc.call(home, LOOK, body, timeout=self._config.call_timeout_s)
