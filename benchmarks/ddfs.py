"""DDFS in figures: three real daemons on loopback, one client, R=3, two synced acknowledgements.

    make bench NAME=ddfs                                 all of it, about four minutes
    make bench NAME=ddfs ARGS="--only put,get --megabytes 4096"
    make bench NAME=ddfs ARGS="--root /fast/disk"        where the daemons keep their data

Parts: put, get, tls, append, tags, placement, lookup. A line for each measurement; the last line is
one JSON object, with null for what was not measured. The client and all daemons share this machine,
so CPU seconds per GiB tell more than wall times do, and a busy machine shows in both. A virtual
machine pays once for every page of memory that it never used before (2 CPU seconds per GiB were
seen), so as much page cache as the blob will need is used, and given back, beforehand.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ddfs_parts.lookups import Network
from ddfs_parts.processes import Growth, cpu_s

from peerdisco.client import Cluster
from peerdisco.client.session import Session
from peerdisco.client.target import parse_target
from peerdisco.demo.nodes import HOST, DaemonProcess, daemons, free_ports
from peerdisco.errors import PeerdiscoError
from peerdisco_dht.movement import shares_of
from peerdisco_dht.placement import Candidate, place

PARTS = ("put", "get", "tls", "append", "tags", "placement", "lookup")
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
)
MIB, GIB = 1 << 20, 1 << 30
REPLICAS = 3
READ_BYTES = 1 << 20
GETS = 3
HOT_THREADS, MANY_THREADS = 32, 128
LOOKUP_NODES, LOOKUPS = 1000, 150
SETTLE_S = 120.0
CLIENT_MARK = "PEERDISCO="

Figures = dict[str, float | None]
Append = Callable[[Cluster, int, int], None]
"""Appends once, given a client, the number of a thread and a number within it."""


def connect(address: str) -> Cluster:
    return Cluster(Session(parse_target(address)))


def say(text: str) -> None:
    print(text, flush=True)


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
    with path.open("wb") as file:
        for _ in range(size // MIB):
            file.write(bytes(MIB))
    path.unlink()


def random_file(path: Path, size: int) -> Path:
    """A file that no zero-run or repeated block makes easier than real data."""
    rng = random.Random(size)
    with path.open("wb") as file:
        for _ in range(size // MIB):
            file.write(rng.randbytes(MIB))
    return path


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SETTLE_S
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"not within {SETTLE_S:.0f} s: {what}")
        time.sleep(0.1)


def settled(cluster: Cluster, blobs: int) -> bool:
    layout = cluster.layout()
    return not layout.moving and all(node.blobs >= blobs for node in layout.nodes)


def measure_put(nodes: list[DaemonProcess], cluster: Cluster, source: Path) -> tuple[str, Figures]:
    size = source.stat().st_size
    pids = [node.pid for node in nodes]
    before_blobs = max(0, min(node.blobs for node in cluster.layout().nodes))
    with Growth(pids) as growth:
        cpu, began = cpu_s(pids), time.perf_counter()
        blob = cluster.put_blob(lambda: source.open("rb"), replicas=REPLICAS)
        seconds = time.perf_counter() - began
        wait_until(lambda: settled(cluster, before_blobs + 1), "every node has its copy")
        cpu = cpu_s(pids) - cpu
    rate, per_gib = size / 1e6 / seconds, cpu / (size / GIB) / REPLICAS
    say(f"put {size / MIB:.0f} MiB: {rate:.0f} MB/s until two copies were synced, "
        f"{per_gib:.2f} CPU-s per GiB and replica, growth {growth.mb:.0f} MiB")  # fmt: skip
    figures: Figures = {"put_mb_s": rate, "put_cpu_s_per_gib": per_gib, "rss_growth_mb": growth.mb}
    return blob.id, figures


def measure_get(node: DaemonProcess, cluster: Cluster, blob: str, kind: str) -> Figures:
    """The best of a few reads of a blob from a node that holds it."""
    rates, costs, grown = [], [], 0.0
    buffer = memoryview(bytearray(READ_BYTES))
    for _ in range(GETS):
        with Growth([node.pid]) as growth:
            cpu, began, size = cpu_s([node.pid, os.getpid()]), time.perf_counter(), 0
            with cluster.open_blob(blob) as file:
                while count := file.raw.readinto(buffer):  # type: ignore[attr-defined]  # a RawIOBase
                    size += count
            seconds = time.perf_counter() - began
            cpu = cpu_s([node.pid, os.getpid()]) - cpu
        rates.append(size / 1e6 / seconds)
        costs.append(cpu / (size / GIB))
        grown = max(grown, growth.mb)
    say(f"{kind}: {max(rates):.0f} MB/s (of {', '.join(f'{rate:.0f}' for rate in rates)}), "
        f"{min(costs):.2f} CPU-s per GiB, both ends; growth {grown:.0f} MiB")  # fmt: skip
    return {f"{kind}_mb_s": max(rates), f"{kind}_cpu_s_per_gib": min(costs), "rss_growth_mb": grown}


@contextmanager
def tls_node(root: Path) -> Iterator[tuple[DaemonProcess, Cluster]]:
    """A node of its own that listens on all addresses, and so serves clients with TLS."""
    peer, port = free_ports(2)
    options = ("--advertise", f"{HOST}:{peer}", "--http", f"0.0.0.0:{port}")
    node = DaemonProcess(root, "tls", options)
    node.start()
    try:
        wait_until(lambda: CLIENT_MARK in node.tail(), "a client string")
        client = node.tail().partition(CLIENT_MARK)[2].split()[0]
        yield node, connect(client)
    finally:
        node.stop()


def hammer(
    cluster_of: Callable[[], Cluster], threads: int, seconds: float, limit: int, append: Append
) -> tuple[list[tuple[int, int]], float]:
    """Appends from many threads at once: those acknowledged, and the time that it took."""
    acked: list[tuple[int, int]] = []
    deadline = time.perf_counter() + seconds

    def work(thread: int) -> None:
        cluster = cluster_of()
        number = 0
        while time.perf_counter() < deadline and len(acked) < limit:
            try:
                append(cluster, thread, number)
            except PeerdiscoError as error:
                say(f"not acknowledged: {error}")
            else:
                acked.append((thread, number))
            number += 1

    began = time.perf_counter()
    workers = [threading.Thread(target=work, args=(thread,)) for thread in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return acked, time.perf_counter() - began


def costs(before: tuple[float, float], pids: list[int], count: int) -> str:
    """CPU of the daemons and of this client for each of so many operations."""
    daemons_ms = 1000 * (cpu_s(pids) - before[0]) / max(1, count)
    client_ms = 1000 * (cpu_s([os.getpid()]) - before[1]) / max(1, count)
    return f"CPU ms each: {daemons_ms:.2f} of the daemons, {client_ms:.2f} of the client"


def measure_appends(nodes: list[DaemonProcess], seconds: float) -> Figures:
    """One at a time, then all on one tag while a node is killed and comes back."""
    cluster = connect(nodes[0].http)
    times = []
    for number in range(200):
        began = time.perf_counter()
        cluster.append(f"bench:calm:{number % 4}", [[f"raw://{number}"]], brief=True)
        times.append(1000 * (time.perf_counter() - began))
    say(f"append, one at a time: p50 {statistics.median(times):.1f} ms")

    def hot(cluster: Cluster, thread: int, number: int) -> None:
        cluster.append("bench:hot", [[f"raw://{thread}/{number}"]], brief=True)

    pids = [node.pid for node in nodes]
    cpu = cpu_s(pids), cpu_s([os.getpid()])
    acked, took = hammer(lambda: connect(nodes[0].http), HOT_THREADS, seconds, 10**9, hot)
    rate = len(acked) / took
    say(f"append, {HOT_THREADS} threads on one tag: {rate:.0f}/s, {costs(cpu, pids, len(acked))}")

    def stormy(cluster: Cluster, thread: int, number: int) -> None:
        cluster.append("bench:storm", [[f"raw://{thread}/{number}"]], brief=True)

    killer = threading.Thread(target=kill_and_restart, args=(nodes[2], seconds / 3))
    killer.start()
    storm, took = hammer(lambda: connect(nodes[0].http), HOT_THREADS, seconds, 10**9, stormy)
    killer.join()
    nodes[2].wait_ready(members=3)
    lost = doubled = 0
    for tag, sent in (("bench:hot", acked), ("bench:storm", storm)):
        found = [urls[0] for urls in cluster.tag(tag).urls]
        known = dict.fromkeys(found)
        lost += sum(f"raw://{thread}/{number}" not in known for thread, number in sent)
        doubled += len(found) - len(known)
    say(f"with a node killed and started again: {len(storm) / took:.0f}/s; "
        f"{len(acked) + len(storm)} acknowledged, {lost} lost, {doubled} doubled")  # fmt: skip
    return {
        "append_p50_ms": statistics.median(times),
        "append_hot_per_s": rate,
        "acked": len(acked) + len(storm),
        "lost": lost,
        "doubled": doubled,
    }


def kill_and_restart(node: DaemonProcess, pause_s: float) -> None:
    time.sleep(pause_s)
    node.kill()
    time.sleep(pause_s)
    node.start()


def measure_tags(nodes: list[DaemonProcess], count: int) -> Figures:
    """Many small tags, listing them, and one tag of ten thousand blobs."""

    def many(cluster: Cluster, thread: int, number: int) -> None:
        cluster.append(f"many:{thread:02}:{number:06}", [["raw://x"]], brief=True)

    pids = [node.pid for node in nodes]
    cpu = cpu_s(pids), cpu_s([os.getpid()])
    acked, took = hammer(lambda: connect(nodes[0].http), MANY_THREADS, 900.0, count, many)
    rate = len(acked) / took
    say(
        f"append over many tags: {rate:.0f}/s ({len(acked)} tags in {took:.0f} s), "
        f"{costs(cpu, pids, len(acked))}"
    )
    cluster = connect(nodes[0].http)
    began = time.perf_counter()
    listed, after = 0, ""
    while True:
        page = cluster.tags(prefix="many:", after=after, limit=10_000)
        listed += len(page.names)
        if not (after := page.next):
            break
    seconds = time.perf_counter() - began
    say(f"listing {listed} tags: {seconds:.2f} s")
    scaled = seconds * 100_000 / max(1, listed)
    blobs = [[f"raw://{number:064x}"] for number in range(10_000)]
    cluster.replace("bench:large", blobs)
    times = []
    for _ in range(7):
        began = time.perf_counter()
        assert len(cluster.tag("bench:large").urls) == len(blobs)
        times.append(1000 * (time.perf_counter() - began))
    say(f"resolving a tag of 10,000 entries: {statistics.median(times):.0f} ms")
    return {
        "append_many_per_s": rate,
        "list_100k_s": scaled,
        "resolve_10k_ms": statistics.median(times),
    }


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


def merge(into: Figures, found: Figures) -> None:
    """Add figures; of the growth of memory the largest counts."""
    for key, value in found.items():
        known = into.get(key)
        largest = key == "rss_growth_mb" and known is not None and value is not None
        into[key] = max(known or 0.0, value or 0.0) if largest else value


def on_daemons(root: Path, parts: list[str], options: argparse.Namespace) -> Figures:
    figures: Figures = {}
    size = options.megabytes * MIB
    source = random_file(root / "source", size) if "put" in parts else None
    use_memory(root / "unused", (REPLICAS + 2) * size if source else 0)
    with daemons(root, 3) as nodes:
        cluster = connect(nodes[0].http)
        wait_until(lambda: len(cluster.layout().nodes) == 3 and settled(cluster, 0), "a layout")
        if source is not None:
            blob, found = measure_put(nodes, cluster, source)
            merge(figures, found)
            if "get" in parts:
                merge(figures, measure_get(nodes[0], cluster, blob, "get"))
        if "append" in parts:
            merge(figures, measure_appends(nodes, options.seconds))
        if "tags" in parts:
            merge(figures, measure_tags(nodes, options.tags))
        if "tls" in parts and source is not None:
            with tls_node(root) as (node, client):
                stored = client.put_blob(lambda: source.open("rb"))
                merge(figures, measure_get(node, client, stored.id, "get_tls"))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", default=",".join(PARTS), help="comma-separated parts")
    parser.add_argument("--megabytes", type=int, default=1024, help="size of the blob")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each append measurement")
    parser.add_argument("--tags", type=int, default=100_000, help="tags to create and list")
    parser.add_argument("--root", type=Path, help="where the daemons keep their data")
    options = parser.parse_args()
    parts = options.only.split(",")
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        sys.exit(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
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
    rounded: dict[str, Any] = {k: None if v is None else round(v, 3) for k, v in figures.items()}
    print(json.dumps(rounded))


if __name__ == "__main__":
    main()
