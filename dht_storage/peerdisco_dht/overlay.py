"""Reading one's own writes before the store shows them.

Reads of a store see committed batches only. Whoever reads a row, changes it and hands it back must
see what was handed over before, even while that is still being synced. A value leaves the overlay
when its batch is durable, unless a newer one took its place; that of a caller who was cancelled
stays until then, since cancelling does not withdraw a batch.
"""

from __future__ import annotations

from collections.abc import Sequence

from peerdisco_dht.ports import Store, Write


class Overlay:
    """The store as it will be when all that was handed to it is durable."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._ahead: dict[bytes, tuple[int, bytes | None]] = {}
        self._batches = 0

    def get(self, key: bytes) -> bytes | None:
        """The newest value that was handed over, durable or not yet."""
        ahead = self._ahead.get(key)
        return ahead[1] if ahead is not None else self._store.get(key)

    async def commit(self, writes: Sequence[Write]) -> None:
        """Hand a batch to the store; visible here at once, durable when this returns."""
        self._batches = batch = self._batches + 1
        for key, value in writes:
            self._ahead[key] = batch, value
        await self._store.commit(writes)
        for key, _ in writes:
            if self._ahead.get(key, (0,))[0] == batch:
                del self._ahead[key]
