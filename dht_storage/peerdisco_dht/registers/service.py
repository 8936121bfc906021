"""The register service that every node offers to its peers.

Four methods: be an acceptor, coordinate operations, list names, list the registers of partitions
(for handovers). Expected failures travel inside the answers.
"""

from __future__ import annotations

import asyncio

from peerdisco_dht.config import StorageConfig
from peerdisco_dht.epochs import EpochRpc
from peerdisco_dht.errors import Unavailable
from peerdisco_dht.messages import BadMessage, decode, encode
from peerdisco_dht.ports import NodeId
from peerdisco_dht.registers.acceptors import ACCEPT
from peerdisco_dht.registers.coordinator import Coordinator
from peerdisco_dht.registers.messages import (
    Asks,
    HeldItems,
    NamesRequest,
    PartitionsRequest,
    Replies,
    RepliesItems,
    Submit,
    Submits,
)
from peerdisco_dht.registers.rows import AcceptorRows

SUBMIT = "dht/register/submit"
PATIENCE_SHARE = 0.75
"""The part of a caller's patience after which an undecided operation is answered as such."""
NAMES = "dht/register/names"
PARTITIONS = "dht/register/partitions"


class RegisterService:
    """Answers peers for this node's rows and its coordinator."""

    def __init__(
        self,
        rows: AcceptorRows,
        coordinator: Coordinator,
        epochs: EpochRpc,
        config: StorageConfig,
    ) -> None:
        self._rows = rows
        self._patience_s = config.call_timeout_s * PATIENCE_SHARE
        self._coordinator = coordinator
        epochs.serve(ACCEPT, self._accept)
        epochs.serve(SUBMIT, self._submit)
        epochs.serve(NAMES, self._names)
        epochs.serve(PARTITIONS, self._partitions)

    async def _accept(self, peer: NodeId, body: bytes) -> bytes:
        del peer
        return encode(HeldItems(await self._rows.answer(decode(body, Asks).items)))

    async def _submit(self, peer: NodeId, body: bytes) -> bytes:
        del peer
        items = decode(body, Submits).items
        if len(items) == 1:
            return encode(RepliesItems((await self._submit_one(items[0]),)))
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._submit_one(item)) for item in items]
        return encode(RepliesItems(tuple(task.result() for task in tasks)))

    async def _submit_one(self, request: Submit) -> Replies:
        """One register's replies. Those that share its call do not wait for it without end."""
        try:
            async with asyncio.timeout(self._patience_s):
                return Replies(await self._coordinator.submit(request.name, request.operations))
        except TimeoutError:
            return Replies(unavailable="not decided in time")
        except (Unavailable, BadMessage) as error:
            return Replies(unavailable=str(error))

    async def _names(self, peer: NodeId, body: bytes) -> bytes:
        del peer
        return encode(self._rows.names(decode(body, NamesRequest)))

    async def _partitions(self, peer: NodeId, body: bytes) -> bytes:
        del peer
        return encode(await self._rows.partitions(decode(body, PartitionsRequest)))
