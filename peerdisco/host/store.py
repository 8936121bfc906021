"""The metadata store over SQLite: one writer thread, group commit, checkpoints off the commit path.

There is no SQL above this file, so the simulated twin cannot drift from it. The promises are
those of `peerdisco.machine.Store`.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import sqlite3
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from peerdisco.machine import Write

logger = logging.getLogger(__name__)

PENDING_BATCHES_MAX = 100_000
"""Batches that may wait for the commit in flight before `commit` refuses."""

CHECKPOINT_WRITES = 4_000
"""Writes after which the log is copied back into the database, in a thread of its own."""

ROWS_PER_STATEMENT = (64, 8, 1)
"""Rows of a transaction that go into one call of SQLite: as many as fit."""


class SqliteStore:
    """One SQLite file as an ordered map from bytes to bytes."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        try:
            self._reader = _connect(path)
            self._writer = _connect(path)
        except sqlite3.Error as error:
            raise OSError(f"{path} cannot be opened: {error}") from error
        self._threads = ThreadPoolExecutor(1, thread_name_prefix=f"store-{path.stem}")
        self._checkpoints = ThreadPoolExecutor(1, thread_name_prefix=f"checkpoint-{path.stem}")
        self._pending: list[tuple[Sequence[Write], asyncio.Future[None]]] = []
        self._in_flight = False
        self._since_checkpoint = 0
        self._failure: OSError | None = None
        self._closed = False

    @property
    def failure(self) -> OSError | None:
        """See Store."""
        return self._failure

    def get(self, key: bytes) -> bytes | None:
        """See Store."""
        row = self._reader.execute("SELECT value FROM map WHERE key = ?", (key,)).fetchone()
        return None if row is None else row[0]

    def scan(
        self, start: bytes, end: bytes, *, limit: int = 1000, reverse: bool = False
    ) -> list[tuple[bytes, bytes]]:
        """See Store."""
        return self._reader.execute(
            _SCAN_BACKWARD if reverse else _SCAN, (start, end, limit)
        ).fetchall()

    async def commit(self, writes: Sequence[Write]) -> None:
        """See Store."""
        if self._failure is not None:
            raise OSError(f"{self._path}: refused after an earlier failure: {self._failure}")
        if self._closed:
            raise OSError(f"{self._path}: the store is closed")
        if len(self._pending) >= PENDING_BATCHES_MAX:
            raise OSError(f"{self._path}: {PENDING_BATCHES_MAX} batches already wait")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pending.append((writes, done))
        self._start()
        # Being cancelled cancels `done` only: the batch is on its way.
        await done

    async def close(self) -> None:
        """See Store."""
        if self._closed:
            return
        self._closed = True
        if self._in_flight:
            last: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._pending.append(((), last))
            await asyncio.wait([last])
        self._threads.shutdown()
        self._checkpoints.shutdown()
        self._writer.close()
        self._reader.close()

    def _start(self) -> None:
        """Give everything that waits to the writer thread, unless it is busy."""
        if self._in_flight or not self._pending:
            return
        self._in_flight = True
        self._running, self._pending = self._pending, []
        batches = [writes for writes, _ in self._running]
        loop = asyncio.get_running_loop()
        result = self._threads.submit(_apply, self._writer, batches)
        result.add_done_callback(lambda done: loop.call_soon_threadsafe(self._finished, done))

    def _finished(self, result: Future[int]) -> None:
        """Answer the callers of the commit that just ended, and start the next."""
        self._in_flight = False
        error = result.exception()
        if error is not None:
            self._failure = OSError(f"{self._path}: commit failed: {error}")
            logger.critical("store_poisoned path=%s error=%s", self._path, error)
            self._running += self._pending
            self._pending = []
        for _, done in self._running:
            if done.cancelled():
                continue
            if self._failure is None:
                done.set_result(None)
            else:
                done.set_exception(self._failure)
                done.exception()  # the caller may be gone; the poisoned store tells the next one
        if self._failure is None:
            self._note_writes(result.result())
            self._start()

    def _note_writes(self, count: int) -> None:
        self._since_checkpoint += count
        if self._since_checkpoint >= CHECKPOINT_WRITES and not self._closed:
            self._since_checkpoint = 0
            self._checkpoints.submit(_checkpoint, self._path)


_SCAN = "SELECT key, value FROM map WHERE key >= ? AND key < ? ORDER BY key LIMIT ?"
_SCAN_BACKWARD = "SELECT key, value FROM map WHERE key >= ? AND key < ? ORDER BY key DESC LIMIT ?"


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "fullfsync=1",
        "wal_autocheckpoint=0",
        "busy_timeout=10000",
    ):
        connection.execute(f"PRAGMA {pragma}").fetchall()
    connection.execute(
        "CREATE TABLE IF NOT EXISTS map (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"
    )
    return connection


def _apply(connection: sqlite3.Connection, batches: Sequence[Sequence[Write]]) -> int:
    """Write all batches in one transaction; returns the number of writes."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        writes = itertools.chain.from_iterable(batches)
        for deletes, run in itertools.groupby(writes, key=lambda write: write[1] is None):
            if deletes:
                _execute(
                    connection, "DELETE FROM map WHERE key IN ({})", "?", [[k] for k, _ in run]
                )
            else:
                _execute(connection, "INSERT OR REPLACE INTO map VALUES {}", "(?, ?)", [*run])
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return sum(map(len, batches))


def _execute(
    connection: sqlite3.Connection, statement: str, row: str, rows: Sequence[Sequence[object]]
) -> None:
    """Run a statement over rows, many at a time while there are many.

    Each call gives the interpreter up and has to get it back, from the event loop's thread.
    """
    start = 0
    for count in ROWS_PER_STATEMENT:
        several = statement.format(", ".join([row] * count))
        while len(rows) - start >= count:
            values = itertools.chain.from_iterable(rows[start : start + count])
            connection.execute(several, tuple(values))
            start += count


def _checkpoint(path: Path) -> None:
    connection = _connect(path)
    try:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    finally:
        connection.close()
