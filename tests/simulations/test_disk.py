"""The simulated Disk and the real one keep the same promises; faults and crashes of the former."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from peerdisco.host.disk import HostDisk
from peerdisco.machine import Disk
from peerdisco_sim.disk import SimDisk
from peerdisco_sim.machine import disk_of
from peerdisco_sim.node import SimNode
from peerdisco_sim.world import World

Run = Callable[[Coroutine[Any, Any, Any]], Any]


async def use(disk: Disk) -> list[Any]:
    """Everything that the interface promises, as plain values."""
    outcome: list[Any] = []
    await disk.write("config/node", b"first")
    await disk.write("config/node", b"second")
    outcome.append(await disk.read("config/node"))
    outcome.append([await disk.read("config/node", 2, 3), await disk.read("config/node", 99, 5)])
    writer = await disk.create("spool/x")
    await writer.write([b"one", b"", b"two"])
    await writer.write([b"three"])
    await writer.sync()
    await writer.close()
    await writer.close()
    outcome.append(await disk.size("spool/x"))
    await disk.rename("spool/x", "blobs/aa/x")
    outcome.append([await disk.size("spool/x"), await disk.read("blobs/aa/x")])
    again = await disk.create("config/node")
    await again.close()
    outcome.append([await disk.size("config/node"), await disk.list("config")])
    outcome.append([await disk.list("blobs"), await disk.list("blobs/aa"), await disk.list("no")])
    await disk.remove("blobs/aa/x")
    await disk.remove("blobs/aa/x")
    await disk.remove_tree("blobs")
    await disk.remove_tree("blobs")
    outcome.append(await disk.list("blobs"))
    for attempt in (disk.read("no"), disk.rename("no", "yes"), disk.read("config")):
        try:
            await attempt
        except OSError as error:
            outcome.append(error.errno)
    for refused in (disk.read("../x"), disk.write("/x", b""), disk.list("")):
        try:
            await refused
        except ValueError:
            outcome.append("refused")
    space = await disk.space()
    return [*outcome, 0 < space.free_bytes <= space.total_bytes]


async def use_the_real_one(root: Path) -> list[Any]:
    disk = HostDisk(root)
    try:
        return await use(disk)
    finally:
        disk.close()


def test_both_disks_behave_alike(tmp_path: Path, node: SimNode, run: Run) -> None:
    expected = asyncio.run(use_the_real_one(tmp_path))
    assert expected == run(use(disk_of(node)))


@pytest.fixture
def disk(node: SimNode) -> SimDisk:
    return disk_of(node)


def test_syncs_take_milliseconds_and_a_slow_disk_more(
    world: World, disk: SimDisk, run: Run
) -> None:
    run(disk.write("a", b"x"))
    quick = world.now
    assert 0.0005 < quick < 0.02
    disk.faults.slowness = 100
    run(disk.write("a", b"x"))
    assert world.now - quick > 10 * quick


@pytest.mark.parametrize(
    ("fault", "number"),
    [("write_error", errno.EIO), ("sync_error", errno.EIO), ("write_error", errno.ENOSPC)],
)
def test_a_failing_disk_leaves_the_old_content(
    disk: SimDisk, run: Run, fault: str, number: int
) -> None:
    run(disk.write("a", b"old"))
    setattr(disk.faults, fault, number)
    with pytest.raises(OSError, match=r".") as failure:
        run(disk.write("a", b"new"))
    assert number == failure.value.errno
    assert b"old" == run(disk.read("a"))


def test_reads_fail_when_told_to(disk: SimDisk, run: Run) -> None:
    run(disk.write("a", b"old"))
    disk.faults.read_error = errno.EIO
    with pytest.raises(OSError, match="Input/output"):
        run(disk.read("a"))


def test_an_atomic_write_survives_a_crash_at_every_step(world: World) -> None:
    """Sweep: power cut before the n-th step, for all n; old or new must be there, whole."""
    seen = set()
    for number in range(100):
        crash_at = number // 5 + 1
        node = SimNode(world, f"node{number}")
        disk = disk_of(node)

        async def program(disk: SimDisk = disk) -> None:
            await disk.write("a", b"old" * 1000)
            await disk.write("a", b"new" * 1000)

        def crash(*_: str, node: SimNode = node, disk: SimDisk = disk, at: int = crash_at) -> None:
            if disk.steps == at:
                node.cut_power()

        disk.before_step = crash
        node.boot(program)
        world.run_for(1)
        disk.before_step = None
        inode = disk.files.file("a")
        content = b"" if inode is None else bytes(inode.data)
        assert content in (b"", b"old" * 1000, b"new" * 1000)
        seen.add((node.is_powered, content[:3]))
    assert {(False, b""), (False, b"old"), (False, b"new"), (True, b"new")} == seen


def test_the_page_cache_survives_a_killed_process(world: World, node: SimNode) -> None:
    disk = disk_of(node)

    async def write() -> None:
        writer = await disk.create("a")
        await writer.write([b"not synced"])

    world.run_until_done(node.spawn(write()), 1)
    node.kill()
    assert b"not synced" == world.run_until_done(node.run(lambda: disk.read("a")), 1)
