"""Losing one of ten nodes on real processes: how fast its copies are made anew, and by whom.

All ten share this machine's disk and cores, so the bound is what the disk takes in synced writes of
files of the same size, measured in the same run. Who took part is read from `/proc/PID/io`, which
counts what a process read from and wrote to files, and not its network.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from peerdisco.client.cluster import Cluster
from peerdisco.demo.nodes import DaemonProcess
from peerdisco_webui.upkeep_messages import LayoutAction, LayoutRequest

NODES = 10
REPLICAS = 3
UPLOADS, DISK_WRITERS = 4, 8
TOOK_PART_BYTES = 1 << 20
POLL_S = 0.25
REBUILD_S_MAX = 600.0

Connect = Callable[[str], Cluster]
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What came of it.

    Attributes:
        mb_s: Bytes that were copied, by time.
        peers: Of the survivors, how many sent or received.
        disk_mb_s: What the disk takes in synced files of that size.
    """

    mb_s: float
    peers: int
    disk_mb_s: float


def measure_rebuild(
    nodes: Sequence[DaemonProcess], connect: Connect, blobs: int, size: int, say: Say
) -> Rebuilt:
    """Fill ten nodes, kill one, send it away, and wait until all has its copies again."""
    disk_mb_s = _disk_mb_s(nodes[0].root.parent, size)
    cluster = connect(nodes[0].http)
    _wait(lambda: len(cluster.layout().nodes) == NODES and not cluster.layout().moving)
    rng = random.Random(blobs)

    def put(_: int) -> None:
        cluster.put_blob(rng.randbytes(size))

    with ThreadPoolExecutor(UPLOADS) as pool:
        list(pool.map(put, range(blobs)))
    _wait(lambda: _copies(cluster) == REPLICAS * blobs)
    lost, survivors = nodes[-1], nodes[:-1]
    before = {node.pid: _file_bytes(node.pid) for node in survivors}
    lost.kill()
    began = time.perf_counter()
    cluster.change_layout(LayoutRequest(action=LayoutAction.REMOVE, node=lost.name, force=True))
    _wait(lambda: _copies(cluster) >= REPLICAS * blobs)
    seconds = time.perf_counter() - began
    moved = {pid: _minus(_file_bytes(pid), was) for pid, was in before.items()}
    peers = sum(max(each) >= TOOK_PART_BYTES for each in moved.values())
    senders = sum(read >= TOOK_PART_BYTES for read, _ in moved.values())
    receivers = sum(written >= TOOK_PART_BYTES for _, written in moved.values())
    copied = sum(written for _, written in moved.values())
    mb_s = copied / 1e6 / seconds
    say(f"one of {NODES} nodes lost: {copied / 1e6:.0f} MB copied in {seconds:.1f} s, {mb_s:.0f} "
        f"MB/s; {senders} sent and {receivers} received of {len(survivors)}; the disk alone takes "
        f"{disk_mb_s:.0f} MB/s in synced files")  # fmt: skip
    return Rebuilt(mb_s, peers, disk_mb_s)


def _copies(cluster: Cluster) -> int:
    """Replicas on living nodes that belong there; 0 as long as somebody does not say."""
    nodes = [node for node in cluster.layout().nodes if node.state == "up"]
    if any(node.blobs < 0 for node in nodes):
        return 0
    return sum(node.blobs for node in nodes)


def _file_bytes(pid: int) -> tuple[int, int]:
    """Bytes that a process read and wrote through files so far."""
    lines = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return int(lines["rchar"]), int(lines["wchar"])


def _minus(now: tuple[int, int], was: tuple[int, int]) -> tuple[int, int]:
    return now[0] - was[0], now[1] - was[1]


def _disk_mb_s(root: Path, size: int) -> float:
    """Files of that size, written and synced by some threads at once."""
    count, data = max(DISK_WRITERS, (512 << 20) // size), os.urandom(size)
    paths = [root / f"probe-{number}" for number in range(count)]

    def write(path: Path) -> None:
        with path.open("wb", buffering=0) as file:
            file.write(data)
            os.fsync(file.fileno())

    began = time.perf_counter()
    with ThreadPoolExecutor(DISK_WRITERS) as pool:
        list(pool.map(write, paths))
    seconds = time.perf_counter() - began
    for path in paths:
        path.unlink()
    return count * size / 1e6 / seconds


def _wait(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + REBUILD_S_MAX
    while not holds():
        if time.monotonic() > deadline:
            raise SystemExit(f"the cluster did not get there in {REBUILD_S_MAX:.0f} s")
        time.sleep(POLL_S)
