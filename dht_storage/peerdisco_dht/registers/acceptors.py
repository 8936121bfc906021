"""Asking the acceptors of a register, and stopping as soon as the answer is decided.

Requests that are still under way when a quorum has answered go on in the background, so that the
third acceptor receives the value too. Requests to one acceptor about many registers share calls,
and with them a sync (see `lines.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from peerdisco_dht.background import Background
from peerdisco_dht.config import StorageConfig
from peerdisco_dht.epochs import EpochRpc, StaleEpoch
from peerdisco_dht.keeper import QuorumSets
from peerdisco_dht.messages import decode, encode
from peerdisco_dht.ports import NodeId
from peerdisco_dht.registers import quorum
from peerdisco_dht.registers.lines import Lines
from peerdisco_dht.registers.messages import Accept, Ask, Asks, Held, HeldItems

ACCEPT = "dht/register/accept"
CALLS_MAX = 2
"""Calls to one acceptor at the same time: one that syncs there and one on its way."""

_Answers = asyncio.Queue[tuple[NodeId, Held | Exception]]


class Acceptors:
    """The acceptors of all registers, this node's own included."""

    def __init__(self, epochs: EpochRpc, background: Background, config: StorageConfig) -> None:
        self._epochs = epochs
        self._config = config
        self._lines: Lines[Ask, Held] = Lines(self._send, _size, background, CALLS_MAX)

    async def ask(self, sets: QuorumSets, ask: Ask) -> dict[NodeId, Held]:
        """Answers until a quorum granted the request or none can any more.

        Raises StaleEpoch when an acceptor knew a newer layout.
        """
        answers: _Answers = asyncio.Queue()
        everybody = quorum.acceptors(sets)
        for node in everybody:
            self._post(node, ask, answers)
        held: dict[NodeId, Held] = {}
        granted: list[NodeId] = []
        lost: list[NodeId] = []
        for _ in everybody:
            if quorum.reached(granted, sets) or quorum.hopeless(lost, sets):
                break
            node, answer = await answers.get()
            if isinstance(answer, StaleEpoch):
                raise answer
            if isinstance(answer, Held):
                held[node] = answer
            if isinstance(answer, Held) and answer.granted:
                granted.append(node)
            else:
                lost.append(node)
        return held

    async def peek(self, sets: QuorumSets, ask: Ask) -> dict[NodeId, Held]:
        """Answers until they show a settled value, or everybody answered or failed."""
        answers: _Answers = asyncio.Queue()
        everybody = quorum.acceptors(sets)
        for node in everybody:
            self._post(node, ask, answers)
        held: dict[NodeId, Held] = {}
        for _ in everybody:
            node, answer = await answers.get()
            if isinstance(answer, StaleEpoch):
                raise answer
            if isinstance(answer, Held):
                held[node] = answer
            if quorum.settled(held, sets) is not None:
                break
        return held

    def _post(self, node: NodeId, ask: Ask, answers: _Answers) -> None:
        """Ask one acceptor; its answer, or why there is none, goes into the queue."""

        def answered(future: asyncio.Future[Held]) -> None:
            if future.cancelled():
                answers.put_nowait((node, ConnectionError("the service stops")))
                return
            error = future.exception()
            assert error is None or isinstance(error, Exception)
            answers.put_nowait((node, error or future.result()))

        self._lines.ask(node, ask).add_done_callback(answered)

    async def _send(self, node: NodeId, asks: Sequence[Ask]) -> Sequence[Held]:
        timeout_s = self._config.call_timeout_s
        data = await self._epochs.call(node, ACCEPT, encode(Asks(tuple(asks))), timeout_s=timeout_s)
        return decode(data, HeldItems).items


def _size(ask: Ask) -> int:
    return len(ask.value) if isinstance(ask, Accept) else 0
