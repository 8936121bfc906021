"""Group commit for all groups of a node: one batch is in flight, all that comes meanwhile is next.

It knows nothing of Raft. A failing store ends `run`, and with it the driver: what was not
acknowledged then never will be.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from peerdisco_election import storage
from peerdisco_election.errors import Dropped
from peerdisco_election.group import Group
from peerdisco_election.outcomes import fail, succeed

BATCH_WRITES = 8192
"""A batch is closed when it has about this many writes, so that no group waits long for others."""


@dataclass(slots=True)
class _Pending:
    """What one group wants to be durable next."""

    writes: list[storage.Write] = field(default_factory=list)
    number: int = 0


class Writer:
    """What the groups want to be durable, on its way to the store.

    Args:
        store: Shared by all groups, and by others.
        stored: Called when a group's writes up to a number are durable.
    """

    def __init__(self, store: storage.Store, stored: Callable[[Group, int], None]) -> None:
        self._store = store
        self._stored = stored
        self._pending: dict[Group, _Pending] = {}
        self._erasing: dict[str, asyncio.Future[None]] = {}
        self._work = asyncio.Event()

    def persist(self, group: Group, number: int, writes: Sequence[storage.Write]) -> None:
        """Commit these with the next batch."""
        pending = self._pending.setdefault(group, _Pending())
        pending.writes += writes
        pending.number = number
        self._work.set()

    async def erase(self, name: str) -> None:
        """Delete everything of a group; durable when this returns."""
        done = self._erasing.get(name)
        if done is None:
            done = self._erasing[name] = asyncio.get_running_loop().create_future()
            self._work.set()
        await asyncio.shield(done)

    async def run(self) -> None:
        """Commit until cancelled. Raises OSError when the store fails."""
        while True:
            await self._work.wait()
            self._work.clear()
            pending = self._take()
            erasing, self._erasing = self._erasing, {}
            # One key may be written twice; a batch's later write wins, so erase first.
            batch: dict[bytes, bytes | None] = {}
            for name in erasing:
                batch.update(storage.erase(self._store, name))
            for group, part in pending.items():
                if not group.closed:
                    batch.update(part.writes)
                    group.writing()
            try:
                if batch:
                    await self._store.commit(list(batch.items()))
            except BaseException:
                # Whoever waits is told by `end`.
                self._erasing = {**erasing, **self._erasing}
                raise
            for group, part in pending.items():
                if not group.closed:
                    self._stored(group, part.number)
            succeed(erasing.values(), None)

    def _take(self) -> dict[Group, _Pending]:
        """What goes into the next batch; a long one is cut between groups."""
        taken: dict[Group, _Pending] = {}
        size = 0
        for group, part in self._pending.items():
            if size >= BATCH_WRITES:
                self._work.set()
                break
            taken[group] = part
            size += len(part.writes)
        for group in taken:
            del self._pending[group]
        return taken

    def end(self, reason: str) -> None:
        """Nothing more will be committed."""
        for done in self._erasing.values():
            fail([done], Dropped(reason))
