"""Disks that are full or damaged: said in words, and what was acknowledged stays."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from peerdisco import DDFS, Job, PeerdiscoError
from peerdisco.client import Cluster
from peerdisco.client.session import Session
from peerdisco.client.target import parse_target
from peerdisco.demo.nodes import DaemonProcess

if TYPE_CHECKING:
    from tests.peerdisco.end_to_end.conftest import CommandLine, Nodes

pytestmark = pytest.mark.slow

Connect = Callable[[DaemonProcess], Cluster]
SIZE_MB = 24


def greedy(line: str, params: object) -> Iterator[tuple[int, bytes]]:
    import random

    for number in range(2 * SIZE_MB):
        yield number, random.randbytes(1 << 20)


@pytest.fixture
def small_disk(nodes: Nodes) -> Iterator[Path]:
    """A file system with little room below the directories of the nodes."""
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if os.geteuid() != 0 or not mount or not umount:
        pytest.skip("needs root and mount to make a small file system")
    root = nodes.root / "small"
    root.mkdir()
    made = subprocess.run(
        [mount, "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "tmpfs", str(root)],
        capture_output=True,
        check=False,
    )
    if made.returncode:
        pytest.skip("needs the right to mount to make a small file system")
    nodes.root = root
    try:
        yield root
    finally:
        nodes.stop()
        subprocess.run([umount, str(root)], check=True)


def test_a_full_disk_costs_nothing_that_was_acknowledged(
    small_disk: Path,
    nodes: Nodes,
    connect_to: Connect,
    until: Callable[..., None],
    peerdisco: CommandLine,
    tmp_path: Path,
) -> None:
    """First a file that is too big, then a disk without any room left, then a start on it."""
    node = nodes("full")
    rng = random.Random(3)
    kept = rng.randbytes(1 << 20)
    (tmp_path / "kept").write_bytes(kept)
    (tmp_path / "big").write_bytes(rng.randbytes((SIZE_MB + 6) << 20))
    DDFS(connect_to(node)).push("kept", [tmp_path / "kept"])

    started = time.monotonic()
    done = peerdisco("ddfs", "push", "big", str(tmp_path / "big"), peer=node.http, code=1)
    assert "the disk of this node is full; nothing was stored" in done.stderr
    assert time.monotonic() - started < 15
    assert ["kept"] == peerdisco.json("ddfs", "ls", peer=node.http)
    DDFS(connect_to(node)).tag("still", ["raw://works"])

    job = Job("greedy", connect_to(node)).run(input=["raw://x"], map=greedy)
    until(
        lambda: any("No space left on device" in text for _, (_, _, text) in job.events()),
        "the job says what it lacks, and is tried again",
    )
    job.kill()
    DDFS(connect_to(node)).tag("still", ["raw://well"])

    with contextlib.suppress(OSError), (small_disk / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(1 << 16))
    with contextlib.suppress(PeerdiscoError):
        impatient = Cluster(Session(parse_target(node.http), patience_s=0.1))
        DDFS(impatient).tag("lost", ["raw://x"])
    assert node.process is not None
    assert node.process.wait(20) == 1
    assert "the node full stopped, as its disk refused a write" in node.log.read_text()
    options = ("--data", str(node.root), "--http", node.http)
    done = peerdisco(*options, code=None)
    assert done.returncode in (1, 78)
    assert "No space left on device" in done.stderr
    assert str(node.root) in done.stderr

    (small_disk / "filler").unlink()
    node.start()
    node.wait_ready()
    assert [["raw://well"], ["raw://works"]] == DDFS(connect_to(node)).urls("still")
    assert [kept] == [file.read() for file in DDFS(connect_to(node)).pull("kept")]


def test_damaged_metadata_is_named_and_not_replaced(nodes: Nodes, peerdisco: CommandLine) -> None:
    node = nodes("damaged")
    node.stop()
    log = node.root / "metadata" / "log.sqlite"
    log.write_bytes(b"scribble " * 1000)
    done = peerdisco("--data", str(node.root), "--http", node.http, code=1)
    assert f"{log} cannot be opened: file is not a database" in done.stderr
    assert log.read_bytes().startswith(b"scribble ")
