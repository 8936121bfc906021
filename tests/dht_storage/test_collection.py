"""Garbage collection: what nothing names goes, after a while; what something names stays."""

from __future__ import annotations

import asyncio
import logging
import random
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerdisco_dht import Conflict, Durability, NoSuchBlob, Unavailable
from peerdisco_dht.blobs.messages import BlobRow, Condemned, Role, Verdict, Where
from peerdisco_dht.blobs.pins import Pins
from peerdisco_dht.blobs.shelf import file_path
from peerdisco_dht.collection.filter import MarkFilter
from peerdisco_dht.collection.messages import Progress
from peerdisco_dht.collection.rules import MEMORY_S, Terms, judge
from tests.dht_storage.conftest import CONFIG

if TYPE_CHECKING:
    from tests.dht_storage.conftest import Cluster, World

LEASE_S = 100.0
TRASH_S = 50.0
COLLECTED = replace(CONFIG, lease_s=LEASE_S, trash_s=TRASH_S, collection_interval_s=1e9)
ROW = BlobRow(7, Where.FILE, Role.REPLICA, Pins(("o/1",)), lease=10.0, touched=2)
TERMS = Terms(number=5, began=100.0, trash_s=30.0)


def with_calendar(cluster: Cluster) -> None:
    """Let the calendar run with the loop."""
    loop = asyncio.get_running_loop()
    cluster.wall_time = lambda: 1.5e9 + loop.time()


async def collect(cluster: Cluster, number: int = 0, *, dry_run: bool = False) -> Progress:
    progress = await cluster[number].storage.collector.collect(dry_run=dry_run)
    assert not progress.failed, progress
    return progress


async def until_gone(cluster: Cluster, *blobs: str) -> None:
    """Two generations, as far apart as it takes."""
    await asyncio.sleep(LEASE_S + 1)
    await collect(cluster)
    for blob in blobs:
        assert cluster.replicas(blob), "a condemned blob is still there"
    await asyncio.sleep(TRASH_S + 1)
    await collect(cluster, 1)
    for blob in blobs:
        assert not cluster.replicas(blob)


def test_what_no_tag_names_goes_when_its_lease_and_its_time_in_the_trash_are_over(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(cluster: Cluster) -> None:
        with_calendar(cluster)
        small = (await cluster[0].storage.blobs.put_bytes(b"small")).id
        large = (await cluster[3].storage.blobs.put_bytes(bytes(200_000))).id
        assert (await collect(cluster)).counts.keys() == {Verdict.KEEP}
        with caplog.at_level(logging.INFO, "peerdisco_dht.collection"):
            await until_gone(cluster, small, large)
        for blob in (small, large):
            lines = [line for line in caplog.messages if f"verdict=remove blob={blob}" in line]
            assert len(lines) >= 3
            assert any("no tag named it in generations 2 and 3" in line for line in lines)
            with pytest.raises(NoSuchBlob):
                await cluster[0].storage.blobs.read(blob, limit_bytes=1 << 20)
        assert not any(
            "dht/blobs" in path for node in cluster.nodes.values() for path in node.disk.files
        )
        assert not any(
            key.startswith((b"dht/blob", b"dht/chunks"))
            for node in cluster.nodes.values()
            for key in node.index.rows
        )

    world(story, 4, config=COLLECTED)


def test_what_a_tag_names_stays_however_it_names_it(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        with_calendar(cluster)
        blobs, tags = cluster[0].storage.blobs, cluster[1].storage.tags
        kept = [(await blobs.put_bytes(f"kept {n}".encode())).id for n in range(3)]
        many = [(await blobs.put_bytes(f"many {n}".encode())).id for n in range(300)]
        lost = (await blobs.put_bytes(b"lost")).id
        await tags.append("plain", [[f"blob:{kept[0]}"], ["http://elsewhere/b3-x"]])
        await tags.append("replicas", [["http://elsewhere/", f"blob:{kept[1]}"]])
        await tags.append("brief", [[f"blob:{lost}"], [f"blob:{kept[2]}"]])
        await tags.replace("brief", [[f"blob:{kept[2]}"]])
        await tags.append("many", [[f"blob:{blob}"] for blob in many])
        segments = [i.blob for i in (await tags._head("many", stale_ok=False))[1].items]  # type: ignore[union-attr]  # a segment
        await until_gone(cluster, lost)
        for blob in (*kept, *many, *segments):
            assert len(cluster.replicas(blob)) == 3
        await tags.delete("many")
        await collect(cluster)
        await asyncio.sleep(TRASH_S + 1)
        await collect(cluster)
        assert not any(cluster.replicas(blob) for blob in (*many, *segments))

    world(story, 3, config=COLLECTED)


def test_what_a_living_owner_has_put_stays_until_the_owner_is_gone(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        with_calendar(cluster)
        registers = cluster[0].storage.registers
        blob = (await cluster[0].storage.blobs.put_bytes(b"half a job", owner="job@1")).id
        other = (await cluster[0].storage.blobs.put_bytes(b"a dead job", owner="job@2")).id
        await registers.create("alive/job@1", b"yes")
        await until_gone(cluster, other)
        assert len(cluster.replicas(blob)) == 3
        assert await registers.compare_and_set("alive/job@1", 1, b"no")
        await collect(cluster)
        await asyncio.sleep(TRASH_S + 1)
        await collect(cluster)
        assert not cluster.replicas(blob)

    world(story, 3, config=COLLECTED)


def test_a_dry_run_says_what_would_happen_and_changes_nothing(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        with_calendar(cluster)
        blob = (await cluster[0].storage.blobs.put_bytes(bytes(1000))).id
        await asyncio.sleep(LEASE_S + 1)
        for _ in range(3):
            dry = await collect(cluster, dry_run=True)
            assert dry.counts == {Verdict.CONDEMN: (3, 3000)}
            assert [entry[0] for entry in dry.sample] == [blob] * 3
            assert "no tag names it" in dry.sample[0][3]
            await asyncio.sleep(TRASH_S + 1)
        assert (await cluster[1].storage.collector.state()).last is None

    world(story, 3, config=COLLECTED)


def test_an_operator_can_hold_collections(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        with_calendar(cluster)
        await cluster[2].storage.collector.hold(held=True)
        with pytest.raises(Conflict):
            await cluster[0].storage.collector.start()
        await cluster[1].storage.collector.hold(held=False)
        await cluster[0].storage.collector.start()
        with pytest.raises(Conflict):
            await cluster[0].storage.collector.start()
        await cluster[1].storage.collector.hold(held=True)
        collector = cluster[2].storage.collector
        await cluster.eventually(lambda: not cluster[0].storage.collector._running)
        assert "holds" in (await collector.progress()).failed

    world(story, 3, config=COLLECTED)


def test_without_a_majority_of_some_partition_nothing_is_condemned(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        with_calendar(cluster)
        for number in range(20):
            await cluster[0].storage.blobs.put_bytes(
                f"{number}".encode(), durability=Durability.ALL
            )
        await asyncio.sleep(LEASE_S + 1)
        for number in (2, 3):
            await cluster.crash(f"n{number}")
        for _ in range(3):
            try:
                progress = await cluster[0].storage.collector.collect()
            except Unavailable:
                continue
            assert "partition" in progress.failed or "few" in progress.failed
            assert progress.counts == {}
            await asyncio.sleep(TRASH_S + 1)
        for node in (cluster[0], cluster[1], cluster[4]):
            for _, row in node.storage._shelf.scan("", 1000):
                assert row.condemned is None

    world(story, 5, config=COLLECTED)


def test_collection_goes_on_without_one_node_and_waits_for_a_layout_that_moves(
    world: World,
) -> None:
    async def story(cluster: Cluster) -> None:
        with_calendar(cluster)
        blob = (await cluster[0].storage.blobs.put_bytes(b"x", durability=Durability.ALL)).id
        await asyncio.sleep(LEASE_S + 1)
        cluster.start("n3")
        cluster.add(3)
        progress = await cluster[0].storage.collector.collect()
        assert "layout" in progress.failed
        await cluster.hand_over()
        await asyncio.sleep(COLLECTED.repair_interval_s + 5)
        await cluster.crash("n2")
        await collect(cluster)
        await asyncio.sleep(TRASH_S + 1)
        await collect(cluster)
        assert not cluster.replicas(blob)

    world(story, 3, config=COLLECTED)


def test_naming_a_condemned_blob_revives_it_and_naming_a_removed_one_is_refused(
    world: World,
) -> None:
    async def story(cluster: Cluster) -> None:
        with_calendar(cluster)
        blobs, tags = cluster[0].storage.blobs, cluster[1].storage.tags
        named = (await blobs.put_bytes(b"named late")).id
        again = (await blobs.put_bytes(b"put again")).id
        lost = (await blobs.put_bytes(b"lost")).id
        await asyncio.sleep(LEASE_S + 1)
        assert (await collect(cluster)).counts[Verdict.CONDEMN] == (9, 69)
        await tags.append("late", [[f"blob:{named}"]])
        assert (await blobs.put_bytes(b"put again")).id == again
        await asyncio.sleep(TRASH_S + 1)
        await collect(cluster)
        assert [len(cluster.replicas(blob)) for blob in (named, again, lost)] == [3, 3, 0]
        with pytest.raises(NoSuchBlob):
            await tags.append("late", [[f"blob:{lost}"]])
        await tags.replace("record", [[f"blob:{lost}"]], missing_ok=True)
        assert (await tags.get("late")).urls == ((f"blob:{named}",),)

    world(story, 3, config=COLLECTED)


def test_a_tag_keeps_what_a_job_made_when_the_job_is_purged(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        blobs, tags = cluster[0].storage.blobs, cluster[1].storage.tags
        own = (await blobs.put_bytes(b"its own", owner="job@1")).id
        shared = (await blobs.put_bytes(b"shared", owner="job@1")).id
        await tags.replace("archive", [[f"blob:{own}"], [f"blob:{shared}"]], owner="job@1")
        await tags.append("mine", [[f"blob:{shared}"]])
        for blob in (own, shared):
            await blobs.delete(blob, owner="job@1")
        await cluster.eventually(lambda: not cluster.replicas(own))
        assert await blobs.read(shared, limit_bytes=99) == b"shared"

    world(story, 3, config=COLLECTED)


def test_a_writers_cache_and_the_files_of_a_crash_are_cleared_away(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        with_calendar(cluster)
        data = random.Random(1).randbytes(100_000)
        blob = (await cluster[0].storage.blobs.put_bytes(data)).id
        home = cluster[0].storage.blobs.home(blob)
        writer = next(n for n in cluster.nodes.values() if n.id not in home)
        assert (await writer.storage.blobs.put_bytes(data)).id == blob
        await cluster[1].storage.tags.append("kept", [[f"blob:{blob}"]])
        await cluster.eventually(lambda: set(cluster.replicas(blob)) >= {*home, writer.id})
        orphan = file_path("b3-" + 64 * "7")
        cluster[2].disk.files[orphan] = bytearray(b"unfinished")
        await asyncio.sleep(LEASE_S + 1)
        await collect(cluster)
        assert sorted(cluster.replicas(blob)) == sorted(home)
        assert orphan not in cluster[2].disk.files

    world(story, 5, config=COLLECTED)


def test_collections_start_by_themselves_when_they_are_due(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        with_calendar(cluster)
        blob = (await cluster[0].storage.blobs.put_bytes(b"forgotten")).id
        await asyncio.sleep(5 * 300)
        assert not cluster.replicas(blob)
        state = await cluster[0].storage.collector.state()
        assert state.generation in (3, 4)
        assert state.last is not None
        assert not state.last.failed

    world(story, 3, config=replace(COLLECTED, collection_interval_s=300.0))


@pytest.mark.parametrize(
    ("row", "home", "named", "held", "verdict"),
    [
        (ROW, True, False, False, Verdict.CONDEMN),
        (ROW, True, True, False, Verdict.KEEP),
        (ROW, True, False, True, Verdict.KEEP),
        (msgspec.structs.replace(ROW, lease=100.0), True, False, False, Verdict.KEEP),
        (msgspec.structs.replace(ROW, touched=5), True, False, False, Verdict.KEEP),
        (
            msgspec.structs.replace(ROW, condemned=Condemned(4, 70.0)),
            True,
            False,
            False,
            Verdict.REMOVE,
        ),
        (
            msgspec.structs.replace(ROW, condemned=Condemned(4, 71.0)),
            True,
            False,
            False,
            Verdict.KEEP,
        ),
        (
            msgspec.structs.replace(ROW, condemned=Condemned(5, 0.0)),
            True,
            False,
            False,
            Verdict.KEEP,
        ),
        (
            msgspec.structs.replace(ROW, condemned=Condemned(4, 70.0)),
            True,
            True,
            False,
            Verdict.REVIVE,
        ),
        (ROW, False, False, False, Verdict.KEEP),
        (msgspec.structs.replace(ROW, role=Role.CACHE), False, False, False, Verdict.REMOVE),
        (
            msgspec.structs.replace(ROW, role=Role.CACHE, lease=100.0),
            False,
            False,
            False,
            Verdict.KEEP,
        ),
        (msgspec.structs.replace(ROW, where=Where.NOWHERE), True, False, False, Verdict.KEEP),
        (
            msgspec.structs.replace(ROW, where=Where.NOWHERE, lease=99.0 - MEMORY_S),
            True,
            False,
            False,
            Verdict.FORGET,
        ),
    ],
)
def test_the_rules_of_a_verdict(
    row: BlobRow, home: bool, named: bool, held: bool, verdict: Verdict
) -> None:
    finding = judge(row, TERMS, home=home, named=named, held=held)
    assert finding.verdict is verdict
    assert finding.reason
    if verdict is Verdict.CONDEMN:
        assert finding.condemned == Condemned(5, 100.0)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 400), st.integers(1, 10_000))
def test_a_filter_never_forgets_and_rarely_invents(count: int, generation: int) -> None:
    rng = random.Random(generation)
    marks = MarkFilter(count, generation)
    added = [rng.randbytes(32) for _ in range(count)]
    for digest in added:
        marks.add(digest)
    assert all(digest in marks for digest in added)
    assert sum(rng.randbytes(32) in marks for _ in range(500)) < 25
