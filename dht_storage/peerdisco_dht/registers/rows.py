"""The acceptor rows of one node: read, changed and made durable before an answer leaves.

Rows live in the node's `log` store under their partition, and a second row for each name serves
listings. There is no await between reading a row and handing its successor to the store, so the
order of commits is the order of promises.
"""

from __future__ import annotations

from collections.abc import Sequence

from peerdisco_dht.keeper import LayoutKeeper
from peerdisco_dht.keys import partition_of_name
from peerdisco_dht.messages import BadMessage, decode, encode
from peerdisco_dht.overlay import Overlay
from peerdisco_dht.ports import Store, Write
from peerdisco_dht.registers import acceptor
from peerdisco_dht.registers.messages import (
    NAME_BYTES_MAX,
    ZERO,
    Accept,
    AcceptorRow,
    Ask,
    Held,
    NameEntry,
    NamesPage,
    NamesRequest,
    PartitionsPage,
    PartitionsRequest,
    Peek,
    Prepare,
)

ROWS = b"dht/register/"
NAMES = b"dht/name/"
PAGE_ROWS = 500
REMEMBERED_MAX = 4096
"""Rows that need not be read again, the missing ones included; then all are forgotten."""
REMEMBERED_BYTES_MAX = 4 << 10
"""Rows with longer values are not remembered."""
NAMES_PAGE_MAX = 10_000


class AcceptorRows:
    """All registers for which this node accepts.

    Args:
        store: The node's log store.
        keeper: Its layout, which is committed before anything is promised under it.
    """

    def __init__(self, store: Store, keeper: LayoutKeeper) -> None:
        self._store = store
        self._keeper = keeper
        self._rows = Overlay(store)
        self._remembered: dict[bytes, AcceptorRow] = {}

    def is_blank(self, name: str) -> bool:
        """Whether this node has never heard of a register; raises BadMessage for a bad name."""
        return self._row(row_key(name)) is acceptor.BLANK

    async def answer(self, asks: Sequence[Ask]) -> tuple[Held, ...]:
        """Answer requests; what the answers promise and tell is durable when this returns.

        A peek tells the committed row, as if it had come before what is still on its way to the
        disk: that may fail to arrive there, and a crash would forget what was told.
        """
        changed: dict[bytes, AcceptorRow] = {}
        writes: list[Write] = []
        held = []
        for ask in asks:
            key = row_key(ask.name)
            if isinstance(ask, Peek):
                held.append(acceptor.peek(_opened(self._store.get(key))))
                continue
            row = changed.get(key) or self._row(key)
            after, answer = _apply(row, ask)
            held.append(answer)
            if after is not row:
                changed[key] = after
                writes.append((key, encode(after)))
                if isinstance(ask, Accept):
                    # In round 0 whoever lists differently lists what was not chosen.
                    ballot = ask.ballot if ask.ballot.round else ZERO
                    entry = NameEntry(ballot, ask.listed)
                    writes.append((NAMES + ask.name.encode(), encode(entry)))
        for key, row in changed.items():
            self._remember(key, row)
        await self._commit(writes)
        return tuple(held)

    async def _commit(self, writes: list[Write]) -> None:
        """Commit rows behind the layout under which they were made; a peek needs no commit."""
        epoch = self._keeper.epoch
        batch = [*self._keeper.unsaved(), *writes]
        if batch:
            await self._rows.commit(batch)
            self._keeper.saved(epoch)

    async def partitions(self, request: PartitionsRequest) -> PartitionsPage:
        """Names of registers in partitions, complete as of the present epoch.

        The commit is the barrier: what older epochs accepted was handed to the store before, and
        nothing of an older epoch is accepted after.
        """
        await self._keeper.save()
        names: list[str] = []
        for partition in request.partitions:
            start, end = _partition_range(partition)
            if request.after >= end:
                continue
            start = max(start, request.after + b"\0") if request.after else start
            rows = self._store.scan(start, end, limit=PAGE_ROWS)
            names += [key[len(start_of(partition)) :].decode() for key, _ in rows]
            if len(rows) == PAGE_ROWS or len(names) >= PAGE_ROWS:
                last = rows[-1][0] if rows else end
                return PartitionsPage(tuple(names), last)
        return PartitionsPage(tuple(names))

    def names(self, request: NamesRequest) -> NamesPage:
        """Rows of the listing, committed ones only."""
        start = NAMES + max(request.prefix, request.after + "\0" if request.after else "").encode()
        end = NAMES + request.prefix.encode() + b"\xff"
        limit = max(1, min(request.limit, NAMES_PAGE_MAX))
        found = self._store.scan(start, end, limit=limit + 1)
        names = tuple(key[len(NAMES) :].decode() for key, _ in found[:limit])
        return NamesPage(names, tuple(data for _, data in found[:limit]), more=len(found) > limit)

    def _row(self, key: bytes) -> AcceptorRow:
        known = self._remembered.get(key)
        if known is not None:
            return known
        row = _opened(self._rows.get(key))
        self._remember(key, row)
        return row

    def _remember(self, key: bytes, row: AcceptorRow) -> None:
        """Keep the newest row that was handed to the store, unless it is a large one."""
        if len(self._remembered) >= REMEMBERED_MAX:
            self._remembered.clear()
        if len(row.value) <= REMEMBERED_BYTES_MAX:
            self._remembered[key] = row
        else:
            self._remembered.pop(key, None)


def _opened(data: bytes | None) -> AcceptorRow:
    return decode(data, AcceptorRow) if data is not None else acceptor.BLANK


def _apply(row: AcceptorRow, ask: Prepare | Accept) -> tuple[AcceptorRow, Held]:
    if isinstance(ask, Prepare):
        return acceptor.prepare(row, ask)
    return acceptor.accept(row, ask)


def start_of(partition: int) -> bytes:
    """The beginning of the storage keys of a partition."""
    return ROWS + partition.to_bytes(2, "big") + b"/"


def _partition_range(partition: int) -> tuple[bytes, bytes]:
    return start_of(partition), ROWS + partition.to_bytes(2, "big") + b"0"


def row_key(name: str) -> bytes:
    """The storage key of a register; raises BadMessage for a name that nobody may use."""
    encoded = name.encode()
    if not 0 < len(encoded) <= NAME_BYTES_MAX:
        raise BadMessage(f"a register's name has 1 to {NAME_BYTES_MAX} bytes")
    return start_of(partition_of_name(name)) + encoded
