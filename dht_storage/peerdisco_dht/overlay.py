"""Reading one's own writes before the store shows them.

Reads of a store see committed batches only. Whoever reads a row, changes it and hands it back must
see what was handed over before, even while that is still being synced. A value leaves the overlay
when the store shows it, and not before: a cancelled caller does not withdraw its batch.
"""

from __future__ import annotations

from collections.abc import Sequence

from peerdisco_dht.ports import Store, Write


class Overlay:
    """The store as it will be when all that was handed to it is durable."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._ahead: dict[bytes, bytes | None] = {}

    def get(self, key: bytes) -> bytes | None:
        """The newest value that was handed over, durable or not yet."""
        return self._ahead[key] if key in self._ahead else self._store.get(key)

    async def commit(self, writes: Sequence[Write]) -> None:
        """Hand a batch to the store; visible here at once, durable when this returns."""
        self._ahead.update(writes)
        await self._store.commit(writes)
        for key, _ in writes:
            if key in self._ahead and self._store.get(key) == self._ahead[key]:
                del self._ahead[key]
