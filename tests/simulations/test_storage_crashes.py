"""A crash at every single step of a disk, while it stores, appends, repairs and collects.

The victim loses its process or its power before the n-th step, for all n; then it comes back, and
in the end all machines lose power together. Whatever was acknowledged must be there, once, and
nothing half made may be seen by anybody. The same for syncs that fail, full disks, and rot.
"""

from __future__ import annotations

import asyncio
import errno
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import pytest

from peerdisco_dht import Durability, StorageError, keeper
from peerdisco_dht.blobs.shelf import file_path
from peerdisco_dht.placement import Candidate, Table, place
from peerdisco_sim.world import World
from tests.simulations.storage_world import CONFIG, Storages

LARGE, SMALL = 200_000, 500
STEPS_MAX = 200
"""No activity has more: the sweep would not end."""


@pytest.fixture(autouse=True, scope="module")
def shared_tables() -> Iterator[None]:
    """All nodes compute the same table; once will do."""
    with pytest.MonkeyPatch.context() as patch:
        computed: dict[object, Table] = {}

        def placed(candidates: Sequence[Candidate], replicas: int) -> Table:
            key = (tuple(candidates), replicas)
            if key not in computed:
                computed[key] = place(candidates, replicas)
            return computed[key]

        patch.setattr(keeper, "place", placed)
        yield


@dataclass
class Acknowledged:
    """What was promised to somebody."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    entries: list[str] = field(default_factory=list)
    tried: list[str] = field(default_factory=list)


def content(size: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(size)


async def put(storages: Storages, name: str, told: Acknowledged, data: bytes) -> str:
    info = await storages.storages[name].blobs.put_bytes(data, owner="somebody")
    told.blobs[info.id] = data
    return info.id


async def append(storages: Storages, name: str, told: Acknowledged, entry: str) -> None:
    told.tried.append(entry)
    await storages.storages[name].tags.append("t", [[entry]])
    told.entries.append(entry)


async def prepare(storages: Storages, told: Acknowledged) -> None:
    """What is there before: a tag with two blobs, and two blobs that nothing names."""
    for number, size in enumerate((LARGE, SMALL)):
        blob = await put(storages, "n0", told, content(size, number))
        await append(storages, "n0", told, f"blob:{blob}")
        garbage = content(size, 10 + number)
        await storages.storages["n0"].blobs.put_bytes(garbage, durability=Durability.ALL)
    await asyncio.sleep(1.0)


async def putting(storages: Storages, name: str, told: Acknowledged) -> None:
    for number, size in enumerate((LARGE, SMALL, 3 * LARGE)):
        await put(storages, name, told, content(size, 20 + number))


async def appending(storages: Storages, name: str, told: Acknowledged) -> None:
    tags = storages.storages[name].tags
    for number in range(3):
        await append(storages, name, told, f"http://x/{number}")
    await tags.set_attribute("t", "colour", "red")
    await tags.replace("r", [["http://y/"]])


async def repairing(storages: Storages, name: str, told: Acknowledged) -> None:
    """The others bring the victim back what it lost."""
    victim = storages.storages["n1"]
    for blob in told.blobs:
        await victim._shelf.drop(blob)
    for blob in told.blobs:
        storages.storages[name]._repair.want(blob)
        storages.storages["n2"]._repair.want(blob)
    for _ in range(100):
        await asyncio.sleep(0.05)
        if all(victim._shelf.holds(blob) for blob in told.blobs):
            return
    raise AssertionError("nothing was repaired")


async def collecting(storages: Storages, name: str, told: Acknowledged) -> None:
    """Two generations, far enough apart for garbage to go."""
    for blob in told.blobs:
        await storages.storages[name].blobs.delete(blob, owner="somebody")
    for _ in range(2):
        await asyncio.sleep(1.0)
        await storages.storages[name].collector.collect(dry_run=False)


Activity = Callable[[Storages, str, Acknowledged], Awaitable[None]]
QUICK = replace(CONFIG, lease_s=0.5, trash_s=0.5)
ACTIVITIES: dict[str, Activity] = {
    "putting": putting,
    "appending": appending,
    "repairing": repairing,
    "collecting": collecting,
}


def play(activity: Activity, actor: str, victim: str, step: int, *, power: bool) -> bool:
    """One play; False when the activity has not as many steps that change anything."""
    told = Acknowledged()
    with World(step) as world:
        storages = Storages(world, config=QUICK)
        storages.run("n0", prepare(storages, told))
        sim, disk = storages.sim(victim), storages.disk(victim)
        left = step

        def crash(operation: str, _: str) -> None:
            nonlocal left
            left -= operation not in ("read", "stat")
            if not left:
                disk.before_step = None
                (sim.cut_power if power else sim.kill)()

        async def act() -> None:
            try:
                await activity(storages, actor, told)
            except (StorageError, OSError):
                return  # it was not acknowledged

        disk.before_step = crash
        task = storages.sim(actor).spawn(act())
        for _ in range(60):
            if task.done() or not sim.is_running:
                break
            world.run_for(0.1)
        crashed = not sim.is_running
        disk.before_step = None
        if crashed:
            world.run_for(1.0)
            storages.boot(victim)
            world.run_for(2.0)
        check(storages, told)
        storages.cut_everything()
        check(storages, told)
        assert not world.failures, world.failures
        return crashed


def check(storages: Storages, told: Acknowledged) -> None:
    """Everything that was promised is there, once, from every node; and nothing is half there."""
    storages.check_shelves()
    for name in storages.names:
        for blob, data in told.blobs.items():
            read = storages.storages[name].blobs.read(blob, limit_bytes=len(data))
            assert storages.run(name, read) == data
    tag = storages.run("n0", storages.storages["n0"].tags.get("t"))
    entries = [url for urls in tag.urls for url in urls]
    assert sorted(set(entries)) == sorted(entries), "nothing is there twice"
    assert set(told.entries) <= set(entries) <= set(told.tried)


@pytest.mark.slow
@pytest.mark.parametrize("power", [True, False], ids=["power", "kill"])
@pytest.mark.parametrize("actor", ["n0", "n1"], ids=["at a home", "at the actor"])
@pytest.mark.parametrize("name", ACTIVITIES)
def test_a_crash_at_any_step_of_the_disk_loses_nothing(name: str, actor: str, power: bool) -> None:
    steps = 0
    while play(ACTIVITIES[name], actor, "n1", steps + 1, power=power):
        steps += 1
        assert steps < STEPS_MAX
    assert steps >= 3


# -- other trouble of disks


def test_a_sync_that_failed_is_never_taken_for_one_that_succeeded() -> None:
    """The system forgets the bytes of a failed sync, and reports success the next time."""
    told = Acknowledged()
    with World(3) as world:
        storages = Storages(world)
        storages.run("n0", prepare(storages, told))
        disk = storages.disk("n1")

        def fail_once(operation: str, path: str) -> None:
            if operation == "sync" and path.startswith("dht/spool"):
                disk.faults.sync_error = errno.EIO
                world.after(0.02, lambda: setattr(disk.faults, "sync_error", 0))
                disk.before_step = None

        for number in range(5):
            disk.before_step = fail_once
            data = content(LARGE, 30 + number)
            storages.run("n0", put(storages, "n0", told, data))
            world.run_for(0.1)
        assert disk.errors >= 4
        disk.before_step = None
        storages.cut_everything()
        check(storages, told)
        world.run_for(10.0)
        check(storages, told)
        assert all(storages.storages["n1"]._shelf.holds(blob) for blob in told.blobs)


def test_a_put_through_a_node_whose_sync_fails_is_refused() -> None:
    told = Acknowledged()
    with World(4) as world:
        storages = Storages(world)
        storages.disk("n1").faults.sync_error = errno.EIO
        with pytest.raises(OSError, match="Input/output"):
            storages.run("n1", put(storages, "n1", told, content(LARGE, 1)))
        storages.disk("n1").faults.sync_error = 0
        storages.boot("n1")
        world.run_for(1.0)
        storages.check_shelves()
        for name in storages.names:
            assert not storages.storages[name]._shelf.scan("", 10)


def test_a_disk_that_fills_up_at_any_write_keeps_nothing_half() -> None:
    """The disk of a home takes so many bytes more and no more."""
    told = Acknowledged()
    with World(5) as world:
        unwatched = replace(CONFIG, low_bytes=0, read_only_bytes=0)
        storages = Storages(world, config=unwatched)
        storages.run("n0", prepare(storages, told))
        disk = storages.disk("n1")
        for number, room in enumerate((0, 1, LARGE - 1, LARGE, 2 * LARGE)):
            used = disk.files.capacity_bytes - disk.files.free_bytes
            disk.files.capacity_bytes = used + room + 100_000
            ballast = disk.files.create("ballast")
            disk.files.write(ballast, 0, bytes(100_000 - 10))
            storages.run("n0", put(storages, "n0", told, content(LARGE, 40 + number)))
            world.run_for(1.0)
            storages.run("n1", disk.remove("ballast"))
            check(storages, told)
            disk.files.capacity_bytes = 1 << 40
        world.run_for(10.0)
        storages.cut_everything()
        check(storages, told)
        assert all(storages.storages["n1"]._shelf.holds(blob) for blob in told.blobs)


def test_rot_is_found_by_a_scrub_and_mended_by_the_others() -> None:
    told = Acknowledged()
    with World(6) as world:
        storages = Storages(world)
        storages.run("n0", prepare(storages, told))
        victim = storages.storages["n1"]
        large = next(blob for blob, data in told.blobs.items() if len(data) == LARGE)
        storages.disk("n1").rot(file_path(large))
        assert not storages.run("n0", storages.storages["n0"].health.scrub())
        world.run_for(5.0)
        last = victim.health._scrub.state.last
        assert last
        assert last.rotten == 1
        check(storages, told)
        assert victim._shelf.holds(large)
