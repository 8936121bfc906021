"""The simulated Store and SQLite keep the same promises; crashes and failures of the former."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerdisco.host.store import SqliteStore
from peerdisco.machine import Store, Write
from peerdisco_sim.machine import disk_of, open_store
from peerdisco_sim.node import SimNode
from peerdisco_sim.world import World

Run = Callable[[Coroutine[Any, Any, Any]], Any]
keys = st.binary(min_size=1, max_size=3)
batches = st.lists(
    st.lists(st.tuples(keys, st.one_of(st.none(), st.binary(max_size=4))), max_size=5),
    max_size=12,
)


async def use(open_it: Callable[[], Store], work: list[list[Write]], borders: Any) -> list[Any]:
    """Commit batches, some at once, and look at the outcome in all ways."""
    store = open_it()
    half = len(work) // 2
    for batch in work[:half]:
        await store.commit(batch)
    async with asyncio.TaskGroup() as group:
        for batch in work[half:]:
            group.create_task(store.commit(batch))
    outcome = look(store, borders)
    await store.close()
    await store.close()
    again = open_it()
    assert outcome == look(again, borders)
    await again.close()
    return outcome


def look(store: Store, borders: tuple[bytes, bytes, int]) -> list[Any]:
    start, end, limit = borders
    return [
        store.scan(b"", b"\xff" * 9),
        store.scan(start, end, limit=limit),
        store.scan(start, end, limit=limit, reverse=True),
        store.get(start),
    ]


def in_simulation(work: list[list[Write]], borders: Any) -> Any:
    with World(1) as world:
        node = SimNode(world, "node")
        return world.run_until_done(
            node.run(lambda: use(lambda: open_store(node, "log"), work, borders)), 60
        )


@given(batches, st.tuples(keys, keys, st.integers(1, 5)))
def test_the_store_is_an_ordered_map_of_what_was_committed(
    work: list[list[Write]], borders: tuple[bytes, bytes, int]
) -> None:
    model: dict[bytes, bytes] = {}
    for batch in work:
        for key, value in batch:
            model.pop(key, None)
            if value is not None:
                model[key] = value
    start, end, limit = borders
    inside = [(key, model[key]) for key in sorted(model) if start <= key < end]
    expected = [
        sorted(model.items()),
        inside[:limit],
        inside[::-1][:limit],
        model.get(start),
    ]
    assert expected == in_simulation(work, borders)


def test_both_stores_behave_alike(tmp_path: Path) -> None:
    work: list[list[Write]] = [
        [(b"a", b"1"), (b"b", b"2")],
        [(b"a", None), (b"c", b"")],
        [],
        [(b"b", b"3"), (b"b", b"4")],
        [(b"\xff\x00", b"5"), (b"none", None)],
    ]
    borders = (b"b", b"c\x00", 1)
    real = asyncio.run(use(lambda: SqliteStore(tmp_path / "log.sqlite"), work, borders))
    assert real == in_simulation(work, borders)


def test_reads_see_committed_batches_only_and_commits_share_a_sync(world: World) -> None:
    node = SimNode(world, "node")

    async def program() -> list[Any]:
        store = open_store(node, "log")
        began = world.now
        async with asyncio.TaskGroup() as group:
            for number in range(500):
                group.create_task(store.commit([(b"%03d" % number, b"x")]))
            await asyncio.sleep(0)
            early = store.get(b"000")
        return [early, len(store.scan(b"", b"9")), world.now - began]

    early, count, seconds = world.run_until_done(node.run(program), 60)
    assert (None, 500) == (early, count)
    assert seconds < 0.02


def test_cancelling_the_caller_does_not_withdraw_the_batch(world: World) -> None:
    node = SimNode(world, "node")

    async def program() -> bytes | None:
        store = open_store(node, "log")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1e-6):
                await store.commit([(b"a", b"1")])
        await store.commit([])
        return store.get(b"a")

    assert b"1" == world.run_until_done(node.run(program), 60)


@pytest.mark.parametrize("power", [False, True])
def test_a_crash_keeps_what_was_acknowledged_and_takes_the_group_in_flight_or_leaves_it(
    power: bool,
) -> None:
    seen = set()
    for seed in range(40):
        with World(seed) as world:
            node = SimNode(world, "node")
            acknowledged: list[int] = []
            node.boot(lambda node=node, told=acknowledged: _commit_pairs(node, told))  # type: ignore[misc]  # bound early
            world.run_for(0.2 + seed * 0.0007)
            if power:
                node.cut_power()
            else:
                node.kill()
            rows = world.run_until_done(node.run(lambda node=node: _rows(node)), 1)  # type: ignore[misc]  # bound early
        numbers = sorted({int(key[:5]) for key, _ in rows})
        assert 2 * len(numbers) == len(rows), "half a batch"
        assert list(range(len(numbers))) == numbers
        assert len(numbers) - len(acknowledged) in (0, 1)
        seen.add(len(numbers) - len(acknowledged))
    assert {0, 1} == seen


async def _commit_pairs(node: SimNode, acknowledged: list[int]) -> None:
    store = open_store(node, "log")
    for number in range(10_000):
        await store.commit([(b"%05d" % number, b"x"), (b"%05d'" % number, b"y")])
        acknowledged.append(number)


async def _rows(node: SimNode) -> list[tuple[bytes, bytes]]:
    return open_store(node, "log").scan(b"", b"a", limit=100_000)


def test_the_first_failed_commit_poisons_the_store_until_it_is_opened_anew(
    world: World, node: SimNode, run: Run
) -> None:
    disk = disk_of(node)
    store = open_store(node, "log")

    async def fail() -> list[int | None]:
        await store.commit([(b"a", b"1")])
        disk.faults.sync_error = errno.EIO
        numbers = []
        for _ in range(2):
            try:
                await store.commit([(b"b", b"2")])
            except OSError as error:
                numbers.append(error.errno)
            disk.faults.sync_error = 0
        return numbers

    assert [errno.EIO, errno.EIO] == run(fail())
    assert (b"1", None) == (store.get(b"a"), store.get(b"b"))
    node.kill()

    async def reopen() -> bytes | None:
        again = open_store(node, "log")
        await again.commit([(b"c", b"3")])
        assert again.get(b"b") in (None, b"2")
        return again.get(b"a")

    assert b"1" == world.run_until_done(node.run(reopen), 1)


def test_a_full_disk_fails_the_commit(node: SimNode, run: Run) -> None:
    disk_of(node).files.capacity_bytes = 100
    store = open_store(node, "log")
    with pytest.raises(OSError, match="No space left"):
        run(store.commit([(b"a", bytes(200))]))


def test_a_store_is_opened_once_at_a_time_and_closed_for_good(node: SimNode, run: Run) -> None:
    store = open_store(node, "log")
    with pytest.raises(OSError, match="busy"):
        open_store(node, "log")
    run(store.close())
    with pytest.raises(OSError, match="closed"):
        run(store.commit([]))
    open_store(node, "log")
