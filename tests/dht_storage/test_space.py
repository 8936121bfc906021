"""A disk that fills up: copies go elsewhere, come back, and nothing is ever half there."""

from __future__ import annotations

import asyncio
import errno
import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from peerdisco_dht import Durability, RemoveNodes, SpaceState, StorageFull, Unavailable
from peerdisco_dht.blobs.identity import chunk_list_of
from peerdisco_dht.blobs.messages import Role
from peerdisco_dht.space import CACHE_REST_S, state_of
from tests.dht_storage.conftest import CONFIG

if TYPE_CHECKING:
    from tests.dht_storage.conftest import Cluster, Node, World

MIB, GIB = 1 << 20, 1 << 30
SIZES = (300, 100_000)


def fill_up(node: Node, free: int) -> None:
    """Let a disk have so much space left, of a hundred MiB."""
    node.disk.total_bytes = 100 * MIB
    used = sum(map(len, node.disk.files.values()))
    node.disk.files["ballast"] = bytearray(100 * MIB - used - free)


def make_room(node: Node) -> None:
    node.disk.files.pop("ballast")


def counting(cluster: Cluster, blob: str) -> list[str]:
    """Nodes whose copies count."""
    return [
        node.id
        for node in cluster.nodes.values()
        if (row := node.storage._shelf.row(blob)) and row.role is Role.REPLICA
    ]


@pytest.mark.parametrize(
    ("free", "total", "state"),
    [
        (50, 100, SpaceState.OK),
        (10, 100, SpaceState.OK),
        (9, 100, SpaceState.LOW),
        (1, 100, SpaceState.READ_ONLY),
        (5 * GIB, 1000 * GIB, SpaceState.OK),
        (5 * GIB - 1, 1000 * GIB, SpaceState.LOW),
        (GIB - 1, 1000 * GIB, SpaceState.READ_ONLY),
    ],
)
def test_the_smaller_of_share_and_bytes_counts(free: int, total: int, state: SpaceState) -> None:
    assert state_of(free, total, CONFIG) is state


@pytest.mark.parametrize("size", SIZES)
def test_what_does_not_fit_at_home_lies_elsewhere_until_there_is_room(
    world: World, size: int
) -> None:
    quick = replace(CONFIG, repair_interval_s=5.0)

    async def story(cluster: Cluster) -> None:
        data = random.Random(1).randbytes(size)
        blob = chunk_list_of(data).id
        home = cluster[0].storage.blobs.home(blob)
        full = cluster.by_id(home[1])
        fill_up(full, 5 * MIB)
        await asyncio.sleep(2)
        info = await cluster.by_id(home[0]).storage.blobs.put_bytes(data)
        assert info.copies == 2
        await cluster.eventually(lambda: len(counting(cluster, blob)) == 3)
        assert full.id not in cluster.replicas(blob)
        pushed = len(cluster.network.pushes)
        await asyncio.sleep(30)
        assert len(cluster.network.pushes) == pushed, "nobody is asked in vain with all the bytes"
        make_room(full)
        await cluster.eventually(lambda: set(counting(cluster, blob)) == set(home))

    world(story, 5, config=quick)


def test_a_full_node_counts_for_nothing_in_its_own_puts(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        data = random.Random(1).randbytes(100_000)
        blob = chunk_list_of(data).id
        home = cluster[0].storage.blobs.home(blob)
        full = cluster.by_id(home[0])
        fill_up(full, 5 * MIB)
        await asyncio.sleep(2)
        info = await full.storage.blobs.put_bytes(data)
        assert info.copies == 2
        assert len({*counting(cluster, blob)} - {full.id}) >= 2

    world(story, 5)


def test_repair_finds_other_nodes_when_the_new_homes_are_full(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        datas = [random.Random(n).randbytes(70_000) for n in range(20)]
        blobs = [
            (await cluster[0].storage.blobs.put_bytes(data, durability=Durability.ALL)).id
            for data in datas
        ]
        fill_up(cluster[1], 5 * MIB)
        await asyncio.sleep(2)
        await cluster.crash("n0")
        cluster.change(RemoveNodes((cluster[0].id,)))
        await cluster.eventually(
            lambda: all(len({*counting(cluster, blob)} - {cluster[0].id}) >= 3 for blob in blobs)
        )

    world(story, 6)


def test_nobody_puts_through_a_read_only_node_but_everybody_reads_and_deletes(
    world: World,
) -> None:
    async def story(cluster: Cluster) -> None:
        node = cluster[0]
        info = await node.storage.blobs.put_bytes(b"early", owner="o", durability=Durability.ALL)
        fill_up(node, MIB)
        await asyncio.sleep(2)
        with pytest.raises(StorageFull, match="1048576"):
            await node.storage.blobs.put_bytes(b"late")
        assert await node.storage.blobs.read(info.id, limit_bytes=9) == b"early"
        await node.storage.tags.append("t", [[f"blob:{info.id}"]])
        await node.storage.tags.delete("t")
        await node.storage.blobs.delete(info.id, owner="o")
        conditions = await cluster[1].storage.health.conditions()
        assert conditions[node.id].space.state is SpaceState.READ_ONLY
        assert (await cluster[1].storage.blobs.put_bytes(b"elsewhere")).copies == 2

    world(story, 4)


def test_caches_go_when_space_is_low_and_copies_that_count_stay(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        loop = asyncio.get_running_loop()
        cluster.wall_time = lambda: 1.5e9 + loop.time()
        writer = cluster[0]
        blobs = [
            (
                await writer.storage.blobs.put_bytes(
                    random.Random(n).randbytes(100_000), durability=Durability.ALL
                )
            ).id
            for n in range(30)
        ]
        await asyncio.sleep(CACHE_REST_S)
        fill_up(writer, 9 * MIB)
        cached = [blob for blob in blobs if writer.id not in counting(cluster, blob)]
        held = [blob for blob in blobs if blob not in cached]
        assert cached
        assert held
        await cluster.eventually(lambda: not set(cached) & set(_held(writer, blobs)))
        assert set(held) <= set(_held(writer, blobs))
        for blob in cached:
            assert await writer.storage.blobs.size(blob) == 100_000

    world(story, 5)


def _held(node: Node, blobs: list[str]) -> list[str]:
    return [blob for blob in blobs if node.storage._shelf.holds(blob)]


def test_a_disk_that_fills_up_in_the_middle_of_a_put_keeps_nothing_of_it(world: World) -> None:
    unwatched = replace(CONFIG, low_bytes=0, read_only_bytes=0)

    async def story(cluster: Cluster) -> None:
        data = random.Random(1).randbytes(3 * MIB)
        blob = chunk_list_of(data).id
        for node in cluster.nodes.values():
            fill_up(node, MIB)
        with pytest.raises(OSError, match="no space") as failure:
            await cluster[0].storage.blobs.put_bytes(data)
        assert failure.value.errno == errno.ENOSPC
        assert not cluster.replicas(blob)
        make_room(cluster[0])
        with pytest.raises(Unavailable, match="no space"):
            await cluster[0].storage.blobs.put_bytes(data)
        for node in list(cluster.nodes.values())[1:]:
            assert set(node.disk.files) <= {"ballast"}
            assert not node.storage._shelf.holds(blob)
            make_room(node)
        assert (await cluster[0].storage.blobs.put_bytes(data)).copies == 2

    world(story, 3, config=unwatched)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_disks_that_fill_up_and_nodes_that_crash_lose_nothing_together(
    world: World, seed: int
) -> None:
    stormy = replace(CONFIG, repair_interval_s=5.0)

    async def story(cluster: Cluster) -> None:
        draws = random.Random(seed)
        acknowledged: dict[str, bytes] = {}
        full: list[str] = []
        for _ in range(60):
            up = [each for each in cluster.nodes.values() if each.id in cluster.network.up]
            node = draws.choice(up)
            event = draws.random()
            if event < 0.15 and len(full) < 3 and node.name not in full:
                full.append(node.name)
                fill_up(node, draws.choice((5 * MIB, MIB)))
            elif event < 0.3 and full:
                make_room(cluster.nodes[full.pop()])
            elif event < 0.4 and len(up) == len(cluster.nodes):
                ballast = node.disk.files.pop("ballast", None)
                await cluster.crash(node.name)
                await asyncio.sleep(draws.uniform(0, 3))
                again = cluster.start(node.name)
                again.storage.adopt(cluster.layout)
                if ballast is not None:
                    again.disk.total_bytes = node.disk.total_bytes
                    again.disk.files["ballast"] = ballast
            else:
                data = draws.randbytes(draws.choice(SIZES))
                try:
                    info = await node.storage.blobs.put_bytes(data)
                except (Unavailable, StorageFull):
                    continue
                acknowledged[info.id] = data
            await asyncio.sleep(draws.uniform(0, 1))
        assert len(acknowledged) > 10
        for name in full:
            make_room(cluster.nodes[name])
        await cluster.eventually(
            lambda: all(
                set(cluster[0].storage.blobs.home(blob)) <= set(cluster.replicas(blob))
                for blob in acknowledged
            ),
            120.0,
        )
        for blob, data in acknowledged.items():
            assert await cluster[5].storage.blobs.read(blob, limit_bytes=len(data)) == data
        await asyncio.sleep(60)
        for blob in acknowledged:
            assert set(counting(cluster, blob)) == set(cluster[0].storage.blobs.home(blob))

    world(story, 6, seed=seed, config=stormy)
