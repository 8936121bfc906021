"""Delayed appends: those to one tag wait for each other and share one round of its register.

A caller who is not in a hurry lets the operation wait up to DELAY_S for others that go to the same
tag through this node; all are then performed in the order of their arrival, in one round trip and
one sync. Nobody is answered before that, so to everybody else the append happens when it is
answered, like any other; a delayed append is late, never loose.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from peerdisco_dht.background import Background
from peerdisco_dht.errors import Unavailable
from peerdisco_dht.registers.messages import Operation, Reply

DELAY_S = 1.0
OPERATIONS_MAX = 128
BYTES_MAX = 1 << 20
"""A group that has grown to this goes at once."""

Submit = Callable[[str, Sequence[Operation]], Awaitable[Sequence[Reply]]]


@dataclass(slots=True)
class _Group:
    operations: list[Operation] = field(default_factory=list)
    bytes: int = 0
    full: asyncio.Event = field(default_factory=asyncio.Event)
    replies: Sequence[Reply] = ()
    failure: str = "the storage stops"
    done: asyncio.Event = field(default_factory=asyncio.Event)


class Delayer:
    """Groups operations by register."""

    def __init__(self, submit: Submit, background: Background) -> None:
        self._submit = submit
        self._background = background
        self._groups: dict[str, _Group] = {}

    async def submit(self, name: str, operation: Operation) -> Reply:
        """Perform an operation within about DELAY_S; raises like the router."""
        group = self._groups.get(name)
        if group is None:
            group = _Group()
            task = self._background.start(self._send(name, group))
            self._groups[name] = group
            # A task that is cancelled before its first step runs no `finally`.
            task.add_done_callback(lambda _: self._end(name, group))
        place = len(group.operations)
        group.operations.append(operation)
        group.bytes += len(operation.action)
        if len(group.operations) >= OPERATIONS_MAX or group.bytes >= BYTES_MAX:
            self._close(name, group)
        await group.done.wait()
        if place >= len(group.replies):
            raise Unavailable(group.failure, unknown=True)
        return group.replies[place]

    async def _send(self, name: str, group: _Group) -> None:
        try:
            async with asyncio.timeout(DELAY_S):
                await group.full.wait()
        except TimeoutError:
            self._close(name, group)
        try:
            group.replies = await self._submit(name, group.operations)
        except Unavailable as error:
            group.failure = str(error)

    def _end(self, name: str, group: _Group) -> None:
        self._close(name, group)
        group.done.set()

    def _close(self, name: str, group: _Group) -> None:
        """Let the group take no more."""
        group.full.set()
        if self._groups.get(name) is group:
            del self._groups[name]
