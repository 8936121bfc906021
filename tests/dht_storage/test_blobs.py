"""Blobs: acknowledged means kept, read means verified."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

from peerdisco_dht import Durability, Limit, NoSuchBlob, RemoveNodes, Unavailable
from peerdisco_dht.blobs.identity import chunk_list_of
from peerdisco_dht.blobs.shelf import ROWS, file_path

if TYPE_CHECKING:
    from tests.dht_storage.conftest import Cluster, World

MIB = 1 << 20


def content(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


async def stream(data: bytes, step: int = 300_001) -> AsyncIterator[bytes]:
    for start in range(0, len(data), step):
        yield data[start : start + step]


@pytest.mark.parametrize("nodes", [1, 2, 3, 5])
@pytest.mark.parametrize("size", [0, 1, 64 << 10, (64 << 10) + 1, MIB, 3 * MIB + 17])
def test_what_was_put_is_read_from_every_node(world: World, nodes: int, size: int) -> None:
    async def story(cluster: Cluster) -> None:
        data = content(size)
        info = await cluster[0].storage.blobs.put(stream(data))
        assert (info.id, info.size) == (chunk_list_of(data).id, size)
        assert info.copies == min(2, nodes)
        for number in range(nodes):
            blobs = cluster[number].storage.blobs
            assert await blobs.size(info.id) == size
            assert await blobs.exists(info.id)
            assert await blobs.read(info.id, limit_bytes=size) == data
            if size:
                with pytest.raises(Limit):
                    await blobs.read(info.id, limit_bytes=size - 1)
        await cluster.eventually(
            lambda: set(cluster[0].storage.blobs.home(info.id)) <= set(cluster.replicas(info.id))
        )

    world(story, nodes)


def test_ranges_are_cut_exactly(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        data = content(3 * MIB + 5)
        info = await cluster[0].storage.blobs.put(stream(data))
        for reader in range(5):
            for offset, size in [(0, 1), (MIB - 1, 2), (2 * MIB, None), (5, 0), (len(data), 9)]:
                parts = []
                blobs = cluster[reader].storage.blobs
                async with blobs.get(info.id, offset=offset, size=size) as pieces:
                    async for piece in pieces:
                        parts.append(piece)
                end = None if size is None else offset + size
                assert b"".join(parts) == data[offset:end]

    world(story, 5)


def test_a_blob_that_nobody_holds_is_told_from_one_that_cannot_be_reached(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        blob = chunk_list_of(b"never put").id
        with pytest.raises(NoSuchBlob):
            await cluster[0].storage.blobs.read(blob, limit_bytes=99)
        assert not await cluster[0].storage.blobs.exists(blob)
        await cluster.crash("n1")
        with pytest.raises(Unavailable):
            await cluster[0].storage.blobs.read(blob, limit_bytes=99)

    world(story, 4)


def test_reading_survives_the_loss_of_all_homes_but_one(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        data = content(2 * MIB)
        info = await cluster[0].storage.blobs.put(stream(data), durability=Durability.ALL)
        home = cluster[0].storage.blobs.home(info.id)
        assert info.copies == 3
        reader = next(n for n in cluster.nodes.values() if n.id not in home and n.name != "n0")
        for node in home[:2]:
            await cluster.crash(cluster.by_id(node).name)
        if "n0" in cluster.nodes and cluster[0].id in cluster.network.up:
            await cluster.crash("n0")
        assert await reader.storage.blobs.read(info.id, limit_bytes=3 * MIB) == data

    world(story, 6)


def test_a_holder_that_dies_in_mid_stream_costs_no_byte(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        data = content(8 * MIB)
        info = await cluster[0].storage.blobs.put(stream(data), durability=Durability.ALL)
        home = cluster[0].storage.blobs.home(info.id)
        reader = next(n for n in cluster.nodes.values() if n.id not in home and n.name != "n0")
        got = bytearray()
        async with reader.storage.blobs.get(info.id) as pieces:
            async for piece in pieces:
                got += piece
                if len(got) == 2 * MIB:
                    for node in home[:2]:
                        await cluster.crash(cluster.by_id(node).name)
        assert bytes(got) == data

    world(story, 6)


def test_a_chunk_that_was_changed_on_the_way_is_read_again_elsewhere(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        data = content(4 * MIB)
        info = await cluster[0].storage.blobs.put(stream(data), durability=Durability.ALL)
        home = cluster[0].storage.blobs.home(info.id)
        liars = home[:2]
        reader = next(n for n in cluster.nodes.values() if n.id not in home and n.name != "n0")

        def tamper(peer: str, method: str, piece: bytes) -> bytes:
            broken = peer in liars and method == "dht/blob/get" and len(piece) == MIB
            return piece[:-1] + bytes([piece[-1] ^ 1]) if broken else piece

        cluster.network.tamper = tamper
        assert await reader.storage.blobs.read(info.id, limit_bytes=5 * MIB) == data

    world(story, 6)


def test_a_copy_that_rotted_is_set_aside_and_replaced(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        data = content(2 * MIB)
        info = await cluster[0].storage.blobs.put(stream(data), durability=Durability.ALL)
        victim = cluster[0]
        victim.disk.files[file_path(info.id)][MIB + 7] ^= 1
        assert await victim.storage.blobs.read(info.id, limit_bytes=3 * MIB) == data
        assert bytes(victim.disk.files[f"dht/set_aside/{info.id}"]) != data
        await cluster.eventually(lambda: victim.storage._shelf.holds(info.id))
        assert bytes(victim.disk.files[file_path(info.id)]) == data

    world(story, 3)


def test_a_slow_home_is_not_waited_for(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        data = content(MIB)
        info = await cluster[0].storage.blobs.put(stream(data), durability=Durability.ALL)
        home = cluster[0].storage.blobs.home(info.id)
        reader = next(n for n in cluster.nodes.values() if n.id not in home and n.name != "n0")
        cluster.network.slow[home[0]] = 0.9
        before = asyncio.get_running_loop().time()
        assert await reader.storage.blobs.read(info.id, limit_bytes=MIB) == data
        assert asyncio.get_running_loop().time() - before < 0.2

    world(story, 6)


def test_a_put_is_not_acknowledged_without_two_copies(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.crash("n1")
        await cluster.crash("n2")
        with pytest.raises(Unavailable):
            await cluster[0].storage.blobs.put_bytes(b"alone")
        with pytest.raises(Unavailable):
            await cluster[0].storage.blobs.put(stream(content(MIB)))
        info = await cluster[0].storage.blobs.put_bytes(b"alone", durability=Durability.LOCAL)
        assert info.copies == 1
        cluster.start("n1").storage.adopt(cluster.layout)
        assert (await cluster[0].storage.blobs.put_bytes(b"together")).copies == 2
        await cluster.eventually(lambda: len(cluster.replicas(info.id)) == 2)

    world(story, 3)


def test_a_put_uses_other_nodes_when_homes_are_down_and_repair_brings_it_home(
    world: World,
) -> None:
    async def story(cluster: Cluster) -> None:
        data = content(MIB)
        blob = chunk_list_of(data).id
        home = cluster[0].storage.blobs.home(blob)
        writer = next(n for n in cluster.nodes.values() if n.id not in home)
        for node in home:
            await cluster.crash(cluster.by_id(node).name)
        info = await writer.storage.blobs.put(stream(data))
        assert info.copies == 2
        for node in home:
            cluster.start(cluster.by_id(node).name).storage.adopt(cluster.layout)
        await cluster.eventually(lambda: set(home) <= set(cluster.replicas(blob)))
        roles = [
            n.storage._shelf.row(blob).role  # type: ignore[union-attr]  # asserted by `holds`
            for n in cluster.nodes.values()
            if n.id not in home and n.storage._shelf.holds(blob)
        ]
        await asyncio.sleep(10)
        assert roles

    world(story, 6)


def test_the_home_whose_turn_it_is_to_send_a_copy_is_told_so(world: World) -> None:
    """Found by seed 3: everybody left it to the first home, which did not know."""

    async def story(cluster: Cluster) -> None:
        info = await cluster[0].storage.blobs.put_bytes(b"needs three copies")
        await cluster.eventually(lambda: len(cluster.replicas(info.id)) == 3)
        first, second, third = (cluster.by_id(n) for n in cluster[0].storage.blobs.home(info.id))
        await asyncio.sleep(3)
        await second.index.commit([(ROWS + info.id.encode(), None)])
        assert second.id not in cluster.replicas(info.id)
        third.storage._repair.want(info.id)
        await cluster.eventually(lambda: second.id in cluster.replicas(info.id), 20.0)
        assert first.id in cluster.replicas(info.id)

    world(story, 3)


def test_a_writer_that_is_no_home_sees_to_a_home_that_it_did_not_reach(world: World) -> None:
    """Found by seed 6: only replicas were looked after, and the writer had but a cache."""

    async def story(cluster: Cluster) -> None:
        data = b"written by a stranger"
        home = cluster[0].storage.blobs.home(chunk_list_of(data).id)
        writer = next(n for n in cluster.nodes.values() if n.id not in home)
        cluster.network.island[home[-1]] = 1
        writer.known_dead = []  # it does not know yet, and asks in vain
        info = await writer.storage.blobs.put_bytes(data)
        await asyncio.sleep(5)
        cluster.network.island.clear()
        assert home[-1] not in cluster.replicas(info.id)
        await cluster.eventually(lambda: home[-1] in cluster.replicas(info.id), 30.0)

    world(story, 4)


def test_two_copies_lie_in_two_zones(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        for number in range(40):
            info = await cluster[0].storage.blobs.put_bytes(f"blob {number}".encode())
            zones = {
                cluster[0].storage._keeper.zone(node)
                for node in cluster.replicas(info.id)
                if cluster.by_id(node).storage._shelf.row(info.id).role == "replica"  # type: ignore[union-attr]  # it holds it
            }
            assert zones == {"left", "right"}

    world(story, 6, zone=lambda number: "left" if number < 4 else "right")


def test_a_crash_before_the_sync_loses_nothing_that_was_acknowledged(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        acknowledged: list[tuple[str, bytes]] = []

        async def writer(number: int) -> None:
            for count in range(15):
                data = content(
                    random.Random(count).choice([100, 70_000, MIB + 1]), 100 * number + count
                )
                try:
                    info = await cluster[number].storage.blobs.put(stream(data))
                except (Unavailable, OSError, asyncio.CancelledError):
                    continue
                acknowledged.append((info.id, data))

        async def chaos() -> None:
            for _ in range(12):
                await asyncio.sleep(cluster.rng.uniform(0.005, 0.05))
                name = f"n{cluster.rng.randrange(3, 5)}"
                await cluster.crash(name)
                await asyncio.sleep(cluster.rng.uniform(0.005, 0.05))
                cluster.start(name).storage.adopt(cluster.layout)

        async with asyncio.TaskGroup() as group:
            for number in range(3):
                group.create_task(writer(number))
            group.create_task(chaos())
        assert len(acknowledged) > 30
        for number in range(5):
            await cluster.crash(f"n{number}")
        for number in range(5):
            cluster.start(f"n{number}").storage.adopt(cluster.layout)
        await asyncio.sleep(1)
        for blob, data in acknowledged:
            assert await cluster[4].storage.blobs.read(blob, limit_bytes=2 * MIB) == data

    world(story, 5)


def test_one_owner_deleting_leaves_the_same_content_of_another(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        blobs = cluster[0].storage.blobs
        for data in (b"same result", content(MIB)):
            one = await blobs.put_bytes(data, owner="job-1")
            two = await cluster[1].storage.blobs.put_bytes(data, owner="job-2")
            assert one.id == two.id
            await cluster.eventually(lambda: len(cluster.replicas(one.id)) == 3)  # noqa: B023
            await blobs.delete(one.id, owner="job-1")
            assert await blobs.read(one.id, limit_bytes=MIB) == data
            await blobs.delete(one.id, owner="job-2")
            await cluster.eventually(lambda: not cluster.replicas(one.id))  # noqa: B023
            with pytest.raises(NoSuchBlob):
                await blobs.read(one.id, limit_bytes=MIB)
            await blobs.put_bytes(data, owner="job-1")
            assert await blobs.read(one.id, limit_bytes=MIB) == data

    world(story, 3)


def test_a_home_that_was_away_during_a_delete_hears_of_it(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        info = await cluster[0].storage.blobs.put_bytes(b"short lived", durability=Durability.ALL)
        await cluster.crash("n2")
        await cluster[0].storage.blobs.delete(info.id)
        cluster.start("n2")
        assert cluster[2].storage.layout == cluster.layout
        assert cluster.replicas(info.id) == [cluster[2].id]
        await cluster.eventually(lambda: not cluster.replicas(info.id))

    world(story, 3)


def test_small_and_large_blobs_have_a_local_path(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        for data in (b"small", content(MIB)):
            info = await cluster[0].storage.blobs.put_bytes(data)
            path = await cluster[0].storage.blobs.local_path(info.id)
            assert path is not None
            assert await cluster[0].disk.read(path) == data
        assert await cluster[0].storage.blobs.local_path(chunk_list_of(b"x").id) is None

    world(story, 3)


def test_new_nodes_get_their_copies_and_lost_ones_are_replaced(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        blobs = {}
        for number in range(60):
            data = content(random.Random(number).choice([10, 100_000]), number)
            info = await cluster[number % 3].storage.blobs.put(stream(data))
            blobs[info.id] = data

        def at_home() -> bool:
            living = list(cluster.network.up)
            return all(
                {n for n in cluster[0].storage.blobs.home(b) if n in living}
                <= set(cluster.replicas(b))
                for b in blobs
            )

        cluster.start("n3")
        cluster.start("n4")
        cluster.add(3, 4)
        await cluster.eventually(at_home)
        await cluster.hand_over()
        await cluster.crash("n1")
        cluster.change(RemoveNodes((cluster[1].id,)))
        await cluster.eventually(at_home)
        for blob, data in blobs.items():
            assert len(set(cluster.replicas(blob)) & set(cluster[0].storage.blobs.home(blob))) == 3
            assert await cluster[4].storage.blobs.read(blob, limit_bytes=MIB) == data

    world(story, 3)
