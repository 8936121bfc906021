"""Quotas: refused with a reason before anything is stored, as far as a node knows what is used."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from peerdisco_dht import Caller, Limit, OverQuota, Quota, QuotaKind, quotas
from peerdisco_dht.quotas import COUNT_AGE_S, TABLE_AGE_S

if TYPE_CHECKING:
    from tests.dht_storage.conftest import Cluster, Node, World

PREFIX = Quota(QuotaKind.PREFIX, "logs:", bytes_max=1000, tags_max=2)
OWNER = Quota(QuotaKind.OWNER, "ann", bytes_max=5000)


async def store(node: Node, tag: str, size: int, *, owner: str = "") -> None:
    """What a client does."""
    storage = node.storage
    covering = await storage.quotas.covering(tag, owner)
    new = not await storage.tags.exists(tag)
    await storage.quotas.admit(covering, size=size, tags=int(new))
    info = await storage.blobs.put_bytes(tag.encode() + bytes(size - len(tag)))
    await storage.tags.append(tag, [[f"blob:{info.id}"]], caller=Caller(name=owner))


@pytest.mark.parametrize(
    ("used", "more", "reason"),
    [
        ((900, 1), (100, 1), ""),
        ((900, 1), (101, 0), "is 1000 bytes; 900 are used, 101 more asked"),
        ((0, 2), (1, 1), "is 2 tags; 2 are used, 1 more asked"),
        ((1000, 5), (0, 0), ""),
        ((1001, 0), (0, 0), "is 1000 bytes; 1001 are used, 0 more asked"),
    ],
)
def test_a_refusal_names_the_quota_its_limit_and_its_use(
    used: tuple[int, int], more: tuple[int, int], reason: str
) -> None:
    refusal = PREFIX.refusal(*used, *more)
    assert refusal == (f"the quota of prefix 'logs:' {reason}" if reason else "")


def test_whoever_is_over_a_quota_is_refused_on_every_node(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        await cluster[0].storage.quotas.set(PREFIX)
        await cluster[1].storage.quotas.set(OWNER)
        await store(cluster[1], "logs:a", 600, owner="ann")
        await store(cluster[1], "other", 4000, owner="ann")
        with pytest.raises(OverQuota, match="600 are used, 500 more asked"):
            await store(cluster[2], "logs:a", 500)
        with pytest.raises(OverQuota, match="owner 'ann' is 5000 bytes; 4600"):
            await store(cluster[0], "third", 401, owner="ann")
        await store(cluster[0], "third", 4000, owner="bob")
        await store(cluster[2], "logs:b", 100)
        with pytest.raises(OverQuota, match="is 2 tags; 2 are used"):
            await store(cluster[2], "logs:c", 50)
        assert [used.tags for _, used in await cluster[0].storage.quotas.usage()] == [2, 2]

    world(story, 4)


def test_what_was_deleted_counts_no_more_after_the_next_count(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        node = cluster[0]
        await node.storage.quotas.set(PREFIX)
        await store(node, "logs:a", 900)
        with pytest.raises(OverQuota):
            await store(node, "logs:a", 300)
        await node.storage.tags.delete("logs:a")
        await asyncio.sleep(COUNT_AGE_S + 1)
        with pytest.raises(OverQuota):
            await store(node, "logs:b", 300)
        await asyncio.sleep(1)
        await store(node, "logs:b", 300)

    world(story, 3)


def test_a_quota_that_is_changed_or_removed_holds_everywhere_soon(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        first, second = cluster[0].storage.quotas, cluster[1].storage.quotas
        await first.set(PREFIX)
        assert await second.covering("logs:x", "") == [PREFIX]
        larger = Quota(QuotaKind.PREFIX, "logs:", bytes_max=10_000)
        await first.set(larger)
        await asyncio.sleep(TABLE_AGE_S)
        await second.covering("other", "")
        await asyncio.sleep(0.1)
        assert await second.covering("logs:x", "") == [larger]
        assert await second.covering("log", "") == []
        await second.remove(QuotaKind.PREFIX, "logs:")
        await second.remove(QuotaKind.PREFIX, "never there")
        assert await first.all() == ()

    world(story, 3)


def test_nobody_is_refused_because_nobody_can_count(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        await cluster[0].storage.quotas.set(PREFIX)
        covering = await cluster[0].storage.quotas.covering("logs:a", "")
        await cluster.crash("n1")
        await cluster.crash("n2")
        await cluster[0].storage.quotas.admit(covering, size=10**9)

    world(story, 3)


def test_quotas_that_cannot_be_read_hold_nobody_up(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        loop = asyncio.get_running_loop()
        await cluster[0].storage.quotas.set(PREFIX)
        assert await cluster[0].storage.quotas.covering("logs:a", "") == [PREFIX]
        await cluster.crash("n1")
        await cluster.crash("n2")
        await asyncio.sleep(TABLE_AGE_S + 1)
        began = loop.time()
        assert await cluster[0].storage.quotas.covering("logs:a", "") == [PREFIX]
        assert loop.time() == began

    world(story, 3)


def test_there_are_not_too_many_quotas(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quotas, "QUOTAS_MAX", 2)

    async def story(cluster: Cluster) -> None:
        table = cluster[0].storage.quotas
        for name in "ab":
            await table.set(Quota(QuotaKind.OWNER, name, tags_max=1))
        with pytest.raises(Limit):
            await table.set(Quota(QuotaKind.OWNER, "c", tags_max=1))

    world(story, 1)
