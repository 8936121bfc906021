"""Calls that are valid in one layout epoch only.

Every request carries its sender's epoch. A receiver that knows a newer layout refuses and sends it
along, and the sender adopts it; a receiver that is behind asks for the sender's, adopts it and
then answers. So nobody ever acts on a request that was routed by another layout than its own, and
layouts spread with the traffic that needs them, beside gossip.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Awaitable, Callable

from peerdisco_dht.keeper import LayoutKeeper
from peerdisco_dht.layout import Layout
from peerdisco_dht.messages import BadMessage, Message, decode, encode
from peerdisco_dht.ports import NodeId, Rpc

logger = logging.getLogger(__name__)


class StaleEpoch(Exception):
    """The peer knew a newer layout, which is adopted now; nothing was done. Route again."""


class Status(enum.StrEnum):
    """How a receiver took a request."""

    DONE = "done"
    STALE = "stale"
    """The sender's layout is old; the newer one is attached."""
    BEHIND = "behind"
    """The receiver's layout is old; send yours."""
    MALFORMED = "malformed"


class Request(Message, frozen=True, array_like=True):
    """A body that is valid in one epoch."""

    epoch: int
    body: bytes
    layout: bytes = b""


class Answer(Message, frozen=True, array_like=True):
    """The answer, or why there is none."""

    status: Status
    body: bytes = b""
    layout: bytes = b""


class EpochRpc:
    """Sends and serves calls that carry an epoch."""

    def __init__(self, rpc: Rpc, keeper: LayoutKeeper) -> None:
        self._rpc = rpc
        self._keeper = keeper

    @property
    def epoch(self) -> int:
        """The epoch of this node's layout."""
        return self._keeper.epoch

    async def call(
        self, peer: NodeId, method: str, body: bytes, *, timeout_s: float, epoch: int | None = None
    ) -> bytes:
        """The peer's answer; raises StaleEpoch, or OSError like any call.

        With `epoch` the request is valid in that one even if the layout changes meanwhile.
        """
        layout = b""
        for _ in range(2):
            current = self._keeper.epoch if epoch is None else epoch
            request = encode(Request(current, body, layout))
            data = await self._rpc.call(peer, method, request, timeout=timeout_s)
            answer = _decode_answer(peer, data)
            match answer.status:
                case Status.DONE:
                    return answer.body
                case Status.STALE:
                    self._adopt(peer, answer.layout)
                    raise StaleEpoch
                case Status.BEHIND:
                    layout = encode(self._keeper.layout)
                case Status.MALFORMED:
                    break
        raise ConnectionError(f"{peer} refused {method}")

    def serve(self, method: str, handler: Callable[[NodeId, bytes], Awaitable[bytes]]) -> None:
        """Answer a method; the handler runs only when both sides are in the same epoch."""

        async def guarded(peer: NodeId, data: bytes) -> bytes:
            try:
                return encode(await self._answer(peer, data, handler))
            except BadMessage as error:
                logger.warning(f"event=bad_request peer={peer} method={method} error={error}")
                return encode(Answer(Status.MALFORMED))

        self._rpc.serve(method, guarded)

    async def _answer(
        self, peer: NodeId, data: bytes, handler: Callable[[NodeId, bytes], Awaitable[bytes]]
    ) -> Answer:
        request = decode(data, Request)
        if request.epoch > self._keeper.epoch and request.layout:
            self._keeper.adopt(decode(request.layout, Layout))
        if request.epoch > self._keeper.epoch:
            return Answer(Status.BEHIND)
        if request.epoch < self._keeper.epoch:
            return Answer(Status.STALE, layout=encode(self._keeper.layout))
        return Answer(Status.DONE, await handler(peer, request.body))

    def _adopt(self, peer: NodeId, data: bytes) -> None:
        try:
            layout = decode(data, Layout)
        except BadMessage as error:
            raise ConnectionError(f"{peer} sent a broken layout") from error
        if not self._keeper.adopt(layout):
            logger.debug(f"event=layout_not_newer peer={peer} epoch={layout.epoch}")


def _decode_answer(peer: NodeId, data: bytes) -> Answer:
    try:
        return decode(data, Answer)
    except BadMessage as error:
        raise ConnectionError(f"{peer} sent a broken answer") from error
