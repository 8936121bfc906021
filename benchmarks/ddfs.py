"""DDFS in figures: three real daemons on loopback, one client, R=3, two synced acknowledgements.

    make bench NAME=ddfs                                 all of it, about fifteen minutes
    make bench NAME=ddfs ARGS="--only put,get --megabytes 10240 --repeat 1"
    make bench NAME=ddfs ARGS="--root /fast/disk"        where the daemons keep their data

Parts: put, get, tls, append, tags, placement, lookup, endurance (needs root), rebuild. A line for
each measurement, medians of what was repeated; the last line is one JSON object, with null for what
was not measured. The client and all daemons share this machine, so CPU seconds tell more than wall
times do, and a busy machine shows in both: the load is told at the beginning and at the end. A
virtual machine pays once for every page of memory that it never used before (2 CPU seconds per GiB
were seen), so as much page cache as the blob will need is used, and given back, beforehand.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ddfs_parts.appends import measure_appends, measure_tags
from ddfs_parts.common import Figures, connect, listed, say, wait_until
from ddfs_parts.endurance import endure
from ddfs_parts.lookups import Network
from ddfs_parts.processes import Growth, cpu_s
from ddfs_parts.rebuild import NODES as REBUILD_NODES
from ddfs_parts.rebuild import measure_rebuild

from peerdisco.client import Cluster
from peerdisco.demo.nodes import HOST, DaemonProcess, daemons
from peerdisco.host.ports import free_ports
from peerdisco_dht.movement import shares_of
from peerdisco_dht.placement import Candidate, place

PARTS = (
    "put", "get", "tls", "append", "tags", "placement", "lookup", "endurance", "rebuild",
)  # fmt: skip
KEYS = (
    "fsync_ms_p50",
    "acked",
    "lost",
    "doubled",
    "put_mb_s",
    "put_cpu_s_per_gib",
    "get_mb_s",
    "get_tls_mb_s",
    "get_cpu_s_per_gib",
    "get_tls_cpu_s_per_gib",
    "rss_growth_mb",
    "append_p50_ms",
    "append_hot_per_s",
    "append_many_per_s",
    "list_100k_s",
    "resolve_10k_ms",
    "fullest_over_mean",
    "lookup_true_pct",
    "lookup_p95_ms",
    "unlinearizable",
    "rebuild_mb_s",
    "rebuild_peers",
    "rebuild_of_disk_pct",
)
SUMMED = ("acked", "lost", "doubled")
LARGEST = ("rss_growth_mb",)
MIB, GIB = 1 << 20, 1 << 30
REPLICAS = 3
READ_BYTES = 1 << 20
LOOKUP_NODES, LOOKUPS = 1000, 150
REBUILD_BLOB_BYTES = 4 << 20
CLIENT_MARK = "PEERDISCO="


def measure_fsync(root: Path) -> Figures:
    times = []
    with (root / "probe").open("wb", buffering=0) as file:
        for _ in range(60):
            file.write(bytes(4096))
            began = time.perf_counter()
            os.fsync(file.fileno())
            times.append(1000 * (time.perf_counter() - began))
    say(f"fsync of 4 KiB: p50 {statistics.median(times):.2f} ms")
    return {"fsync_ms_p50": statistics.median(times)}


def use_memory(path: Path, size: int) -> None:
    """Let the page cache grow by that much and shrink again; see the top of this file."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with path.open("wb") as file:
        for _ in range(min(size, memory // 2) // MIB):
            file.write(bytes(MIB))
    path.unlink()


def random_file(path: Path, size: int) -> Path:
    """A file that no zero-run or repeated block makes easier than real data."""
    rng = random.Random(size)
    with path.open("wb") as file:
        for _ in range(size // MIB):
            file.write(rng.randbytes(MIB))
    return path


def make_new(path: Path) -> None:
    """Change the beginning of a file, so that nobody holds it yet."""
    with path.open("r+b") as file:
        file.write(os.urandom(READ_BYTES))


def settled(cluster: Cluster, blobs: int) -> bool:
    layout = cluster.layout()
    return not layout.moving and all(node.blobs >= blobs for node in layout.nodes)


def measure_put(
    nodes: list[DaemonProcess], cluster: Cluster, source: Path, repeat: int
) -> tuple[str, Figures]:
    """Puts of new content; the id of the last blob."""
    size = source.stat().st_size
    pids = [node.pid for node in nodes]
    rates, costs, grown = [], [], 0.0
    for _ in range(repeat):
        make_new(source)
        before_blobs = max(0, min(node.blobs for node in cluster.layout().nodes))
        with Growth([*pids, os.getpid()]) as growth:
            cpu, began = cpu_s(pids), time.perf_counter()
            blob = cluster.put_blob(lambda: source.open("rb"), replicas=REPLICAS)
            seconds = time.perf_counter() - began
            wait_until(lambda: settled(cluster, before_blobs + 1), "every node has its copy")  # noqa: B023 - called at once
            cpu = cpu_s(pids) - cpu
        rates.append(size / 1e6 / seconds)
        costs.append(cpu / (size / GIB) / REPLICAS)
        grown = max(grown, growth.mb)
    say(f"put {size / MIB:.0f} MiB: {listed(rates)} MB/s until two copies were synced, "
        f"{listed(costs, 2)} CPU-s per GiB and replica; growth {grown:.0f} MiB")  # fmt: skip
    return blob.id, {
        "put_mb_s": statistics.median(rates),
        "put_cpu_s_per_gib": statistics.median(costs),
        "rss_growth_mb": grown,
    }


def measure_get(
    nodes: list[DaemonProcess], cluster: Cluster, blob: str, kind: str, repeat: int
) -> Figures:
    """Reads of a blob from a node that holds it, whichever the client prefers by now."""
    rates, costs, grown = [], [], 0.0
    buffer = memoryview(bytearray(READ_BYTES))
    pids = [*(node.pid for node in nodes), os.getpid()]
    for _ in range(repeat):
        with Growth(pids) as growth:
            cpu, began, size = cpu_s(pids), time.perf_counter(), 0
            with cluster.open_blob(blob) as file:
                while count := file.raw.readinto(buffer):
                    size += count
            seconds = time.perf_counter() - began
            cpu = cpu_s(pids) - cpu
        rates.append(size / 1e6 / seconds)
        costs.append(cpu / (size / GIB))
        grown = max(grown, growth.mb)
    say(f"{kind}: {listed(rates)} MB/s, {listed(costs, 2)} CPU-s per GiB, both ends; "
        f"growth {grown:.0f} MiB")  # fmt: skip
    return {
        f"{kind}_mb_s": statistics.median(rates),
        f"{kind}_cpu_s_per_gib": statistics.median(costs),
        "rss_growth_mb": grown,
    }


@contextmanager
def tls_node(root: Path) -> Iterator[tuple[DaemonProcess, Cluster]]:
    """A node of its own that listens on all addresses, and so serves clients with TLS."""
    peer, port = free_ports(HOST, 2)
    options = ("--advertise", f"{HOST}:{peer}", "--http", f"0.0.0.0:{port}")
    node = DaemonProcess(root, "tls", options)
    node.start()
    try:
        wait_until(lambda: CLIENT_MARK in node.tail(), "a client string")
        client = node.tail().partition(CLIENT_MARK)[2].split()[0]
        yield node, connect(client)
    finally:
        node.stop()


def measure_placement() -> Figures:
    worst = 0.0
    for count in (10, 50, 200):
        nodes = [Candidate(f"{number:032}", "", 1) for number in range(count)]
        shares = shares_of(place(nodes, REPLICAS))
        worst = max(worst, max(shares.values()) / (sum(shares.values()) / count))
    say(f"placement on 10, 50 and 200 nodes: fullest over mean {worst:.3f}")
    return {"fullest_over_mean": worst}


def measure_lookups() -> Figures:
    share, p95_s = Network(LOOKUP_NODES, 7).measure(0.3, LOOKUPS)
    say(f"lookups, {LOOKUP_NODES} nodes, 30 % dead: {share:.1f} % true, p95 {1000 * p95_s:.0f} ms")
    return {"lookup_true_pct": share, "lookup_p95_ms": 1000 * p95_s}


def measure_endurance(appends: int, seed: int) -> Figures:
    """Appends under partitions, crashes and epoch changes."""
    endured = endure(appends, seed, say)
    if endured is None:
        return {}
    faults = ", ".join(f"{count} {kind}" for kind, count in sorted(endured.faults.items()))
    say(f"endurance: {endured.acked} appends acknowledged in {endured.seconds:.0f} s, "
        f"{endured.unknown} unanswered, {endured.reads} reads; {faults}; {endured.epochs} epochs; "
        f"{endured.lost} lost, {endured.doubled} doubled, "
        f"{len(endured.wrong)} histories of {endured.tags} not linearizable")  # fmt: skip
    for why in endured.wrong:
        say(f"  {why}")
    return {
        "acked": endured.acked,
        "lost": endured.lost,
        "doubled": endured.doubled,
        "unlinearizable": len(endured.wrong),
    }


def measure_loss(root: Path, megabytes: int) -> Figures:
    """One of ten nodes is lost."""
    with daemons(root, REBUILD_NODES) as nodes:
        count = megabytes * MIB // REBUILD_BLOB_BYTES
        rebuilt = measure_rebuild(nodes, connect, count, REBUILD_BLOB_BYTES, say)
    return {
        "rebuild_mb_s": rebuilt.mb_s,
        "rebuild_peers": rebuilt.peers,
        "rebuild_of_disk_pct": 100 * rebuilt.mb_s / rebuilt.disk_mb_s,
    }


def merge(into: Figures, found: Figures) -> None:
    """Add figures: of some the sum counts, of the growth of memory the largest."""
    for key, value in found.items():
        known = into.get(key)
        if known is not None and value is not None and key in (*SUMMED, *LARGEST):
            into[key] = known + value if key in SUMMED else max(known, value)
        else:
            into[key] = value


def on_daemons(root: Path, parts: list[str], options: argparse.Namespace) -> Figures:
    """The parts that need the three daemons."""
    figures: Figures = {}
    repeat = options.repeat
    size = options.megabytes * MIB
    source = random_file(root / "source", size) if "put" in parts else None
    use_memory(root / "unused", (REPLICAS + 2) * size if source else 0)
    with daemons(root, 3) as nodes:
        cluster = connect(nodes[0].http)
        wait_until(lambda: len(cluster.layout().nodes) == 3 and settled(cluster, 0), "a layout")
        if source is not None:
            blob, found = measure_put(nodes, cluster, source, repeat)
            merge(figures, found)
            if "get" in parts:
                merge(figures, measure_get(nodes, cluster, blob, "get", repeat))
        if "append" in parts:
            merge(figures, measure_appends(nodes, options.seconds, repeat))
        if "tags" in parts:
            merge(figures, measure_tags(nodes, options.tags, repeat))
        if "tls" in parts and source is not None:
            with tls_node(root) as (node, client):
                stored = client.put_blob(lambda: source.open("rb"))
                merge(figures, measure_get([node], client, stored.id, "get_tls", repeat))
    return figures


def measure(parts: list[str], options: argparse.Namespace) -> Figures:
    """All parts that were asked for, each alone on the machine."""
    figures: Figures = dict.fromkeys(KEYS)
    if "placement" in parts:
        merge(figures, measure_placement())
    if "lookup" in parts:
        merge(figures, measure_lookups())
    if any(part in parts for part in ("put", "get", "tls", "append", "tags")):
        if "get" in parts or "tls" in parts:
            parts.append("put")
        with tempfile.TemporaryDirectory(dir=options.root) as directory:
            merge(figures, measure_fsync(Path(directory)))
            merge(figures, on_daemons(Path(directory), parts, options))
    if "endurance" in parts:
        merge(figures, measure_endurance(options.appends, options.seed))
    if "rebuild" in parts:
        with tempfile.TemporaryDirectory(dir=options.root) as directory:
            merge(figures, measure_loss(Path(directory), options.rebuild_megabytes))
    return figures


def main() -> None:
    """Measure, and say so."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", default=",".join(PARTS), help="comma-separated parts")
    parser.add_argument("--repeat", type=int, default=3, help="measurements of which the median")
    parser.add_argument("--megabytes", type=int, default=1024, help="size of the blob")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each append measurement")
    parser.add_argument("--tags", type=int, default=100_000, help="tags to create and list")
    parser.add_argument(
        "--appends", type=int, default=50_000, help="to have acknowledged in faults"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the faults")
    parser.add_argument("--rebuild-megabytes", type=int, default=1600, help="on ten nodes")
    parser.add_argument("--root", type=Path, help="where the daemons keep their data")
    options = parser.parse_args()
    parts = options.only.split(",")
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        sys.exit(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    cores, version = os.cpu_count(), platform.python_version()
    say(f"load {os.getloadavg()[0]:.1f} on {cores} cores, Python {version}")
    figures = measure(parts, options)
    say(f"load {os.getloadavg()[0]:.1f}")
    rounded: dict[str, Any] = {k: None if v is None else round(v, 3) for k, v in figures.items()}
    print(json.dumps(rounded))


if __name__ == "__main__":
    main()
