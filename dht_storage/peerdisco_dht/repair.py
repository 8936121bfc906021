"""Seeing to it that every blob has its copies at home.

Each node walks the replicas on its own shelf: at start, after every change of the layout, now and
then. Single blobs that a put or a corrupt read reported are looked at in between. It asks the homes
of each whether they hold it (merging pins on the way) and lets the backlog know who lacks a copy.
Of several holders one sends, chosen by hash, so a new home gets one copy and not two, and when a
node is lost all that have copies of its blobs send their share. Who has sent his share takes over
from those that have not, from the other end of their work.

Sending is the work of a few tasks that go through the backlog, most urgent first, at a pace that
yields to the foreground; a blob that has one copy left yields to nobody. Several looks at one blob
may overlap: the backlog sees to it that nobody is sent a copy twice. Nothing has to be saved:
after a restart the walk asks again, and what has arrived needs no second sending.

A node that is no home turns its copy into a cache once all homes have theirs; a copy whose pins
were all released elsewhere is dropped. A node that leaves drops its copies instead. What a garbage
collection condemned is not repaired.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from peerdisco_dht.backlog import Backlog, Errand, RepairProgress
from peerdisco_dht.blobs.acknowledgement import rank
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
from peerdisco_dht.pacing import Throttle
from peerdisco_dht.ports import Members, NodeId, Rpc
from peerdisco_dht.wanted import Wanted

logger = logging.getLogger(__name__)

LOOK = "dht/blob/look"
URGENT_MAX = 10_000
"""Single blobs that may wait; more of them make a full walk instead."""
TAKEN_OVER = 4
"""Blobs that an idle node takes over from others at a time."""
BACKLOG_MAX = 100_000
"""Copies that may wait to be sent before the walk pauses."""


class Repair:
    """One node's share of the repair of all blobs."""

    def __init__(
        self,
        me: NodeId,
        shelf: Shelf,
        sender: Sender,
        throttle: Throttle,
        keeper: LayoutKeeper,
        wanted: Wanted,
        members: Members,
        rpc: Rpc,
        config: StorageConfig,
    ) -> None:
        self._me = me
        self._rpc = rpc
        self._shelf = shelf
        self._sender = sender
        self._throttle = throttle
        self._keeper = keeper
        self._wanted = wanted
        self._members = members
        self._config = config
        self._backlog = Backlog()
        self._filled = asyncio.Event()
        self._emptier = asyncio.Event()
        self._urgent: dict[str, None] = {}
        self._lost: dict[str, None] = {}
        self._left_to_others: dict[str, float] = {}
        self._news = asyncio.Event()
        self._unsettled = asyncio.Event()
        self._walk_due = asyncio.Event()
        self._walking = False
        self._checked = 0
        self._overflowed = False
        keeper.subscribe(self._on_layout)
        shelf.on_lost(self._on_lost)
        rpc.serve(LOOK, self._look)

    def want(self, blob: str) -> None:
        """Look after a blob on this node soon."""
        self._try_again(blob)
        self._news.set()

    def progress(self) -> RepairProgress:
        """How far this node is."""
        now = asyncio.get_running_loop().time()
        return self._backlog.progress(now, walking=self._walking, checked=self._checked)

    async def run(self) -> None:
        """Repair until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._walk_now_and_then())
            group.create_task(self._see_to_news())
            for _ in range(self._config.repair_concurrency):
                group.create_task(self._work_off())

    def _on_layout(self, layout: Layout) -> None:
        del layout
        self._walk_due.set()

    def _on_lost(self, blob: str) -> None:
        if len(self._lost) < URGENT_MAX:
            self._lost[blob] = None
        self._news.set()
        self._unsettled.set()

    async def _look(self, peer: NodeId, body: bytes) -> bytes:
        """A peer asks to look after blobs that it lost."""
        del peer
        try:
            for blob in decode(body, Ids).ids[:BATCH_MAX]:
                if blob not in self._backlog:
                    self.want(blob)
        except BadMessage as error:
            logger.warning(f"event=bad_request method={LOOK} error={error}")
        return b""

    # -- finding out who lacks what

    async def _walk_now_and_then(self) -> None:
        """Walk at once, after a change of the layout, and when the last walk is long ago."""
        pause_s = 0.0
        while True:
            self._walk_due.clear()
            self._overflowed = False
            await self._walk()
            longest_s = self._config.repair_interval_s
            pause_s = min(longest_s, 2 * pause_s + self._config.retry_s)
            if not self._overflowed:
                pause_s = longest_s
            await _wait(self._walk_due, pause_s)
            await asyncio.sleep(self._config.retry_s)

    async def _see_to_news(self) -> None:
        """Look at single blobs; those whose homes do not answer ever more seldom."""
        retry_s = self._config.retry_s
        pause_s = retry_s
        while True:
            self._news.clear()
            lost, self._lost = list(self._lost), {}
            for blob in lost:
                await self._report_lost(blob)
            urgent, self._urgent = list(self._urgent), {}
            for start in range(0, len(urgent), BATCH_MAX):
                some = urgent[start : start + BATCH_MAX]
                rows = [(blob, row) for blob in some if (row := self._shelf.row(blob)) is not None]
                await self._check(rows, caches=True)
            if not self._urgent and not self._lost:
                pause_s = retry_s
                self._unsettled.clear()
                await self._unsettled.wait()
            else:
                pause_s = min(2 * pause_s, self._config.repair_interval_s)
                await _wait(self._news, pause_s)
            await asyncio.sleep(retry_s)

    async def _walk(self) -> None:
        """Look at every replica on this node."""
        after, self._checked, self._walking = "", 0, True
        while rows := self._shelf.scan(after, BATCH_MAX):
            after = rows[-1][0]
            await self._check(rows)
            self._checked += len(rows)
            while len(self._backlog) > BACKLOG_MAX:
                self._emptier.clear()
                await self._emptier.wait()
        self._walking = False

    async def _check(
        self,
        rows: Sequence[tuple[str, BlobRow]],
        *,
        caches: bool = False,
        take_over: bool = False,
    ) -> None:
        """See to a batch of blobs; those whose homes did not all answer are tried again.

        Caches are nobody's promise, but a writer's is all that knows of a home it did not reach.
        With `take_over` this node sends although it is another's turn.
        """
        mine = {
            blob: row
            for blob, row in rows
            if row.where is not Where.NOWHERE
            and (caches or row.role is Role.REPLICA)
            and row.condemned is None
            and self._nodes(blob, row)
        }
        asked = asyncio.get_running_loop().time()
        answers = await self._ask_homes(mine)
        others: dict[NodeId, list[str]] = {}
        for blob, row in mine.items():
            # A home that came with a new layout meanwhile was not asked and counts as silent.
            state = {home: answers.get(home, {}).get(blob) for home in self._others(blob, row)}
            if None in state.values():
                self._try_again(blob)
            released = [s for s in state.values() if s and s.copy is Copy.RELEASED]
            if released:
                await self._shelf.hold(blob, released[0].pins, 0.0)
                continue
            if await self._adopted(blob, state):
                continue
            lacking = [h for h, s in state.items() if s and s.copy is Copy.MISSING]
            full = [h for h, s in state.items() if s and s.copy is Copy.FULL]
            holding = [h for h, s in state.items() if s and s.copy is Copy.HELD]
            sender = self._me if take_over else self._sender_of(blob, row, holding)
            if lacking and sender == self._me:
                copies = 1 + len(holding)
                self._add(Errand(copies, row.size, blob, home, asked=asked) for home in lacking)
            elif lacking:
                self._leave(blob)
                others.setdefault(sender, []).append(blob)
            elif full and sender == self._me:
                self._spill(blob, row, 1 + len(holding), len(full), asked)
            elif len(holding) == len(state) and self._me not in self._nodes(blob, row):
                await self._let_go(blob)
        # Whose turn it is may not know: it can have got its own copy a moment ago.
        await ask_all(list(others), lambda home: self._ask_to_look(home, others[home]))

    async def _adopted(self, blob: str, state: Mapping[NodeId, Stored | None]) -> bool:
        """Take over from a home how many copies there shall be, where this node is none."""
        home = self._keeper.home(partition_of_blob(blob))
        if self._me in home:
            return False
        told = [s.replicas for h in home if (s := state.get(h)) and s.copy is Copy.HELD]
        if not told or not await self._shelf.set_replicas(blob, told[0]):
            return False
        self._try_again(blob)
        return True

    def _spill(self, blob: str, row: BlobRow, copies: int, full: int, asked: float) -> None:
        """Let others stand in for homes that have no room.

        This node may be a stand-in itself, and the others know nothing of each other: whoever is
        asked and has a copy already only says so.
        """
        stand_ins = self._stand_ins(blob, row)
        if self._me in stand_ins:
            full -= 1
        chosen = [node for node in stand_ins if node != self._me][:full]
        self._add(
            Errand(copies, row.size, blob, node, stand_in=True, asked=asked) for node in chosen
        )

    def _stand_ins(self, blob: str, row: BlobRow) -> list[NodeId]:
        """Living nodes that need no copy of the blob, in the order of all writers."""
        nodes, alive = self._nodes(blob, row), self._members.alive()
        return [each for each in self._wanted.others(blob) if each in alive and each not in nodes]

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
            self._unsettled.set()
        else:
            self._overflowed = True

    def _leave(self, blob: str) -> None:
        """It is another's turn; when this node has nothing to do, it looks again."""
        if len(self._left_to_others) < URGENT_MAX:
            self._left_to_others[blob] = asyncio.get_running_loop().time()
            self._filled.set()  # who is idle begins to watch the time
        else:
            self._overflowed = True

    def _nodes(self, blob: str, row: BlobRow) -> tuple[NodeId, ...]:
        """Who shall have a copy: the homes, fewer of them, or others besides."""
        return self._wanted.nodes(blob, row.replicas)

    def _others(self, blob: str, row: BlobRow) -> list[NodeId]:
        return [node for node in self._nodes(blob, row) if node != self._me]

    def _sender_of(self, blob: str, row: BlobRow, holding: Sequence[NodeId]) -> NodeId:
        """Whose turn it is to send: of the homes that have the blob, or of nobody but this node.

        By hash, so that the copies of one partition come from all its holders.
        """
        nodes = self._nodes(blob, row)
        able = [home for home in nodes if home == self._me or home in holding]
        return min(able, key=lambda home: rank(blob, home), default=self._me)

    async def _ask_homes(self, rows: dict[str, BlobRow]) -> dict[NodeId, dict[str, Stored]]:
        """What each home answers about each of the blobs; nothing where it does not answer."""
        asks: dict[NodeId, list[Hold]] = {}
        for blob, row in rows.items():
            hold = Hold(blob, row.pins, row.lease, row.replicas)
            for home in self._others(blob, row):
                asks.setdefault(home, []).append(hold)
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

    async def _report_lost(self, blob: str) -> None:
        """Ask the other homes to send a copy in place of one that was corrupt here."""
        home = self._keeper.home(partition_of_blob(blob))
        if self._me not in home or self._shelf.vouches(blob):
            return
        others = [node for node in home if node != self._me]
        answers = await ask_all(others, lambda home: self._ask_to_look(home, [blob]))
        if all(isinstance(answer, Exception) for answer in answers.values()):
            self._lost[blob] = None

    async def _ask_to_look(self, home: NodeId, blobs: Sequence[str]) -> bytes:
        """Ask a home to see to blobs; raises OSError."""
        body = encode(Ids(tuple(blobs)))
        return await self._rpc.call(home, LOOK, body, timeout=self._config.call_timeout_s)

    # -- sending what is lacking

    def _add(self, errands: Iterable[Errand]) -> None:
        now = asyncio.get_running_loop().time()
        for errand in errands:
            if not self._backlog.add(errand, now):
                self._try_again(errand.blob)
        self._filled.set()

    async def _work_off(self) -> None:
        """Send one copy after the other."""
        while True:
            errand = self._backlog.take()
            if errand is None:
                self._filled.clear()
                await self._idle()
                continue
            stored = await self._send(errand)
            sent, failed = stored.copy is Copy.HELD, stored.copy is Copy.FAILED
            now = asyncio.get_running_loop().time()
            self._backlog.finish(errand, now, sent=sent, failed=failed)
            self._emptier.set()
            logger.debug(f"event=repaired blob={errand.blob} home={errand.node} {stored.copy=}")
            if stored.copy is Copy.FULL:
                self._send_on(errand)
            elif not sent:
                self._try_again(errand.blob)
            elif (row := self._shelf.row(errand.blob)) and self._me not in self._nodes(
                errand.blob, row
            ):
                # Once more, when all homes hold it, to see whether our copy is still needed.
                self.want(errand.blob)

    def _send_on(self, errand: Errand) -> None:
        """Try the next stand-in; when there is none, the next walk tries all of them again."""
        row = self._shelf.row(errand.blob)
        if row is None:
            return
        stand_ins = [node for node in self._stand_ins(errand.blob, row) if node != self._me]
        if errand.node in stand_ins:
            stand_ins = stand_ins[stand_ins.index(errand.node) + 1 :]
        self._add(replace(errand, node=node, stand_in=True) for node in stand_ins[:1])

    async def _idle(self) -> None:
        """Wait for work, or take over what others should have sent and have not.

        They go through it in order of ids, so this begins at the end.
        """
        now, patience_s = asyncio.get_running_loop().time(), 2 * self._config.retry_s
        chosen: list[tuple[str, BlobRow]] = []
        while self._left_to_others and len(chosen) < TAKEN_OVER:
            blob, since = self._left_to_others.popitem()
            if now - since < patience_s:
                self._left_to_others[blob] = since
                break
            if (row := self._shelf.row(blob)) is not None:
                chosen.append((blob, row))
        if chosen:
            await self._check(chosen, caches=True, take_over=True)
        elif self._left_to_others:
            await _wait(self._filled, self._config.retry_s)
        else:
            await self._filled.wait()

    async def _send(self, errand: Errand) -> Stored:
        row = self._shelf.row(errand.blob)
        if row is None or not (errand.stand_in or errand.node in self._nodes(errand.blob, row)):
            return Stored(Copy.FAILED, reason="neither we nor they are what they were")
        if errand.stand_in:
            hold = Hold(errand.blob, row.pins, row.lease, row.replicas)
            try:
                held = (await self._sender.hold(errand.node, [hold]))[0]
            except (OSError, BadMessage) as error:
                return Stored(Copy.FAILED, reason=str(error))
            if held.copy is not Copy.MISSING:
                return held
        hurry = errand.copies == 1
        return await self._sender.send(
            errand.node, errand.blob, row.pins, throttle=self._throttle, hurry=hurry
        )


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Return when the event is set, or after so long."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
