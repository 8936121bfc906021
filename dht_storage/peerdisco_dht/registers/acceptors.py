"""Asking the acceptors of a register, and stopping as soon as the answer is decided.

Requests that are still under way when a quorum has answered go on in the background, so that the
third acceptor receives the value too. Requests to one acceptor about many registers share calls,
and with them a sync (see `lines.py`). Homes follow from the layout, so a request is sent in the
epoch in which its homes were looked up, or not at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from peerdisco_dht.background import Background
from peerdisco_dht.config import StorageConfig
from peerdisco_dht.epochs import EpochRpc, StaleEpoch
from peerdisco_dht.keeper import QuorumSets
from peerdisco_dht.messages import decode, encode
from peerdisco_dht.ports import NodeId
from peerdisco_dht.registers import quorum
from peerdisco_dht.registers.lines import Lines
from peerdisco_dht.registers.messages import Accept, Ask, Asks, Held, HeldItems
from peerdisco_dht.registers.rows import AcceptorRows

ACCEPT = "dht/register/accept"
CALLS_MAX = 2
"""Calls to one acceptor at the same time: one that syncs there and one on its way."""
UNANIMITY_S = 1.0
"""How long the last acceptor may let all others wait in a round that needs everybody."""
REFUSED_S = 0.25
"""How long a round goes on after somebody refused it: the next one, with a higher ballot, needs no
acceptor that is silent, and the caller's patience is shorter than a call to one."""

_Question = tuple[int, Ask]
"""An epoch, and what is asked in it."""
_Note = Callable[[NodeId, Held | None], bool]
"""Takes an acceptor's answer, None for a failure; True when no more answers are needed."""


class Acceptors:
    """The acceptors of all registers, this node's own included.

    Args:
        me: This node, whose rows are asked without a call.
        rows: They.
        epochs: Calls to peers.
        background: Parent of the calls.
        config: Patience.
    """

    def __init__(
        self,
        me: NodeId,
        rows: AcceptorRows,
        epochs: EpochRpc,
        background: Background,
        config: StorageConfig,
    ) -> None:
        self._me = me
        self._rows = rows
        self._epochs = epochs
        self._timeout_s = config.call_timeout_s
        self._lines: Lines[_Question, Held] = Lines(self._send, _size, background, CALLS_MAX)

    async def ask(self, sets: QuorumSets, ask: Ask) -> dict[NodeId, Held]:
        """Answers until a quorum granted the request or none can any more.

        Once somebody refused it, for REFUSED_S at most. Raises StaleEpoch when an acceptor knew a
        newer layout.
        """
        held: dict[NodeId, Held] = {}
        granted: list[NodeId] = []
        lost: list[NodeId] = []
        loop, limit = asyncio.get_running_loop(), asyncio.timeout(None)

        def note(node: NodeId, answer: Held | None) -> bool:
            if answer is not None:
                held[node] = answer
                if not answer.granted and limit.when() is None:
                    limit.reschedule(loop.time() + REFUSED_S)
            (granted if answer is not None and answer.granted else lost).append(node)
            return quorum.reached(granted, sets) or quorum.hopeless(lost, sets)

        with suppress(TimeoutError):
            async with limit:
                await self._poll(sets, ask, note)
        return held

    async def ask_everybody(self, sets: QuorumSets, ask: Ask) -> dict[NodeId, Held]:
        """Answers until one does not grant the request, or for as long as UNANIMITY_S."""
        held: dict[NodeId, Held] = {}

        def note(node: NodeId, answer: Held | None) -> bool:
            if answer is not None:
                held[node] = answer
            return answer is None or not answer.granted

        with suppress(TimeoutError):  # whoever is missing in the answers has not granted it
            async with asyncio.timeout(UNANIMITY_S):
                await self._poll(sets, ask, note)
        return held

    async def peek(self, sets: QuorumSets, ask: Ask) -> dict[NodeId, Held]:
        """Answers until they show a settled value, or everybody answered or failed."""
        held: dict[NodeId, Held] = {}

        def note(node: NodeId, answer: Held | None) -> bool:
            if answer is not None:
                held[node] = answer
            return quorum.settled(held, sets) is not None

        await self._poll(sets, ask, note)
        return held

    async def _poll(self, sets: QuorumSets, ask: Ask, note: _Note) -> None:
        """Ask all acceptors, until `note` has enough or everybody answered or failed."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        everybody = quorum.acceptors(sets)
        missing = len(everybody)

        def answered(node: NodeId, future: asyncio.Future[Held]) -> None:
            nonlocal missing
            missing -= 1
            failure = True if future.cancelled() else future.exception()
            if done.done():
                return
            if isinstance(failure, StaleEpoch):
                done.set_exception(failure)
            elif note(node, None if failure else future.result()) or not missing:
                done.set_result(None)

        for node in everybody:
            question = (self._epochs.epoch, ask)
            self._lines.ask(node, question).add_done_callback(partial(answered, node))
        await done

    async def _send(self, node: NodeId, questions: Sequence[_Question]) -> Sequence[Held]:
        epoch = self._epochs.epoch
        if any(asked_in != epoch for asked_in, _ in questions):
            raise StaleEpoch
        asks = tuple(ask for _, ask in questions)
        if node == self._me:
            async with asyncio.timeout(self._timeout_s):
                return await self._rows.answer(asks)
        data = await self._epochs.call(
            node, ACCEPT, encode(Asks(asks)), timeout_s=self._timeout_s, epoch=epoch
        )
        return decode(data, HeldItems).items


def _size(question: _Question) -> int:
    _, ask = question
    return len(ask.value) if isinstance(ask, Accept) else 0
