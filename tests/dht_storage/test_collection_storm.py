"""Collections that race with everything: seeded storms, and bugs planted to see that they notice.

Writers put blobs, name them after a while, un-name them and name them again just when they might be
collected; nodes crash, are cut off, join and leave; collections run one after another all the time
with short leases. In the end every blob that an acknowledged tag names must be readable.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from peerdisco_dht import TAG_OWNER, RemoveNodes, StorageError
from peerdisco_dht.blobs import pinning
from peerdisco_dht.blobs.messages import Condemned, Copy, Stored, Verdict
from peerdisco_dht.blobs.shelf import Shelf
from peerdisco_dht.collection import collector, marker, participant, rules
from peerdisco_dht.collection.rules import Finding
from peerdisco_dht.registers import quorum
from peerdisco_dht.tags.tags import Tags
from tests.dht_storage.conftest import CONFIG

if TYPE_CHECKING:
    from tests.dht_storage.conftest import Cluster, World

Plant = Callable[[pytest.MonkeyPatch], None]

STORMY = replace(
    CONFIG,
    repair_interval_s=15.0,
    lease_s=12.0,
    trash_s=2.0,
    collection_interval_s=1e9,
    mark_timeout_s=2.0,
)
STORM_S = 70.0
WRITERS = 4
SEEDS = 8


@dataclass
class Story:
    """What the writers know: the blobs that each of their tags names for certain."""

    named: dict[str, dict[str, bytes]] = field(default_factory=dict)
    renamed: int = 0
    collections: int = 0
    removed: int = 0


async def write(cluster: Cluster, story: Story, number: int, until: float) -> None:
    """One writer with tags of its own, so that it knows what they name."""
    loop = asyncio.get_running_loop()
    rng = random.Random(f"{cluster.seed}/writer/{number}")
    count = failures = 0
    while loop.time() < until:
        count += 1
        # What failed may still take effect, even after a later success, so its name is left alone.
        tag, other = f"tag-{number}-{failures}-{count % 5}", f"late-{number}-{count}"
        data = rng.randbytes(rng.choice([50, 70_000]))
        blob = ""
        try:
            blob = (await node(cluster, rng).storage.blobs.put_bytes(data, owner=TAG_OWNER)).id
            await asyncio.sleep(rng.uniform(0, 8))
            known = story.named.pop(tag, {})
            await node(cluster, rng).storage.tags.replace(tag, [[f"blob:{blob}"]])
            story.named[tag] = {blob: data}
            if known and rng.random() < 0.7:
                await asyncio.sleep(rng.uniform(0, 30))
                urls = [[f"blob:{old}"] for old in known]
                await node(cluster, rng).storage.tags.append(other, urls)
                story.named[other] = known
                story.renamed += 1
        except (StorageError, OSError, asyncio.CancelledError):
            failures += 1
            await asyncio.sleep(0.2)


async def collect(cluster: Cluster, story: Story, until: float) -> None:
    rng = random.Random(f"{cluster.seed}/collector")
    loop = asyncio.get_running_loop()
    while loop.time() < until:
        try:
            progress = await node(cluster, rng).storage.collector.collect()
        except (StorageError, OSError, asyncio.CancelledError):
            progress = None
        if progress is not None:
            story.collections += not progress.failed
            story.removed += progress.counts.get(Verdict.REMOVE, (0, 0))[0]
        await asyncio.sleep(rng.uniform(0.5, 3))


async def name_late(cluster: Cluster, story: Story, until: float) -> None:
    """Name blobs that nothing has named for long, just while a collection decides about them."""
    loop = asyncio.get_running_loop()
    rng = random.Random(f"{cluster.seed}/late")
    old: deque[tuple[float, str, bytes]] = deque()
    count = 0
    while loop.time() < until:
        count += 1
        data = rng.randbytes(60)
        try:
            blob = (await node(cluster, rng).storage.blobs.put_bytes(data, owner="late")).id
        except (StorageError, OSError, asyncio.CancelledError):
            await asyncio.sleep(0.2)
            continue
        old.append((loop.time() + STORMY.lease_s + rng.uniform(0, 10), blob, data))
        while not any(n.storage.collector._running for n in cluster.network.up.values()):
            if loop.time() >= until:
                return
            await asyncio.sleep(0.005)
        await asyncio.sleep(rng.uniform(0, 0.1))
        if old[0][0] > loop.time():
            continue
        _, blob, data = old.popleft()
        try:
            await node(cluster, rng).storage.tags.append(f"needle-{count}", [[f"blob:{blob}"]])
            story.named[f"needle-{count}"] = {blob: data}
            story.renamed += 1
        except (StorageError, OSError, asyncio.CancelledError):
            continue


async def disturb(cluster: Cluster, until: float) -> None:
    """Crash a node, cut one or two off, or change the layout, one after the other."""
    rng = random.Random(f"{cluster.seed}/chaos")
    loop = asyncio.get_running_loop()
    outside = 4
    cluster.change(RemoveNodes((cluster[outside].id,)))
    await cluster.hand_over()
    while loop.time() < until:
        await asyncio.sleep(rng.uniform(2, 10))
        name = f"n{rng.randrange(5)}"
        victim = cluster.nodes[name]
        match rng.randrange(3):
            case 0:
                await cluster.crash(name)
                await asyncio.sleep(rng.uniform(0.5, 4))
                cluster.start(name).storage.adopt(cluster.layout)
            case 1:
                other = cluster[rng.randrange(5)]
                cluster.network.island.update({victim.id: 1, other.id: 1})
                await asyncio.sleep(rng.choice([0.5, 3.0, 9.0]))
                cluster.network.island.clear()
            case 2 if not cluster.layout.previous:
                inside = [n for n in range(5) if n != outside]
                leaving = inside[rng.randrange(4)]
                cluster.add(outside)
                cluster.change(RemoveNodes((cluster[leaving].id,)))
                outside = leaving
                await cluster.hand_over()


def node(cluster: Cluster, rng: random.Random) -> Any:
    """A node that is up."""
    up = list(cluster.network.up.values())
    return up[rng.randrange(len(up))]


def storm(world: World, seed: int, known: Story | None = None) -> list[str]:
    """Play a storm; the ids of named blobs that were lost."""
    lost: list[str] = []
    known = known or Story()

    async def story(cluster: Cluster) -> None:
        loop = asyncio.get_running_loop()
        cluster.wall_time = lambda: 1.5e9 + loop.time()
        cluster.network.loss = 0.002
        until = loop.time() + STORM_S
        async with asyncio.TaskGroup() as group:
            for number in range(WRITERS):
                group.create_task(write(cluster, known, number, until))
            group.create_task(collect(cluster, known, until))
            group.create_task(name_late(cluster, known, until))
            group.create_task(disturb(cluster, until))
        cluster.network.loss = 0.0
        await cluster.hand_over()
        await asyncio.sleep(5)
        for blobs in known.named.values():
            for blob, data in blobs.items():
                try:
                    found = await cluster[0].storage.blobs.read(blob, limit_bytes=1 << 20)
                except StorageError:
                    lost.append(blob)
                else:
                    assert found == data

    world(story, 5, seed=seed, config=STORMY)
    return lost


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_no_storm_loses_a_named_blob(world: World, seed: int) -> None:
    known = Story()
    assert storm(world, seed, known) == []
    assert known.collections >= 3
    assert known.renamed >= 3
    assert known.removed >= 3


def names_without_pinning(patch: pytest.MonkeyPatch) -> None:
    async def pin(*_: object, **__: object) -> None:
        return

    patch.setattr(pinning.Pinner, "pin", pin)


def says_yes_without_renewing_the_lease(patch: pytest.MonkeyPatch) -> None:
    async def held(self: Shelf, blob: str, pin: str) -> Stored:
        return Stored(Copy.HELD if self.holds(blob) else Copy.MISSING)

    patch.setattr(Shelf, "pin", held)


def removes_at_once_although_a_partition_is_missing(patch: pytest.MonkeyPatch) -> None:
    """Either alone is harmless: a later generation must miss the same partition to do harm."""
    real = rules.judge

    def judge(row: Any, terms: Any, **seen: bool) -> Finding:
        finding = real(row, terms, **seen)
        at_once = finding.verdict is Verdict.CONDEMN
        return Finding(Verdict.REMOVE, "") if at_once else finding

    patch.setattr(rules, "judge", judge)
    patch.setattr(participant._Open, "complete", True)
    patch.setattr(collector, "_stop_on_failure", lambda outcomes: None)


def takes_the_word_of_one_home(patch: pytest.MonkeyPatch) -> None:
    def settled(answers: Any, sets: Any) -> Any:
        return next(iter(answers.values()), None)

    patch.setattr(
        marker,
        "quorum",
        SimpleNamespace(
            settled=settled,
            reached=lambda granted, sets: bool(granted),
            acceptors=quorum.acceptors,
        ),
    )


def ignores_leases_and_touches(patch: pytest.MonkeyPatch) -> None:
    def judge(row: Any, terms: Any, *, home: bool, named: bool, held: bool) -> Finding:
        if named or not home:
            return Finding(Verdict.KEEP, "named")
        if row.condemned is None:
            return Finding(Verdict.CONDEMN, "", Condemned(terms.number, terms.began))
        return Finding(Verdict.REMOVE, "")

    patch.setattr(rules, "judge", judge)


def leaves_the_named_in_the_trash(patch: pytest.MonkeyPatch) -> None:
    """A copy that was condemned goes, whatever the next generation finds."""
    real = rules.judge

    def judge(row: Any, terms: Any, **seen: bool) -> Finding:
        if row.condemned is not None and row.condemned.generation < terms.number:
            return Finding(Verdict.REMOVE, "")
        return real(row, terms, **seen)

    async def held(self: Shelf, blob: str, pin: str) -> Stored:
        return Stored(Copy.HELD if self.holds(blob) else Copy.MISSING)

    patch.setattr(Shelf, "pin", held)
    patch.setattr(rules, "judge", judge)


def forgets_what_appends_named(patch: pytest.MonkeyPatch) -> None:
    async def references(self: Tags, value: Any) -> list[str]:
        return []

    patch.setattr(Tags, "references", references)


@pytest.mark.parametrize(
    "plant",
    [
        names_without_pinning,
        says_yes_without_renewing_the_lease,
        removes_at_once_although_a_partition_is_missing,
        takes_the_word_of_one_home,
        ignores_leases_and_touches,
        leaves_the_named_in_the_trash,
        forgets_what_appends_named,
    ],
    ids=lambda plant: plant.__name__,
)
@pytest.mark.slow
def test_a_planted_bug_is_found(
    world: World, monkeypatch: pytest.MonkeyPatch, plant: Plant
) -> None:
    plant(monkeypatch)
    for seed in range(SEEDS):
        if storm(world, seed):
            return
    pytest.fail(f"{plant.__name__} was not noticed in {SEEDS} storms")
