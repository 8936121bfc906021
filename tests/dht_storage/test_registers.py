"""Registers and tags stay linearizable whatever the network does, and when the layout changes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING

import pytest

from peerdisco_dht import Forgotten, Layout, NoSuchTag, RemoveNodes, StorageConfig, Unavailable
from peerdisco_dht.registers.coordinator import PATIENCE_SHARE

if TYPE_CHECKING:
    from tests.dht_storage.conftest import Cluster, World

IMPATIENT = StorageConfig(
    call_timeout_s=0.05,
    transfer_timeout_s=0.3,
    operation_timeout_s=0.6,
    retry_s=0.1,
    repair_interval_s=60.0,
)


class History:
    """Appends that were acknowledged, and reads that must contain them."""

    def __init__(self) -> None:
        self.acknowledged: list[str] = []
        self.attempted: list[str] = []
        self.failed = 0
        self.reads = 0

    async def appender(
        self, cluster: Cluster, number: int, tag: str, until: float, nodes: Sequence[str]
    ) -> None:
        """Append one thing after another, repeating what went unanswered."""
        count = 0
        rng = random.Random(f"{cluster.seed}/{number}")
        while asyncio.get_running_loop().time() < until:
            count += 1
            item = f"{number}-{count}"
            self.attempted.append(item)
            for _ in range(3):
                tags = cluster.nodes[rng.choice(nodes)].storage.tags
                try:
                    await tags.append(tag, [[item]], op_id=(f"client-{number}", count))
                except (Unavailable, Forgotten):
                    self.failed += 1
                else:
                    self.acknowledged.append(item)
                    break
            await asyncio.sleep(rng.uniform(0, 0.01))

    async def reader(self, cluster: Cluster, number: int, tag: str, until: float) -> None:
        """Every read contains all that was acknowledged before it began."""
        while asyncio.get_running_loop().time() < until:
            await asyncio.sleep(0.05)
            before = list(self.acknowledged)
            try:
                seen = await items(cluster, number, tag)
            except NoSuchTag:
                seen = []
            except Unavailable:
                continue
            assert set(before) <= set(seen), set(before) - set(seen)
            self.reads += 1

    def check(self, final: list[str]) -> None:
        lost = set(self.acknowledged) - set(final)
        assert not lost, f"lost {sorted(lost)}"
        assert len(final) == len(set(final)), "something was appended twice"
        assert set(final) <= set(self.attempted)
        place = {item: index for index, item in enumerate(reversed(final))}
        for client in {item.split("-")[0] for item in self.acknowledged}:
            mine = [place[i] for i in self.acknowledged if i.split("-")[0] == client]
            assert mine == sorted(mine), "a client's appends changed order"


async def items(cluster: Cluster, number: int, tag: str) -> list[str]:
    found = await cluster[number].storage.tags.get(tag)
    return [urls[0] for urls in found.urls]


async def partitions(cluster: Cluster, until: float, *, crashes: bool = True) -> None:
    """Cut nodes off, lose messages and crash nodes, again and again."""
    rng = cluster.rng
    while asyncio.get_running_loop().time() < until:
        await asyncio.sleep(rng.uniform(0.2, 0.6))
        if crashes and rng.random() < 0.3:
            name = rng.choice(list(cluster.nodes))
            await cluster.crash(name)
            await asyncio.sleep(rng.uniform(0.1, 0.5))
            cluster.start(name).storage.adopt(cluster.layout)
        else:
            away = rng.sample(cluster.ids, rng.choice([1, 2]))
            cluster.network.island = dict.fromkeys(away, 1)
            await asyncio.sleep(rng.uniform(0.2, 0.8))
        cluster.network.island = {}


async def detector(cluster: Cluster, until: float) -> None:
    """Tells nodes who is dead, 300 ms late."""
    while asyncio.get_running_loop().time() < until + 2:
        await asyncio.sleep(0.3)
        for node in cluster.network.up.values():
            node.known_dead = [
                other
                for other in cluster.ids
                if other not in cluster.network.up or not cluster.network.reaches(node.id, other)
            ]


async def together(*work: Awaitable[None]) -> None:
    async def one(each: Awaitable[None]) -> None:
        await each

    async with asyncio.TaskGroup() as group:
        for each in work:
            group.create_task(one(each))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_no_append_is_lost_or_doubled_under_partitions_crashes_and_loss(
    world: World, seed: int
) -> None:
    async def story(cluster: Cluster) -> None:
        history = History()
        until = asyncio.get_running_loop().time() + 5
        cluster.network.loss = 0.01
        await together(
            *(history.appender(cluster, n, "hot", until, [f"n{n % 5}"]) for n in range(8)),
            *(history.reader(cluster, n, "hot", until) for n in (0, 3)),
            partitions(cluster, until),
            detector(cluster, until),
        )
        cluster.network.loss = 0.0
        await asyncio.sleep(2)
        history.check(await items(cluster, 0, "hot"))
        assert len(history.acknowledged) > 600
        assert history.reads > 20

    world(story, 5, seed=seed, config=IMPATIENT)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [4, 5])
def test_changes_of_the_layout_under_load_lose_nothing(world: World, seed: int) -> None:
    async def story(cluster: Cluster) -> None:
        for number in range(3, 7):
            cluster.start(f"n{number}")
        tags = [f"tag-{number}" for number in range(6)]
        histories = {tag: History() for tag in tags}
        loop = asyncio.get_running_loop()
        until = loop.time() + 4.5
        cluster.network.loss = 0.005

        async def change() -> None:
            await asyncio.sleep(1)
            cluster.add(3)
            await asyncio.sleep(0.3)
            cluster.add(4, 5)
            await cluster.hand_over()
            cluster.change(RemoveNodes((cluster[0].id, cluster[1].id)))
            await asyncio.sleep(0.2)
            cluster.add(6)
            await cluster.hand_over()

        await together(
            *(
                histories[tag].appender(cluster, n, tag, until, list(cluster.nodes))
                for n, tag in enumerate(tags * 2)
            ),
            partitions(cluster, until - 1, crashes=False),
            detector(cluster, until),
            change(),
        )
        cluster.network.loss = 0.0
        await asyncio.sleep(1)
        assert [n.id for n in cluster.layout.nodes] == sorted(
            cluster[n].id for n in (2, 3, 4, 5, 6)
        )
        await cluster.crash("n0")
        await cluster.crash("n1")
        acknowledged = 0
        for tag in tags:
            histories[tag].check(await items(cluster, 6, tag))
            acknowledged += len(histories[tag].acknowledged)
        assert acknowledged > 400

    world(story, 3, seed=seed, config=IMPATIENT)


def test_a_layout_spreads_with_the_calls_that_need_it(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        await cluster[0].storage.tags.append("a", [["1"]])
        stranger = cluster.start("n3")
        await stranger.storage.wait_started()
        with pytest.raises(Unavailable):
            await stranger.storage.tags.get("a")
        cluster.network.island = {cluster[1].id: 1}
        cluster.add(3)
        assert cluster[1].storage.layout.epoch == 1
        cluster.network.island = {}
        await cluster[1].storage.tags.append("a", [["2"]])
        assert cluster[1].storage.layout == cluster.layout
        assert await items(cluster, 3, "a") == ["2", "1"]

    world(story, 3)


def test_a_layout_survives_a_restart(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        await asyncio.sleep(1)
        await cluster.crash("n0")
        assert cluster.start("n0").storage.layout == cluster.layout != Layout()

    world(story, 3)


def test_of_many_creators_one_wins_and_all_agree(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        values: list[bytes] = []

        async def create(number: int) -> None:
            registers = cluster[number % 5].storage.registers
            values.append(await registers.create("job", f"{number}".encode()))

        await together(*(create(number) for number in range(20)))
        assert len(set(values)) == 1
        found = await cluster[3].storage.registers.read("job")
        assert found is not None
        assert (found.version, found.value) == (1, values[0])

    world(story, 5)


def test_compare_and_set_takes_the_expected_version_only(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        registers = cluster[0].storage.registers
        assert await registers.read("x") is None
        assert not await registers.compare_and_set("x", 3, b"no")
        assert await registers.compare_and_set("x", 0, b"one")
        assert not await registers.compare_and_set("x", 0, b"no")
        assert await registers.compare_and_set("x", 1, b"two")
        await registers.delete("x")
        await registers.delete("x")
        assert await registers.read("x") is None
        assert await registers.create("x", b"three") == b"three"
        found = await cluster[1].storage.registers.read("x")
        assert found is not None
        assert (found.version, found.value) == (4, b"three")

    world(story, 3)


@pytest.mark.parametrize("nodes", [1, 2, 3])
def test_a_minority_refuses_writes_and_offers_stale_reads(world: World, nodes: int) -> None:
    async def story(cluster: Cluster) -> None:
        await cluster[0].storage.tags.append("a", [["1"]])
        for number in range(1, nodes):
            await cluster.crash(f"n{number}")
        tags = cluster[0].storage.tags
        if nodes == 1:
            assert (await tags.append("a", [["2"]])).version == 2
            return
        with pytest.raises(Unavailable) as failure:
            await tags.append("a", [["2"]])
        assert failure.value.unknown
        with pytest.raises(Unavailable):
            await tags.get("a")
        # The refused write may still be decided either way, so a stale read may show it.
        assert ("1",) in (await tags.get("a", stale_ok=True)).urls

    world(story, nodes)


def test_one_of_three_nodes_may_be_lost(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        await cluster[0].storage.tags.append("a", [["1"]])
        await cluster.crash("n1")
        await cluster[2].storage.tags.append("a", [["2"]])
        await cluster.crash("n0")
        cluster.start("n1")
        await cluster[1].storage.wait_started()
        assert await items(cluster, 1, "a") == ["2", "1"]

    world(story, 3)


def test_many_appends_at_once_share_rounds(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        async def append(number: int) -> None:
            await cluster[number % 3].storage.tags.append("hot", [[str(number)]])

        await append(0)
        before = cluster.network.calls["dht/register/accept"]
        await together(*(append(number) for number in range(1, 201)))
        assert len(await items(cluster, 0, "hot")) == 201
        assert cluster.network.calls["dht/register/accept"] - before < 60

    world(story, 3)


def test_an_operation_in_steady_state_takes_one_round(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        tags = cluster[0].storage.tags
        await tags.append("a", [["1"]])
        before = dict(cluster.network.calls)
        await tags.append("a", [["2"]])
        # One call to each of the others; the own acceptor needs none.
        assert cluster.network.calls["dht/register/accept"] - before["dht/register/accept"] == 2
        before = dict(cluster.network.calls)
        await tags.get("a")
        assert cluster.network.calls["dht/register/accept"] - before["dht/register/accept"] == 2
        assert cluster.network.calls.get("dht/register/submit") == before.get("dht/register/submit")

    world(story, 3)


def test_a_new_register_takes_one_round_too(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        for number in range(20):
            cluster.network.calls.clear()
            await cluster[0].storage.tags.append(f"new:{number}", [["1"]])
            assert cluster.network.calls["dht/register/accept"] == 2
            tag = await cluster[1].storage.tags.get(f"new:{number}")
            assert (tag.version, tag.urls) == (1, (("1",),))

    world(story, 3)


def test_a_register_is_made_although_a_home_is_away_and_that_home_learns_of_it(
    world: World,
) -> None:
    """Who never heard of a register proposes in round 0, is refused, and asks what there is."""

    async def story(cluster: Cluster) -> None:
        names = [f"away:{number}" for number in range(12)]
        await cluster.crash("n0")
        for name in names:
            await cluster[1].storage.tags.append(name, [["first"]])
        cluster.start("n0")
        cluster[0].storage.adopt(cluster.layout)
        await cluster[0].storage.wait_started()
        for name in names:
            await cluster[0].storage.tags.append(name, [["second"]])
            tag = await cluster[2].storage.tags.get(name)
            assert tag.urls == (("second",), ("first",))

    world(story, 3)


def test_a_refusal_is_not_slept_over_because_another_home_is_silent(world: World) -> None:
    """Who was away proposes what is too low; of those that could still grant it, one is gone."""

    async def story(cluster: Cluster) -> None:
        loop, island = asyncio.get_running_loop(), cluster.network.island
        await cluster[0].storage.tags.append("a", [["first"]])
        for gone, away in ((0, 1), (1, 2), (2, 0)):
            island[cluster[away].id] = 1
            for number in range(2):
                await cluster[gone].storage.tags.append("a", [[f"{gone}-{number}"]])
            await asyncio.sleep(2 * cluster.config.call_timeout_s)  # calls under way end
            island.clear()
            island[cluster[gone].id] = 1
            began = loop.time()
            await cluster[away].storage.tags.append("a", [[f"{away}-2"]])
            assert loop.time() - began < PATIENCE_SHARE * cluster.config.call_timeout_s
            await asyncio.sleep(2 * cluster.config.call_timeout_s)
            island.clear()
        assert len(await items(cluster, 0, "a")) == 10

    world(story, 3, config=StorageConfig(call_timeout_s=2.0, operation_timeout_s=8.0))


def test_of_many_who_make_a_register_at_once_nobody_is_forgotten(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        # Each node believes that it alone lives, and so coordinates by itself.
        for node in cluster.nodes.values():
            node.known_dead = [other for other in cluster.ids if other != node.id]
        for turn in range(5):

            async def append(number: int) -> None:
                await cluster[number].storage.tags.append(f"race:{turn}", [[str(number)]])  # noqa: B023 - awaited within the turn

            await together(*map(append, range(3)))
            tag = await cluster[0].storage.tags.get(f"race:{turn}")
            assert sorted(urls[0] for urls in tag.urls) == ["0", "1", "2"]

    world(story, 3)


def test_the_same_seed_gives_the_same_run(world: World) -> None:
    traces: list[tuple[list[str], float, dict[str, int]]] = []

    async def story(cluster: Cluster) -> None:
        history = History()
        loop = asyncio.get_running_loop()
        until = loop.time() + 1.5
        cluster.network.loss = 0.02
        await together(
            *(history.appender(cluster, n, "hot", until, list(cluster.nodes)) for n in range(4)),
            partitions(cluster, until),
        )
        traces.append((history.acknowledged, loop.time(), dict(cluster.network.calls)))

    world(story, 4, seed=9, config=IMPATIENT)
    world(story, 4, seed=9, config=IMPATIENT)
    assert traces[0] == traces[1]
    assert len(traces[0][0]) > 50


async def move_house(cluster: Cluster) -> None:
    """Move everything from the nodes 0, 1, 2 to the nodes 3, 4, 5."""
    for number in (3, 4, 5):
        cluster.start(f"n{number}")
        await cluster[number].storage.wait_started()
    cluster.add(3, 4, 5)
    cluster.change(RemoveNodes(tuple(cluster[number].id for number in range(3))))
    await cluster.hand_over()


def test_registers_that_nobody_touches_move_too(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        names = [f"quiet-{number}" for number in range(60)]
        for number, name in enumerate(names):
            await cluster[number % 3].storage.tags.append(name, [[name]])
        await cluster[0].storage.tags.delete(names.pop())
        await move_house(cluster)
        for number in range(3):
            await cluster.crash(f"n{number}")
        for number, name in enumerate(names):
            assert await items(cluster, 3 + number % 3, name) == [name]
        assert (await cluster[4].storage.tags.list(limit=999)).names == tuple(sorted(names))

    world(story, 3)


def test_a_node_that_missed_a_move_cannot_write_to_the_old_homes(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        for number in range(8):
            await cluster[0].storage.tags.append(f"t{number}", [["before"]])
        cluster.network.island = {cluster[0].id: 1}
        await move_house(cluster)
        assert cluster[0].storage.layout.epoch == 1
        cluster.network.island = {}
        for number in range(8):
            await cluster[0].storage.tags.append(f"t{number}", [["after"]])
            assert await items(cluster, 4, f"t{number}") == ["after", "before"]
        assert cluster[0].storage.layout == cluster.layout

    world(story, 3)
