"""A node that was away for a week, and two islands that write to one tag."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from peerdisco_dht import NoSuchTag, RemoveNodes, Unavailable, key_of_name
from tests.dht_storage.conftest import CONFIG

if TYPE_CHECKING:
    from tests.dht_storage.conftest import Cluster, Node, World

DAY_S = 86400.0
WEEKLY = replace(CONFIG, repair_interval_s=3600.0)


async def put(node: Node, content: bytes) -> str:
    info = await node.storage.blobs.put_bytes(content, owner="@tags")
    return info.id


@pytest.mark.slow
def test_who_was_away_for_a_week_brings_nothing_back_and_learns_everything(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        loop = asyncio.get_running_loop()
        cluster.wall_time = lambda: 1.5e9 + loop.time()
        tags = cluster[0].storage.tags
        kept, dropped = await put(cluster[0], b"kept"), await put(cluster[0], b"dropped" * 20_000)
        await tags.append("kept", [[f"blob:{kept}"]])
        await tags.append("gone", [[f"blob:{dropped}"]])
        await cluster.eventually(lambda: len(cluster.replicas(dropped)) >= 3)
        holders = [node for node in cluster.replicas(dropped) if node != cluster[0].id]
        sleeper = cluster.by_id(holders[0])
        await asyncio.sleep(10)
        await cluster.crash(sleeper.name)
        cluster.change(RemoveNodes((sleeper.id,)))
        await cluster.hand_over()
        await tags.delete("gone")
        for number in range(5):
            await tags.append("kept", [[f"http://x/{number}"]])
        await asyncio.sleep(7 * DAY_S)
        assert not cluster.replicas(dropped), "the daily collection has removed it long ago"
        assert sleeper.disk.files, "the sleeper's disk still has its copy"

        woken = cluster.start(sleeper.name)
        woken.storage.adopt(cluster.layout)
        number = int(sleeper.name[1:])
        cluster.add(number)
        await cluster.hand_over()
        tag = await woken.storage.tags.get("kept")
        assert len(tag.urls) == 6
        with pytest.raises(NoSuchTag):
            await woken.storage.tags.get("gone")
        assert await woken.storage.blobs.read(kept, limit_bytes=9) == b"kept"
        await asyncio.sleep(4 * DAY_S)
        assert not cluster.replicas(dropped), "what is garbage goes, whoever brings it back"
        assert len(cluster.replicas(kept)) >= 3

    world(story, 4, config=WEEKLY, limit_s=30 * DAY_S)


def test_of_two_islands_only_the_larger_changes_a_tag_and_nothing_is_lost(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        acked: list[str] = []
        tried: list[str] = []

        async def write(number: int, count: int) -> int:
            done = 0
            for _ in range(count):
                url = f"http://x/{len(tried)}"
                tried.append(url)
                try:
                    await cluster[number].storage.tags.append("t", [[url]])
                except Unavailable:
                    continue
                acked.append(url)
                done += 1
            return done

        await write(0, 2)
        home = cluster[0].storage.home(key_of_name("t/t"))
        lonely = home[0]
        cluster.network.island[lonely] = 1
        left = int(cluster.by_id(lonely).name[1:])
        right = next(n for n in range(5) if cluster[n].id != lonely)
        done = await asyncio.gather(write(left, 2), write(right, 5))
        assert list(done) == [0, 5]
        cluster.network.island.clear()
        await asyncio.sleep(5)
        done = await asyncio.gather(write(left, 3), write(right, 3))
        assert list(done) == [3, 3]
        for node in cluster.nodes.values():
            urls = [url for entry in (await node.storage.tags.get("t")).urls for url in entry]
            assert len(set(urls)) == len(urls)
            assert set(acked) <= set(urls) <= set(tried)

    world(story, 5)
