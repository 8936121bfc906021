"""Asking several peers the same thing at once, with their failures as values."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from peerdisco_dht.epochs import StaleEpoch
from peerdisco_dht.messages import BadMessage
from peerdisco_dht.ports import NodeId

T = TypeVar("T")


async def ask_all(
    peers: Sequence[NodeId], ask: Callable[[NodeId], Awaitable[T]]
) -> dict[NodeId, T | Exception]:
    """The answer of each peer, or the OSError, StaleEpoch or BadMessage instead, in peer order.

    Waits for the slowest; every call has its own deadline.
    """
    answers: dict[NodeId, T | Exception] = dict.fromkeys(peers, ConnectionError("not asked"))

    async def one(peer: NodeId) -> None:
        try:
            answers[peer] = await ask(peer)
        except (OSError, StaleEpoch, BadMessage) as error:
            answers[peer] = error

    async with asyncio.TaskGroup() as group:
        for peer in peers:
            group.create_task(one(peer))
    return answers
