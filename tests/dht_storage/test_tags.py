"""Tags as users see them: Disco's order and names, attributes, listings, large tags."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from peerdisco_dht import BadName, Conflict, Limit, NoSuchTag, Unavailable

if TYPE_CHECKING:
    from tests.dht_storage.conftest import Cluster, World


def test_the_newest_entries_come_first(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        tags = cluster[0].storage.tags
        await tags.append("log", [["a"], ["b"]])
        info = await cluster[1].storage.tags.append("log", [["c", "c2"], ["d"]])
        tag = await cluster[2].storage.tags.get("log")
        assert tag.urls == (("c", "c2"), ("d",), ("a",), ("b",))
        assert (info.version, tag.version, tag.modified) == (2, 2, 1.5e9)

    world(story)


def test_appending_nothing_creates_a_tag_and_changes_none(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        tags = cluster[0].storage.tags
        assert (await tags.append("empty", [])).version == 1
        assert (await tags.append("empty", [])).version == 1
        assert (await tags.get("empty")).urls == ()

    world(story)


def test_unique_appends_leave_out_what_is_there_and_reverse_the_rest(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        tags = cluster[0].storage.tags
        await tags.append("set", [["a"], ["b"]], unique=True)
        await tags.append("set", [["b"], ["c"], ["c"], ["d"]], unique=True)
        assert (await tags.get("set")).urls == (("d",), ("c",), ("b",), ("a",))
        assert (await tags.append("set", [["a"]], unique=True)).version == 2

        async def append(number: int) -> None:
            entries = [[f"{n}"] for n in range(number, number + 5)]
            await cluster[number % 3].storage.tags.append("race", entries, unique=True)

        async with asyncio.TaskGroup() as group:
            for number in range(8):
                group.create_task(append(number))
        urls = (await tags.get("race")).urls
        assert sorted(urls) == sorted((f"{n}",) for n in range(12))

    world(story)


def test_the_same_operation_twice_is_applied_once(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        for number in (0, 1, 2):
            tags = cluster[number].storage.tags
            assert (await tags.append("a", [["x"]], op_id=("me", 7))).version == 1
        assert (await tags.get("a")).urls == (("x",),)

    world(story)


def test_replace_takes_the_version_that_it_expects(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        tags = cluster[0].storage.tags
        with pytest.raises(Conflict):
            await tags.replace("a", [["x"]], if_version=4)
        assert (await tags.replace("a", [["x"]], if_version=0)).version == 1
        with pytest.raises(Conflict):
            await tags.replace("a", [["y"]], if_version=0)
        assert (await tags.replace("a", [["y"], ["z"]])).version == 2
        assert (await tags.get("a")).urls == (("y",), ("z",))

    world(story)


@pytest.mark.parametrize("unique", [False, True])
def test_append_takes_the_version_that_it_expects(world: World, unique: bool) -> None:
    async def story(cluster: Cluster) -> None:
        tags = cluster[0].storage.tags
        with pytest.raises(Conflict):
            await tags.append("a", [["x"]], unique=unique, if_version=1)
        assert (await tags.append("a", [["x"]], unique=unique, if_version=0)).version == 1
        for entries in ([["x"]], [["y"]]):
            with pytest.raises(Conflict):
                await tags.append("a", entries, unique=unique, if_version=0)
        more: Any = {"unique": unique, "if_version": 1, "op_id": ("me", 1)}
        assert (await tags.append("a", [["y"]], **more)).version == 2
        assert (await tags.append("a", [["y"]], **more)).version == 2, "a repetition is no conflict"
        assert (await tags.get("a")).urls == (("y",), ("x",))
        with pytest.raises(Conflict):
            await tags.delete("a", if_version=1)
        await tags.delete("a", if_version=2)

    world(story)


def test_a_deleted_tag_is_gone_and_may_begin_again(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        tags = cluster[0].storage.tags
        await tags.delete("never")
        await tags.append("a", [["x"]])
        await tags.set_attribute("a", "colour", "red")
        await tags.delete("a")
        with pytest.raises(NoSuchTag):
            await cluster[1].storage.tags.get("a")
        assert not await tags.exists("a")
        assert (await tags.list()).names == ()
        await tags.append("a", [["y"]])
        tag = await cluster[2].storage.tags.get("a")
        assert (tag.urls, dict(tag.attrs)) == ((("y",),), {})

    world(story)


def test_attributes_are_kept_within_their_limits(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        tags = cluster[0].storage.tags
        with pytest.raises(NoSuchTag):
            await tags.set_attribute("a", "colour", "red")
        await tags.append("a", [["x"]])
        await tags.set_attribute("a", "colour", "red")
        await tags.set_attribute("a", "size", "big")
        await tags.delete_attribute("a", "size")
        await tags.delete_attribute("a", "never")
        await tags.replace("a", [["y"]])
        assert dict((await cluster[1].storage.tags.get("a")).attrs) == {"colour": "red"}
        with pytest.raises(Limit):
            await tags.set_attribute("a", "k", "v" * 4097)
        with pytest.raises(BadName):
            await tags.set_attribute("a", "k" * 1025, "v")

    world(story)


@pytest.mark.parametrize("name", ["", "a b", "a/b", "ä", "a\n", "x" * 512, "+deleted"])
def test_names_that_no_tag_can_have_are_refused(world: World, name: str) -> None:
    async def story(cluster: Cluster) -> None:
        with pytest.raises(BadName):
            await cluster[0].storage.tags.append(name, [["x"]])
        with pytest.raises(BadName):
            await cluster[0].storage.tags.get(name)

    world(story, 1)


def test_the_longest_name_works(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        name = "a_-@:Z9" * 73
        assert len(name) == 511
        await cluster[0].storage.tags.append(name, [["x"]])
        assert (await cluster[1].storage.tags.list("a_-@:")).names == (name,)

    world(story)


def test_large_tags_are_kept_in_segments_in_order(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        tags = cluster[0].storage.tags
        expected: list[tuple[str, ...]] = []
        for number in range(700):
            await tags.append("long", [[f"{number}"]])
            expected.insert(0, (f"{number}",))
        big = [[f"big-{number}"] for number in range(10_000)]
        await cluster[1].storage.tags.append("long", big)
        expected[:0] = [(entry[0],) for entry in big]
        await asyncio.sleep(1)
        tag = await cluster[2].storage.tags.get("long")
        assert list(tag.urls) == expected
        assert tag.version == 701
        value = await cluster[0].storage.tags._router.read("t/long")
        assert value.data is not None
        assert len(value.data) < 20_000

    world(story)


def test_listing_pages_through_all_partitions_in_order(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        names = [f"data:{number:03}" for number in range(120)]
        async with asyncio.TaskGroup() as group:
            for number, name in enumerate([*names, "other", "data"]):
                tags = cluster[number % 6].storage.tags
                group.create_task(tags.append(name, [["x"]]))
        await cluster[0].storage.tags.delete("data:050")
        names.remove("data:050")
        found: list[str] = []
        after: str | None = ""
        while after is not None:
            page = await cluster[4].storage.tags.list("data:", after=after, limit=25)
            assert page.missing == ()
            assert len(page.names) <= 25
            found += page.names
            after = page.next
        assert found == names
        assert len((await cluster[4].storage.tags.list()).names) == 121

    world(story, 6)


def test_listing_names_the_partitions_that_did_not_answer(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        for number in range(30):
            await cluster[0].storage.tags.append(f"t{number}", [["x"]])
        await cluster.crash("n1")
        page = await cluster[0].storage.tags.list()
        assert (len(page.names), page.missing) == (30, ())
        await cluster.crash("n2")
        page = await cluster[0].storage.tags.list()
        keeper = cluster[0].storage._keeper
        down = [cluster[1].id, cluster[2].id]
        assert page.missing == tuple(
            p for p in range(4096) if sum(n in down for n in keeper.home(p)) == 2
        )
        assert 0 < len(page.missing) < 4096

    world(story, 6)


def test_a_node_without_a_layout_says_so(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        node = cluster.start("n0")
        await node.storage.wait_started()
        with pytest.raises(Unavailable):
            await node.storage.tags.append("a", [["x"]])
        with pytest.raises(Unavailable):
            await node.storage.blobs.put_bytes(b"x")

    world(story, 0)
