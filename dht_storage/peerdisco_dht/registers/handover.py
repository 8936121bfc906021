"""Handing registers over to their new homes after the layout changed.

While the layout is joint, every operation needs majorities of old and new homes. The first living
new home of each partition that moved asks a majority of every old home set which registers there
are (their acceptors refuse older epochs from then on), and runs one round on each register: now a
majority of the new homes holds its newest value *and* a promise above all older ballots. When all
partitions are through, the leader of the layout proposes FinishHandover.

A name with promises but no value is handed over too: without that, a late minority acceptance
under the old homes could outrank what the new homes choose.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Container, Sequence

from peerdisco_dht.config import StorageConfig
from peerdisco_dht.epochs import EpochRpc, StaleEpoch
from peerdisco_dht.errors import Unavailable
from peerdisco_dht.fanout import ask_all
from peerdisco_dht.keeper import LayoutKeeper, QuorumSets
from peerdisco_dht.keys import PARTITIONS
from peerdisco_dht.layout import Layout
from peerdisco_dht.messages import BadMessage, Message, decode, encode
from peerdisco_dht.ports import Members, NodeId
from peerdisco_dht.registers import quorum
from peerdisco_dht.registers.coordinator import Coordinator
from peerdisco_dht.registers.messages import Operation, PartitionsPage, PartitionsRequest
from peerdisco_dht.registers.service import PARTITIONS as LIST_PARTITIONS
from peerdisco_dht.registers.value import READ

logger = logging.getLogger(__name__)

DONE = "dht/handover/done"
ROUNDS_AT_A_TIME = 16
PARTITIONS_AT_A_TIME = 512


class HandedOver(Message, frozen=True, array_like=True):
    """Partitions that a node has handed over, as a bit map, for the placement of an epoch."""

    since: int
    bits: bytes


class Handover:
    """One node's share of every handover."""

    def __init__(
        self,
        me: NodeId,
        keeper: LayoutKeeper,
        epochs: EpochRpc,
        members: Members,
        coordinator: Coordinator,
        config: StorageConfig,
    ) -> None:
        self._me = me
        self._keeper = keeper
        self._epochs = epochs
        self._members = members
        self._coordinator = coordinator
        self._config = config
        self._since = -1
        self._done: dict[int, None] = {}
        self._changed = asyncio.Event()
        keeper.subscribe(self._on_layout)
        epochs.serve(DONE, self._answer_done)

    async def run(self) -> None:
        """Hand over whatever is this node's duty, for every layout, until cancelled."""
        while True:
            self._changed.clear()
            left = await self._work()
            try:
                async with asyncio.timeout(self._config.retry_s if left else None):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def finished(self) -> bool:
        """Whether all nodes together have handed over every partition of the placement."""
        layout = self._keeper.layout
        if not layout.previous:
            return True

        async def ask(node: NodeId) -> HandedOver:
            timeout_s = self._config.call_timeout_s
            return decode(await self._epochs.call(node, DONE, b"", timeout_s=timeout_s), HandedOver)

        answers = await ask_all(self._members.alive(), ask)
        union = 0
        for answer in answers.values():
            if isinstance(answer, HandedOver) and answer.since == layout.since:
                union |= int.from_bytes(answer.bits, "big")
        return all(union >> partition & 1 for partition in self._keeper.moving_partitions())

    def _on_layout(self, layout: Layout) -> None:
        del layout
        self._changed.set()

    async def _answer_done(self, peer: NodeId, body: bytes) -> bytes:
        del peer, body
        bits = sum(1 << partition for partition in self._done)
        return encode(HandedOver(self._since, bits.to_bytes(PARTITIONS // 8, "big")))

    async def _work(self) -> bool:
        """One pass over my duties; True when something is left to try again."""
        layout = self._keeper.layout
        if layout.since != self._since:
            self._since, self._done = layout.since, {}
        moving = self._keeper.moving_partitions()
        alive = dict.fromkeys(self._members.alive())
        groups: dict[QuorumSets, list[int]] = {}
        for partition in moving:
            if partition not in self._done and self._is_mine(partition, alive):
                groups.setdefault(self._keeper.quorum_sets(partition)[1:], []).append(partition)
        for old, partitions in groups.items():
            for start in range(0, len(partitions), PARTITIONS_AT_A_TIME):
                some = partitions[start : start + PARTITIONS_AT_A_TIME]
                if await self._hand_over(old, some) and self._keeper.layout.since == self._since:
                    self._done.update(dict.fromkeys(some))
        return bool(moving)

    def _is_mine(self, partition: int, alive: Container[NodeId]) -> bool:
        """Whether this node is the first new home that lives; at worst two believe it."""
        return self._me == next((n for n in self._keeper.home(partition) if n in alive), None)

    async def _hand_over(self, old: QuorumSets, partitions: Sequence[int]) -> bool:
        """Hand over partitions that share their old homes; False when it must be repeated."""
        since = self._keeper.layout.since
        asked = quorum.acceptors(old)
        alive = dict.fromkeys(self._members.alive())
        living = [node for node in asked if node in alive]
        if quorum.reached(living, old):
            # Each of many sets would wait for a node that is gone as long as a call may take.
            asked = tuple(living)
        answers = await ask_all(
            asked,
            lambda node: names_of(
                self._epochs, node, tuple(partitions), self._config.call_timeout_s
            ),
        )
        named = {node: names for node, names in answers.items() if isinstance(names, list)}
        if not quorum.reached(named, old) or self._keeper.layout.since != since:
            return False
        names = list(dict.fromkeys(name for some in named.values() for name in some))
        for start in range(0, len(names), ROUNDS_AT_A_TIME):
            done = await ask_all(names[start : start + ROUNDS_AT_A_TIME], self._round)
            if not all(ok is True for ok in done.values()):
                return False
        if names:
            logger.info(f"event=handed_over registers={len(names)} partitions={len(partitions)}")
        return True

    async def _round(self, name: str) -> bool:
        """Move one register: a round that changes nothing, under old and new homes together."""
        try:
            await self._coordinator.submit(name, [Operation(READ)])
        except (Unavailable, StaleEpoch, BadMessage) as error:
            logger.debug(f"event=handover_failed register={name} error={error!r}")
            return False
        return True


async def names_of(
    epochs: EpochRpc, node: NodeId, partitions: tuple[int, ...], timeout_s: float
) -> list[str]:
    """All registers that a home knows in partitions, complete as of the present epoch."""
    names: list[str] = []
    after = b""
    while True:
        body = encode(PartitionsRequest(partitions, after))
        data = await epochs.call(node, LIST_PARTITIONS, body, timeout_s=timeout_s)
        page = decode(data, PartitionsPage)
        names += page.names
        if not page.after:
            return names
        after = page.after
