"""Appends to tags from many clients, each one at a time; listing tags; resolving a large one."""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Callable

from ddfs_parts.common import Figures, connect, listed, say
from ddfs_parts.processes import cpu_s

from peerdisco.client import Cluster
from peerdisco.demo.nodes import DaemonProcess
from peerdisco.errors import PeerdiscoError

HOT_THREADS, MANY_THREADS = 32, 128

Append = Callable[[Cluster, int, int], None]
"""Appends once, given a client, the number of a thread and a number within it."""
ClusterOf = Callable[[int], Cluster]
"""The client of a thread, by its number."""


def hammer(
    cluster_of: ClusterOf, threads: int, seconds: float, limit: int, append: Append
) -> tuple[list[tuple[int, int]], float]:
    """Appends from many threads at once: those acknowledged, and the time that it took."""
    acked: list[tuple[int, int]] = []
    deadline = time.perf_counter() + seconds

    def work(thread: int) -> None:
        cluster = cluster_of(thread)
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


def spread(nodes: list[DaemonProcess]) -> ClusterOf:
    """Clients that each prefer one node, all nodes alike."""
    return lambda number: connect(nodes[number % len(nodes)].http)


def cpu_of_all(nodes: list[DaemonProcess]) -> tuple[float, float]:
    """CPU seconds of the daemons and of this client."""
    return cpu_s([node.pid for node in nodes]), cpu_s([os.getpid()])


def each_ms(before: tuple[float, float], nodes: list[DaemonProcess], count: int) -> str:
    """CPU of the daemons and of this client for each of so many operations."""
    daemons_ms, client_ms = (
        1000 * (now - was) / max(1, count)
        for now, was in zip(cpu_of_all(nodes), before, strict=True)
    )
    return f"CPU ms each: {daemons_ms:.2f} of the daemons, {client_ms:.2f} of the client"


def measure_appends(nodes: list[DaemonProcess], seconds: float, repeat: int) -> Figures:
    """One at a time, then all on one tag, and again while a node is killed and comes back."""
    cluster = connect(nodes[0].http)
    times = []
    for number in range(200):
        began = time.perf_counter()
        cluster.append(f"bench:calm:{number % 4}", [[f"raw://{number}"]], brief=True)
        times.append(1000 * (time.perf_counter() - began))
    say(f"append, one at a time: p50 {statistics.median(times):.1f} ms")

    acked: dict[str, list[tuple[int, int]]] = {}
    rates = []
    cpu = cpu_of_all(nodes)
    for turn in range(repeat):
        name = f"bench:hot:{turn}"
        acked[name], took = hammer(spread(nodes), HOT_THREADS, seconds, 10**9, append_to(name))
        rates.append(len(acked[name]) / took)
    say(f"append, {HOT_THREADS} clients on one tag: {listed(rates)}/s, "
        f"{each_ms(cpu, nodes, sum(map(len, acked.values())))}")  # fmt: skip

    killer = threading.Thread(target=kill_and_restart, args=(nodes[2], seconds / 3))
    killer.start()
    name = "bench:storm"
    acked[name], took = hammer(spread(nodes), HOT_THREADS, seconds, 10**9, append_to(name))
    killer.join()
    nodes[2].wait_ready(members=3)
    say(f"with a node killed and started again: {len(acked[name]) / took:.0f}/s")
    figures: Figures = {"append_p50_ms": statistics.median(times)}
    figures["append_hot_per_s"] = statistics.median(rates)
    figures.update(compare(cluster, acked))
    return figures


def append_to(name: str) -> Append:
    """Appends of unique values to one tag."""

    def append(cluster: Cluster, thread: int, number: int) -> None:
        cluster.append(name, [[f"raw://{thread}/{number}"]], brief=True)

    return append


def compare(cluster: Cluster, acked: dict[str, list[tuple[int, int]]]) -> Figures:
    """What was acknowledged with what is there."""
    lost = doubled = 0
    for tag, sent in acked.items():
        found = [urls[0] for urls in cluster.tag(tag).urls]
        known = dict.fromkeys(found)
        lost += sum(f"raw://{thread}/{number}" not in known for thread, number in sent)
        doubled += len(found) - len(known)
    total = sum(map(len, acked.values()))
    say(f"{total} acknowledged, {lost} lost, {doubled} doubled")
    return {"acked": total, "lost": lost, "doubled": doubled}


def kill_and_restart(node: DaemonProcess, pause_s: float) -> None:
    time.sleep(pause_s)
    node.kill()
    time.sleep(pause_s)
    node.start()


def measure_tags(nodes: list[DaemonProcess], count: int, repeat: int) -> Figures:
    """Many small tags, listing them, and one tag of ten thousand blobs."""
    rates = []
    for turn in range(repeat):

        def many(cluster: Cluster, thread: int, number: int) -> None:
            cluster.append(f"many:{turn}:{thread:03}:{number:06}", [["raw://x"]], brief=True)  # noqa: B023 - called within the turn

        cpu = cpu_of_all(nodes)
        acked, took = hammer(spread(nodes), MANY_THREADS, 900.0, count // repeat, many)
        rates.append(len(acked) / took)
        say(f"append over many tags: {rates[-1]:.0f}/s ({len(acked)} new tags in {took:.0f} s), "
            f"{each_ms(cpu, nodes, len(acked))}")  # fmt: skip
    cluster = connect(nodes[0].http)
    began = time.perf_counter()
    names, after = 0, ""
    while True:
        page = cluster.tags(prefix="many:", after=after, limit=10_000)
        names += len(page.names)
        if not (after := page.next):
            break
    seconds = time.perf_counter() - began
    say(f"listing {names} tags: {seconds:.2f} s")
    scaled = seconds * 100_000 / max(1, names)
    blobs = [[f"raw://{number:064x}"] for number in range(10_000)]
    cluster.replace("bench:large", blobs)
    times = []
    for _ in range(7):
        began = time.perf_counter()
        assert len(cluster.tag("bench:large").urls) == len(blobs)
        times.append(1000 * (time.perf_counter() - began))
    say(f"resolving a tag of 10,000 entries: {statistics.median(times):.0f} ms")
    return {
        "append_many_per_s": statistics.median(rates),
        "list_100k_s": scaled,
        "resolve_10k_ms": statistics.median(times),
    }
