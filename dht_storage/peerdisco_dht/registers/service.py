"""The register service that every node offers to its peers.

Four methods: be an acceptor, coordinate operations, list names, list the registers of partitions
(for handovers). Expected failures travel inside the answers.
"""

from __future__ import annotations

from peerdisco_dht.config import StorageConfig
from peerdisco_dht.epochs import EpochRpc
from peerdisco_dht.messages import decode, encode
from peerdisco_dht.ports import NodeId
from peerdisco_dht.registers.acceptors import ACCEPT
from peerdisco_dht.registers.coordinator import PATIENCE_SHARE, Coordinator
from peerdisco_dht.registers.messages import (
    Asks,
    HeldItems,
    NamesRequest,
    PartitionsRequest,
    RepliesItems,
    Submits,
)
from peerdisco_dht.registers.rows import AcceptorRows

SUBMIT = "dht/register/submit"
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
        return encode(RepliesItems(await self._coordinator.answer(items, self._patience_s)))

    async def _names(self, peer: NodeId, body: bytes) -> bytes:
        del peer
        return encode(self._rows.names(decode(body, NamesRequest)))

    async def _partitions(self, peer: NodeId, body: bytes) -> bytes:
        del peer
        return encode(await self._rows.partitions(decode(body, PartitionsRequest)))
