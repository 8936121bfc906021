"""Scrub: rot is found before somebody needs the copy, and never made worse."""

from __future__ import annotations

import asyncio
import errno
import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from peerdisco_dht import Durability
from peerdisco_dht.blobs.shelf import INLINE, SET_ASIDE, file_path
from peerdisco_dht.scrub import ROW, ScrubState
from tests.dht_storage.conftest import CONFIG

if TYPE_CHECKING:
    from tests.dht_storage.conftest import Cluster, Node, World

MIB = 1 << 20
SIZES = (10, 100_000, 2 * MIB + 5)


async def fill(cluster: Cluster, sizes: tuple[int, ...] = SIZES) -> list[str]:
    draws = random.Random(3)
    blobs = cluster[0].storage.blobs
    return [
        (await blobs.put_bytes(draws.randbytes(size), durability=Durability.ALL)).id
        for size in sizes
    ]


def state_of(node: Node) -> ScrubState:
    return node.storage.health.condition().scrub


async def scrubbed(cluster: Cluster, node: Node) -> ScrubState:
    """The state after a pass that begins now."""
    loop = asyncio.get_running_loop()
    cluster.wall_time = lambda: 1.5e9 + loop.time()
    began = state_of(node).last
    silent = await node.storage.health.scrub()
    assert not silent
    await cluster.eventually(lambda: state_of(node).last not in (None, began))
    return node.storage.health.condition().scrub


def rot(node: Node, blob: str) -> None:
    """Change a byte in the middle of a copy, in its file or in the index."""
    for kept in (node.disk.files, node.disk.synced):
        if (path := file_path(blob)) in kept:
            data = bytearray(kept[path])
            data[len(data) // 2] ^= 4
            kept[path] = data  # type: ignore[assignment]  # bytes or bytearray
    key = INLINE + blob.encode()
    if key in node.index.rows:
        node.index.rows[key] = b"X" + node.index.rows[key][1:]


@pytest.mark.parametrize("size", SIZES)
def test_a_rotten_copy_is_found_kept_aside_and_replaced(world: World, size: int) -> None:
    async def story(cluster: Cluster) -> None:
        blobs = await fill(cluster)
        blob, victim = blobs[SIZES.index(size)], cluster[1]
        rot(victim, blob)
        state = await scrubbed(cluster, victim)
        assert state.last
        assert (state.last.blobs, state.last.rotten) == (len(SIZES) - 1, 1)
        assert f"{SET_ASIDE}/{blob}" in victim.disk.files
        await cluster.eventually(lambda: victim.storage._shelf.holds(blob))
        state = await scrubbed(cluster, victim)
        assert state.last
        assert (state.last.blobs, state.last.rotten, state.aside) == (len(SIZES), 0, 0)
        assert f"{SET_ASIDE}/{blob}" not in victim.disk.files

    world(story, 3)


def test_the_last_copy_is_kept_although_it_has_rotted(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        (blob,) = await fill(cluster, (100_000,))
        rot(cluster[0], blob)
        remains = bytes(cluster[0].disk.files[file_path(blob)])
        for _ in range(3):
            state = await scrubbed(cluster, cluster[0])
            assert state.aside == 1
        assert bytes(cluster[0].disk.files[f"{SET_ASIDE}/{blob}"]) == remains

    world(story, 1)


def test_a_copy_that_cannot_be_read_is_brought_again_and_stays_until_then(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        (blob,) = await fill(cluster, (100_000,))
        victim = cluster[2]
        path = file_path(blob)
        pushes = len(cluster.network.pushes)
        victim.disk.unreadable[path] = errno.EIO
        state = await scrubbed(cluster, victim)
        assert state.last
        assert (state.last.unreadable, state.last.rotten) == (1, 0)
        assert path in victim.disk.files
        await cluster.eventually(lambda: len(cluster.network.pushes) > pushes)
        await cluster.eventually(lambda: victim.storage._shelf.vouches(blob))
        assert path not in victim.disk.unreadable, "the file was written anew"
        state = await scrubbed(cluster, victim)
        assert state.last
        assert (state.last.blobs, state.last.unreadable) == (1, 0)

    world(story, 3)


def test_a_pass_is_as_slow_as_it_should_be_and_goes_on_after_a_restart(world: World) -> None:
    slow = replace(CONFIG, scrub_bytes_per_s=100_000)

    async def story(cluster: Cluster) -> None:
        loop = asyncio.get_running_loop()
        count, size = 50, 100_000
        await fill(cluster, (size,) * count)
        node = cluster[0]
        began = loop.time()
        await node.storage.health.scrub()
        await asyncio.sleep(25)
        await cluster.crash("n0")
        row = node.index.rows[ROW]
        assert row, "the place is saved now and then"
        node = cluster.start("n0")
        node.storage.adopt(cluster.layout)
        await cluster.eventually(lambda: state_of(node).last is not None, 100)
        last = state_of(node).last
        assert last
        assert last.blobs == count
        assert count - 2 <= loop.time() - began <= count + 15, "hardly anything was read twice"

    world(story, 1, config=slow)


def test_a_pass_begins_when_the_period_is_over_and_after_a_calendar_was_set_back(
    world: World,
) -> None:
    often = replace(CONFIG, scrub_period_s=1000.0)

    async def story(cluster: Cluster) -> None:
        loop = asyncio.get_running_loop()
        cluster.wall_time = lambda: 1.5e9 + loop.time()
        node = cluster.start("n0")
        cluster.add(0)
        await asyncio.sleep(900)
        assert state_of(node).last is None
        await asyncio.sleep(200)
        first = state_of(node).last
        assert first
        cluster.wall_time = lambda: 1.4e9 + loop.time()
        await asyncio.sleep(120)
        second = state_of(node).last
        assert second
        assert second.began < first.began
        await asyncio.sleep(500)
        assert state_of(node).last == second

    world(story, 0, config=often)
