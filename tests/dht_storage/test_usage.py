"""Usage: what tags hold, each blob once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from peerdisco_dht import Caller, Durability, Question, Unavailable, Used

if TYPE_CHECKING:
    from tests.dht_storage.conftest import Cluster, World


async def put(cluster: Cluster, size: int, seed: int) -> str:
    data = bytes([seed]) * size
    info = await cluster[0].storage.blobs.put_bytes(data, durability=Durability.ALL)
    return f"blob:{info.id}"


def test_each_blob_counts_once_for_each_question(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        small, large = await put(cluster, 10, 1), await put(cluster, 100_000, 2)
        tags = cluster[1].storage.tags
        await tags.append("logs:a", [[small], [large]], caller=Caller(name="ann"))
        await tags.append("logs:b", [[small], ["tag://logs:a"], ["http://x/"]])
        await tags.append("other", [[large]], caller=Caller(name="ann"))
        questions = [Question("logs:"), Question(owner="ann"), Question("o"), Question("none")]
        assert await cluster[2].storage.usage.count(questions) == [
            Used(2, 2, 100_010),
            Used(2, 2, 100_010),
            Used(1, 1, 100_000),
            Used(),
        ]
        await tags.delete("logs:a")
        assert await cluster[2].storage.usage.count([Question("logs:")]) == [Used(1, 1, 10)]

    world(story, 5)


def test_segments_of_long_tags_count_and_protected_tags_too(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        tags = cluster[0].storage.tags
        urls = [[f"http://x/{number}"] for number in range(1000)]
        await tags.append("long", urls, caller=Caller("secret"))
        (used,) = await cluster[1].storage.usage.count([Question("long")])
        assert (used.tags, used.blobs, used.unknown) == (1, 1, 0)
        assert used.bytes > 5000

    world(story, 3)


def test_a_count_that_would_be_too_small_is_none(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        await cluster[0].storage.tags.append("t", [["http://x/"]])
        await cluster.crash("n1")
        await cluster.crash("n2")
        with pytest.raises(Unavailable):
            await cluster[0].storage.usage.count([Question("t")])

    world(story, 3)
