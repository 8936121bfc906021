"""Sending operations to the coordinator of a register, and reading by quorum.

Every node of the cluster may call. Operations go to the first home that is reachable, so that one
coordinator batches them; when it fails they go to the next. Repeating an operation is safe, since
the register recognises its session and sequence number.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

from peerdisco_dht.background import Background
from peerdisco_dht.config import StorageConfig
from peerdisco_dht.epochs import EpochRpc, StaleEpoch
from peerdisco_dht.errors import Unavailable
from peerdisco_dht.keeper import LayoutKeeper
from peerdisco_dht.keys import partition_of_name
from peerdisco_dht.messages import BadMessage, decode, encode
from peerdisco_dht.ports import Members, NodeId
from peerdisco_dht.registers import quorum
from peerdisco_dht.registers.acceptors import Acceptors
from peerdisco_dht.registers.coordinator import PATIENCE_SHARE, Coordinator
from peerdisco_dht.registers.lines import Lines
from peerdisco_dht.registers.messages import (
    Operation,
    Peek,
    RegisterValue,
    Replies,
    RepliesItems,
    Reply,
    Submit,
    Submits,
)
from peerdisco_dht.registers.service import SUBMIT
from peerdisco_dht.registers.value import READ

CALLS_MAX = 4
"""Calls to one coordinator at the same time; further operations share the next ones."""
PAUSE_S = 0.05
"""Longest pause before all homes are tried again."""


class Router:
    """Reaches registers from any node.

    Args:
        me: This node, whose coordinator is asked without a call.
        coordinator: It.
        epochs: Calls to peers.
        keeper: The layout that names the homes.
        members: Whom to try first.
        acceptors: For quorum reads.
        background: Parent of the calls.
        session: Name of this node's own session, never used before.
        rng: For pauses.
        config: Patience.
    """

    def __init__(
        self,
        me: NodeId,
        coordinator: Coordinator,
        epochs: EpochRpc,
        keeper: LayoutKeeper,
        members: Members,
        acceptors: Acceptors,
        background: Background,
        session: str,
        rng: random.Random,
        config: StorageConfig,
    ) -> None:
        self._me = me
        self._coordinator = coordinator
        self._epochs = epochs
        self._keeper = keeper
        self._members = members
        self._acceptors = acceptors
        self._lines: Lines[Submit, Replies] = Lines(self._send, _size, background, CALLS_MAX)
        self._session = session
        self._sequence = 0
        self._rng = rng
        self._config = config

    def numbered(self, action: bytes) -> Operation:
        """An operation of this node's own session, which is applied at most once."""
        self._sequence += 1
        return Operation(action, self._session, self._sequence)

    async def submit(self, name: str, operation: Operation) -> Reply:
        """Perform an operation; raises Unavailable when no coordinator could in time."""
        return (await self.submit_all(name, (operation,)))[0]

    async def submit_all(self, name: str, operations: Sequence[Operation]) -> tuple[Reply, ...]:
        """Perform operations on one register, in order."""
        request = Submit(name, tuple(operations))
        failures: list[str] = []
        try:
            async with asyncio.timeout(self._config.operation_timeout_s):
                while True:
                    epoch = self._keeper.epoch
                    for node in self._order(name):
                        replies = await self._try(node, request, failures)
                        if replies is not None:
                            return replies
                        if self._keeper.epoch != epoch:
                            break
                    await asyncio.sleep(self._rng.uniform(0, PAUSE_S))
        except TimeoutError:
            reason = failures[-1] if failures else "no answer in time"
            raise Unavailable(f"{name}: {reason}", unknown=True) from None

    async def _try(
        self, node: NodeId, request: Submit, failures: list[str]
    ) -> tuple[Reply, ...] | None:
        """The coordinator's replies, or None with the reason noted."""
        try:
            replies = await self._lines.ask(node, request)
        except StaleEpoch:
            return None
        except (OSError, BadMessage) as error:
            failures.append(f"{node}: {error}")
        else:
            if not replies.unavailable:
                return replies.items
            failures.append(f"{node}: {replies.unavailable}")
        del failures[:-1]
        return None

    async def _send(self, node: NodeId, requests: Sequence[Submit]) -> Sequence[Replies]:
        timeout_s = self._config.call_timeout_s
        if node == self._me:
            return await self._coordinator.answer(requests, PATIENCE_SHARE * timeout_s)
        body = encode(Submits(tuple(requests)))
        data = await self._epochs.call(node, SUBMIT, body, timeout_s=timeout_s)
        return decode(data, RepliesItems).items

    def _order(self, name: str) -> list[NodeId]:
        """Homes to try: those that seem alive, and only if there is none the others."""
        home = self._keeper.home(partition_of_name(name))
        if not home:
            raise Unavailable("this node knows no layout yet")
        alive = self._members.alive()
        return [node for node in home if node in alive] or list(home)

    async def read(self, name: str) -> RegisterValue:
        """The newest value, linearizable; version 0 when nothing was ever written.

        One round trip when a majority agrees already, else a round of the coordinator.
        """
        sets = self._keeper.quorum_sets(partition_of_name(name))
        if not sets[0]:
            raise Unavailable("this node knows no layout yet")
        try:
            held = quorum.settled(await self._acceptors.peek(sets, Peek(name)), sets)
        except StaleEpoch:
            held = None
        if held is not None:
            return _value(name, held.value)
        reply = await self.submit(name, Operation(READ))
        return _value(name, reply.answer)

    async def read_stale(self, name: str) -> RegisterValue:
        """The newest value among the homes that answer.

        It may be old, or hold a write that was never acknowledged and may still be undone.
        Raises Unavailable when no home answers at all.
        """
        sets = self._keeper.quorum_sets(partition_of_name(name))
        try:
            held = await self._acceptors.peek(sets, Peek(name))
        except StaleEpoch as error:
            raise Unavailable("the layout is changing") from error
        if not held:
            raise Unavailable(f"no home of {name} answers")
        return _value(name, quorum.newest(held).value)


def _size(request: Submit) -> int:
    return sum(len(operation.action) for operation in request.operations)


def _value(name: str, data: bytes) -> RegisterValue:
    try:
        return decode(data, RegisterValue) if data else RegisterValue()
    except BadMessage as error:
        raise Unavailable(f"the value of {name} cannot be read: {error}") from error
