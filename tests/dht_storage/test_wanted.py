"""The number of copies that a tag wants: more at once, fewer with the next collection."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from peerdisco_dht import Durability, Limit, NodeState, SetState
from peerdisco_dht.blobs.messages import Role
from peerdisco_dht.keeper import LayoutKeeper
from peerdisco_dht.layout import Layout, StorageNode
from peerdisco_dht.wanted import (
    ATTRIBUTE,
    DURABILITY,
    Wanted,
    check_replicas,
    durability_of,
    replicas_of,
)
from tests.dht_storage.conftest import CONFIG, node_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.dht_storage.conftest import Cluster, MemoryStore, World

LEASE_S = 50.0
TUNED = replace(CONFIG, lease_s=LEASE_S, trash_s=20.0, repair_interval_s=5.0)
BLOB = "b3-" + "5" * 64


@pytest.mark.parametrize("value", ["", "0", "8", "-1", "three", "1.5", "9" * 50, "\u0663"])
def test_a_number_of_copies_is_1_to_7(value: str) -> None:
    with pytest.raises(Limit, match="1 to 7"):
        check_replicas(value)
    assert replicas_of({ATTRIBUTE: value}) == 0


def test_a_put_for_a_tag_waits_for_what_the_tag_says(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        tags = cluster[0].storage.tags
        assert durability_of(await tags.attributes("t")) is Durability.QUORUM
        await tags.append("t", [["http://x/"]])
        with pytest.raises(Limit, match="local, quorum, all"):
            await tags.set_attribute("t", DURABILITY, "most")
        await tags.set_attribute("t", DURABILITY, "all")
        assert durability_of(await cluster[3].storage.tags.attributes("t")) is Durability.ALL
        with pytest.raises(Limit):
            await tags.set_attribute("t", ATTRIBUTE, "99")

    world(story, 4)


def test_fewer_copies_are_the_first_homes_and_more_are_others_besides(
    store: Callable[[], MemoryStore],
) -> None:
    keeper = LayoutKeeper(store())
    entries = sorted((StorageNode(node_id(f"n{n}")) for n in range(6)), key=lambda n: n.id)
    keeper.adopt(Layout(1, tuple(entries), (), 3, 1, ()))
    wanted = Wanted(keeper)
    home = wanted.nodes(BLOB, 0)
    assert len(home) == 3
    for number in range(1, 4):
        assert wanted.nodes(BLOB, number) == home[:number]
    for number in range(4, 7):
        nodes = wanted.nodes(BLOB, number)
        assert nodes[:3] == home
        assert len(dict.fromkeys(nodes)) == number
        assert nodes == wanted.nodes(BLOB, 7)[:number]


def counting(cluster: Cluster, blob: str) -> int:
    """Nodes whose copies count."""
    rows = [node.storage._shelf.row(blob) for node in cluster.nodes.values()]
    return sum(row is not None and row.role is Role.REPLICA for row in rows)


async def collect(cluster: Cluster) -> None:
    await asyncio.sleep(LEASE_S + 1)
    progress = await cluster[0].storage.collector.collect(dry_run=False)
    assert not progress.failed


@pytest.mark.parametrize("size", [20, 100_000])
def test_a_tag_gets_more_copies_at_once_and_fewer_after_a_collection(
    world: World, size: int
) -> None:
    async def story(cluster: Cluster) -> None:
        loop = asyncio.get_running_loop()
        cluster.wall_time = lambda: 1.5e9 + loop.time()
        storage = cluster[0].storage
        first = await storage.blobs.put_bytes(b"a" * size, durability=Durability.ALL)
        await storage.tags.append("t", [[f"blob:{first.id}"]])
        await storage.tags.set_attribute("t", ATTRIBUTE, "5")
        await cluster.eventually(lambda: counting(cluster, first.id) == 5)
        second = await storage.blobs.put_bytes(b"b" * size, durability=Durability.ALL)
        await storage.tags.append("t", [[f"blob:{second.id}"]])
        await cluster.eventually(lambda: counting(cluster, second.id) == 5)
        await asyncio.sleep(60)
        assert counting(cluster, first.id) == 5
        await storage.tags.append("u", [[f"blob:{second.id}"]])

        await storage.tags.set_attribute("t", ATTRIBUTE, "1")
        await collect(cluster)
        await cluster.eventually(lambda: counting(cluster, first.id) == 1)
        await cluster.eventually(lambda: counting(cluster, second.id) == 3)
        await collect(cluster)
        await collect(cluster)
        assert len(cluster.replicas(first.id)) == 1, "caches are gone, and the last copy stays"
        assert counting(cluster, second.id) == 3
        assert await cluster[3].storage.blobs.read(first.id, limit_bytes=size) == b"a" * size

        await storage.tags.delete_attribute("t", ATTRIBUTE)
        await collect(cluster)
        await cluster.eventually(lambda: counting(cluster, first.id) == 3)

    world(story, 7, config=TUNED)


def test_copies_beyond_the_homes_are_moved_by_a_drain_and_lost_with_their_tag(
    world: World,
) -> None:
    async def story(cluster: Cluster) -> None:
        loop = asyncio.get_running_loop()
        cluster.wall_time = lambda: 1.5e9 + loop.time()
        storage = cluster[0].storage
        info = await storage.blobs.put_bytes(b"c" * 100_000, owner="@tags")
        await storage.tags.append("t", [[f"blob:{info.id}"]])
        await storage.tags.set_attribute("t", ATTRIBUTE, "5")
        await cluster.eventually(lambda: counting(cluster, info.id) == 5)
        census = await storage.health.census()
        assert not any(holding.leaving[0] for holding in census.holdings.values())
        home = storage.blobs.home(info.id)
        extra = next(
            node
            for node in cluster.nodes.values()
            if node.id not in home
            and (row := node.storage._shelf.row(info.id))
            and row.role is Role.REPLICA
        )
        cluster.change(SetState(extra.id, NodeState.DRAINING))
        await cluster.eventually(
            lambda: counting(cluster, info.id) == 5 and not extra.storage._shelf.holds(info.id)
        )
        cluster.change(SetState(extra.id, NodeState.UP))
        await cluster.hand_over()
        await storage.tags.delete("t")
        for _ in range(5):
            await collect(cluster)
            await asyncio.sleep(30)
        assert not cluster.replicas(info.id)

    world(story, 7, config=TUNED)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_wishes_crashes_and_collections_leave_as_many_copies_as_are_wanted(
    world: World, seed: int
) -> None:
    async def story(cluster: Cluster) -> None:
        loop = asyncio.get_running_loop()
        cluster.wall_time = lambda: 1.5e9 + loop.time()
        draws = random.Random(seed)
        tags: dict[str, list[str]] = {}
        wishes: dict[str, int] = {}
        blobs: list[str] = []
        for number in range(40):
            node = draws.choice(list(cluster.nodes.values()))
            event, name = draws.random(), f"t{draws.randrange(4)}"
            if event < 0.5 or not blobs:
                info = await node.storage.blobs.put_bytes(
                    b"%d" % number * draws.choice((9, 40_000))
                )
                await node.storage.tags.append(name, [[f"blob:{info.id}"]])
                tags.setdefault(name, []).append(info.id)
                blobs.append(info.id)
            elif event < 0.6:
                blob = draws.choice(blobs)
                await node.storage.tags.append(name, [[f"blob:{blob}"]])
                tags.setdefault(name, []).append(blob)
            elif event < 0.8 and name in tags:
                wishes[name] = draws.randint(1, 6)
                await node.storage.tags.set_attribute(name, ATTRIBUTE, str(wishes[name]))
            elif event < 0.9:
                await cluster.crash(node.name)
                await asyncio.sleep(draws.uniform(0, 2))
                cluster.start(node.name).storage.adopt(cluster.layout)
                await asyncio.sleep(1)
            else:
                await node.storage.collector.collect(dry_run=False)
            await asyncio.sleep(draws.uniform(0, 3))
        for _ in range(3):
            await collect(cluster)
        wanted = {
            blob: max(wishes.get(name, 3) for name, named in tags.items() if blob in named)
            for blob in blobs
        }
        await cluster.eventually(
            lambda: all(counting(cluster, blob) == count for blob, count in wanted.items())
        )
        for blob in blobs:
            assert await cluster[0].storage.blobs.size(blob)

    world(story, 7, seed=seed, config=TUNED)
