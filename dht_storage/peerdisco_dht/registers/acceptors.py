"""Asking the acceptors of a register, and stopping as soon as the answer is decided.

Requests that are still under way when a quorum has answered go on in the background, so that the
third acceptor receives the value too. Requests to one peer are bounded: a silent peer is not sent
more than it could answer.
"""

from __future__ import annotations

import asyncio

from peerdisco_dht.background import Background
from peerdisco_dht.config import StorageConfig
from peerdisco_dht.epochs import EpochRpc, StaleEpoch
from peerdisco_dht.keeper import QuorumSets
from peerdisco_dht.messages import BadMessage, decode, encode
from peerdisco_dht.ports import NodeId
from peerdisco_dht.registers import quorum
from peerdisco_dht.registers.messages import Ask, Asks, Held, HeldItems

ACCEPT = "dht/register/accept"
IN_FLIGHT_MAX = 128
"""Unanswered requests to one acceptor; further ones count as failed at once."""

_Answers = asyncio.Queue[tuple[NodeId, Held | Exception]]


class Acceptors:
    """The acceptors of all registers, this node's own included."""

    def __init__(self, epochs: EpochRpc, background: Background, config: StorageConfig) -> None:
        self._epochs = epochs
        self._background = background
        self._config = config
        self._in_flight: dict[NodeId, int] = {}

    async def ask(self, sets: QuorumSets, ask: Ask) -> dict[NodeId, Held]:
        """Answers until a quorum granted the request or none can any more.

        Raises StaleEpoch when an acceptor knew a newer layout.
        """
        answers: _Answers = asyncio.Queue()
        everybody = quorum.acceptors(sets)
        for node in everybody:
            self._background.start(self._ask_one(node, ask, answers))
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
            self._background.start(self._ask_one(node, ask, answers))
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

    async def _ask_one(self, node: NodeId, ask: Ask, answers: _Answers) -> None:
        if self._in_flight.get(node, 0) >= IN_FLIGHT_MAX:
            answers.put_nowait((node, ConnectionError(f"{node} is too far behind")))
            return
        self._in_flight[node] = self._in_flight.get(node, 0) + 1
        try:
            timeout_s = self._config.call_timeout_s
            data = await self._epochs.call(node, ACCEPT, encode(Asks((ask,))), timeout_s=timeout_s)
            answers.put_nowait((node, decode(data, HeldItems).items[0]))
        except (OSError, StaleEpoch, BadMessage, IndexError) as error:
            answers.put_nowait((node, error))
        finally:
            self._in_flight[node] -= 1
