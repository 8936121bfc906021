"""Work that outlives the call that began it, under one parent.

A put returns after two acknowledgements while the third copy is still on its way, and a quorum
round returns after a majority while the last acceptor still receives the value. Such tasks belong
to the TaskGroup of `Background.run`; they end with it, and never silently.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine

from peerdisco_dht.errors import Unavailable

logger = logging.getLogger(__name__)

TASKS_MAX = 20_000


class Background:
    """Starts tasks that belong to the service and not to the caller."""

    def __init__(self) -> None:
        self._group: asyncio.TaskGroup | None = None
        self._running = 0
        self.started = asyncio.Event()
        """Set as soon as work can be started."""

    async def run(self) -> None:
        """Be the parent of all tasks until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            self.started.set()
            try:
                await asyncio.Event().wait()
            finally:
                self._group = None

    def start(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        """Run `work` in the background.

        OSErrors and Unavailable end the task with a line in the log; any other exception is a bug
        of ours and takes the service down. Raises Unavailable when the service does not run or
        is full.
        """
        if self._group is None or self._running >= TASKS_MAX:
            work.close()
            raise Unavailable("the storage is not running" if not self._group else "too busy")
        self._running += 1
        task = self._group.create_task(self._guarded(work))
        task.add_done_callback(lambda _: self._ended(work))
        return task

    def _ended(self, work: Coroutine[object, object, None]) -> None:
        self._running -= 1
        work.close()  # one whose task was cancelled before its first step was never begun

    async def _guarded(self, work: Coroutine[object, object, None]) -> None:
        try:
            await work
        except (OSError, Unavailable) as error:
            logger.debug(f"event=background_failed error={error!r}")
