"""Child tasks that live exactly as long as a block."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")
Spawn = Callable[[Coroutine[None, None, None]], "asyncio.Future[None]"]
"""Starts a child task; one that comes when the block is ending counts as cancelled at once."""


@asynccontextmanager
async def background() -> AsyncIterator[Spawn]:
    """Yields a function that starts a child task; all that still run at the end are cancelled.

    An error of a child ends the block, as in every TaskGroup; the block's own errors leave in an
    ExceptionGroup.
    """
    running: dict[asyncio.Task[None], None] = {}
    async with asyncio.TaskGroup() as group:

        def spawn(work: Coroutine[None, None, None]) -> asyncio.Future[None]:
            try:
                task = group.create_task(work)
            except RuntimeError:  # The group is shutting down: calls still arrive meanwhile.
                work.close()
                refused: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                refused.cancel()
                return refused
            running[task] = None
            task.add_done_callback(lambda done: running.pop(done, None))
            return task

        try:
            yield spawn
        finally:
            for task in list(running):
                task.cancel()


async def both(first: Coroutine[None, None, A], second: Coroutine[None, None, B]) -> tuple[A, B]:
    """The results of two coroutines that run at the same time.

    The first error is raised as it is, and ends the other coroutine.
    """
    try:
        async with asyncio.TaskGroup() as group:
            one, two = group.create_task(first), group.create_task(second)
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return one.result(), two.result()


class Bell:
    """Wakes everybody who waits; unlike an Event it does not stay rung."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Wake all who wait now."""
        event, self._event = self._event, asyncio.Event()
        event.set()

    async def wait(self, timeout: float) -> bool:
        """Whether it rang within so many seconds."""
        event = self._event
        try:
            async with asyncio.timeout(timeout):
                await event.wait()
        except TimeoutError:
            return False
        return True
