"""The SQLite store keeps the promises of `peerdisco.machine.Store`."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from pathlib import Path

import pytest

from peerdisco.host.store import SqliteStore


async def test_a_committed_batch_is_read_and_survives_reopening(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "a.sqlite")
    await store.commit([(b"a", b"1"), (b"b", b"2"), (b"c", b"3")])
    await store.commit([(b"b", None)])
    await store.close()
    again = SqliteStore(tmp_path / "a.sqlite")
    assert [(b"a", b"1"), (b"c", b"3")] == again.scan(b"", b"\xff")
    assert [(b"c", b"3")] == again.scan(b"", b"\xff", limit=1, reverse=True)
    assert again.get(b"b") is None
    await again.close()


async def test_batches_apply_in_the_order_of_their_commits(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "a.sqlite")
    async with asyncio.TaskGroup() as tasks:
        for number in range(200):
            tasks.create_task(store.commit([(b"key", b"%d" % number)]))
    assert store.get(b"key") == b"199"
    await store.close()


async def test_a_cancelled_caller_does_not_withdraw_its_batch(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "a.sqlite")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await store.commit([(b"key", b"value")])
    await store.commit([])
    assert store.get(b"key") == b"value"
    await store.close()


async def test_a_failed_commit_poisons_the_store(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "a.sqlite")
    await store.commit([(b"key", b"before")])
    with contextlib.closing(sqlite3.connect(tmp_path / "a.sqlite")) as breaker:
        breaker.execute("DROP TABLE map")
        breaker.commit()
    with pytest.raises(OSError):
        await store.commit([(b"key", b"after")])
    with pytest.raises(OSError, match="earlier failure"):
        await store.commit([(b"other", b"value")])
    await store.close()


async def test_a_closed_store_has_finished_what_it_accepted(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "a.sqlite")
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(store.commit([(b"key", b"value")]))
        await asyncio.sleep(0)
        await store.close()
    with pytest.raises(OSError, match="closed"):
        await store.commit([])
    again = SqliteStore(tmp_path / "a.sqlite")
    assert again.get(b"key") == b"value"
    await again.close()


async def test_long_batches_apply_in_order(tmp_path: Path) -> None:
    """Many rows share a statement; a later write of a key still wins."""
    store = SqliteStore(tmp_path / "a.sqlite")
    keys = [b"%03d" % number for number in range(150)]
    writes: list[tuple[bytes, bytes | None]] = [(key, b"1") for key in keys]
    writes += [(key, None) for key in keys[:140]]
    writes += [(key, b"2") for key in keys[70:]]
    await store.commit([*writes, (b"149", b"3")])
    found = store.scan(b"", b"\xff")
    assert [(key, b"2") for key in keys[70:149]] + [(b"149", b"3")] == found
    await store.close()


async def test_closing_finishes_also_what_nobody_waits_for(tmp_path: Path) -> None:
    """A commit is in flight and another waits; both callers were cancelled."""
    store = SqliteStore(tmp_path / "a.sqlite")
    async with asyncio.TaskGroup() as tasks:
        callers = [tasks.create_task(store.commit([(b"%d" % at, b"x")])) for at in range(2)]
        await asyncio.sleep(0)
        for caller in callers:
            caller.cancel()
    await store.close()
    again = SqliteStore(tmp_path / "a.sqlite")
    assert [(b"0", b"x"), (b"1", b"x")] == again.scan(b"", b"\xff")
    await again.close()
