"""Raft: throughput, latency, fail-over and idle cost, on three real processes on loopback.

    python benchmarks/raft.py [--rounds 3] [--seconds 3] [--kills 20] [--idle 15] [--no-planted]

Each node runs `Groups` over the links, datagrams and store of the product, with mutual TLS and with
every acknowledgement synced to disk. PySyncObj, if it is installed, takes turns with it in the same
run, as it is and patched to sync. Install it into the environment that runs this with

    uv pip install --group bench        or        pip install 'pysyncobj==0.3.*'

Figures are medians over the rounds. The last line is one JSON object; PySyncObj's figures are null
when it is absent. Parts: `raft_parts/`.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from raft_parts.children import Answer, Child, ask_all

HERE = Path(__file__).parent
ROOT = HERE.parent
ROOMS = (".", "gossip", "election")
NODES = 3
GROUPS = 100
IDLE_GROUPS = 1000
SETTLE_S = 1.0
FAILOVER_TIMEOUT_S = 20.0


class Cluster:
    """Three nodes of ours."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._common: Answer = {
            "keys": [os.urandom(32).hex() for _ in range(NODES)],
            "secret": os.urandom(32).hex(),
            "ports": free_ports(NODES),
        }
        self._starts = [0] * NODES
        self.nodes = [self._start(number) for number in range(NODES)]
        for node in self.nodes:
            node.answer()

    def form(self, names: list[str], leader: int) -> None:
        followers = [node for number, node in enumerate(self.nodes) if number != leader]
        ask_all(followers, "form", names=names, leader=leader)
        self.nodes[leader].ask("form", names=names, leader=leader)

    def form_spread(self, prefix: str, count: int) -> None:
        for leader in range(NODES):
            self.form([f"{prefix}{number}" for number in range(leader, count, NODES)], leader)

    def restart(self, number: int) -> None:
        self.nodes[number] = self._start(number)
        self.nodes[number].answer()

    def settle(self, prefix: str, groups: int) -> int:
        """Wait until all nodes agree and have everything; returns who leads (of one group)."""
        deadline = time.monotonic() + FAILOVER_TIMEOUT_S
        while time.monotonic() < deadline:
            views = ask_all(self.nodes, "leads", prefix=prefix)
            leads = [view["leads"] for view in views]
            if sum(leads) == groups and all(view["current"] == groups for view in views):
                return leads.index(max(leads))
            time.sleep(0.05)
        raise SystemExit(f"the groups did not settle: {views}")

    def stop(self) -> None:
        for node in self.nodes:
            node.stop()

    def _start(self, number: int) -> Child:
        home = self._directory / str(number)
        home.mkdir(exist_ok=True)
        self._starts[number] += 1
        settings = self._common | {
            "number": number,
            "directory": str(home),
            "generation": self._starts[number],
        }
        paths = os.pathsep.join(str(ROOT / room) for room in ROOMS)
        log = self._directory / f"{number}.log"
        inherited = os.environ.get("PYTHONPATH", "")
        return Child(
            HERE / "raft_parts" / "peerdisco_node.py",
            settings,
            log,
            {"PYTHONPATH": os.pathsep.join(filter(None, (paths, inherited)))},
        )


@contextmanager
def cluster(root: Path) -> Iterator[Cluster]:
    directory = Path(tempfile.mkdtemp(dir=root))
    running = Cluster(directory)
    try:
        yield running
    finally:
        running.stop()
        shutil.rmtree(directory)


def one_group(root: Path, seconds: float) -> dict[str, float]:
    """One group: one proposal at a time, bare store commits between, then 256 outstanding."""
    with cluster(root) as ours:
        ours.form(["one"], 0)
        ours.settle("one", 1)
        leader = ours.nodes[0]
        syncs = leader.ask("syncs", count=100)["latencies_ms"]
        single: list[float] = []
        commit: list[float] = []
        for _ in range(3):
            commit.append(leader.ask("commits", seconds=seconds / 6)["latencies_ms"]["p50"])
            answer = leader.ask("load", prefix="one", window=1, seconds=seconds / 3)
            single.append(answer["latencies_ms"]["p50"])
        load = leader.ask("load", prefix="one", window=256, seconds=seconds)
        return {
            "fdatasync_ms": syncs["p50"],
            "commit_ms": statistics.median(commit),
            "fsync_ms_p50": statistics.median(single),
            "one_at_a_time_over_commit_ms": statistics.median(single) - statistics.median(commit),
            "fsync_ops_w256": rate(load),
            "w256_ms_p50": load["latencies_ms"]["p50"],
            "w256_ms_p99": load["latencies_ms"]["p99"],
            "leader_cpu_us_per_op": 1e6 * load["cpu_s"] / load["operations"],
        }


def many_groups(root: Path, seconds: float) -> dict[str, float]:
    """A hundred groups, led by all nodes alike, with 256 outstanding proposals in each."""
    with cluster(root) as ours:
        ours.form_spread("many", GROUPS)
        ours.settle("many", GROUPS)
        answers = ask_all(ours.nodes, "load", prefix="many", window=256, seconds=seconds)
        ours.settle("many", GROUPS)
        terms = ours.nodes[0].ask("leads", prefix="many")["terms"]
        return {
            "fsync_ops_100_groups": sum(rate(answer) for answer in answers),
            "elections_100_groups": terms - GROUPS,
        }


def fail_over(root: Path, kills: int) -> dict[str, float]:
    """kill -9 of the leader until a survivor has committed its first entry."""
    took: list[float] = []
    with cluster(root) as ours:
        ours.form(["failover"], 0)
        for _ in range(kills):
            leader = ours.settle("failover", 1)
            ours.nodes[leader].ask("warm", name="failover")
            time.sleep(SETTLE_S)
            survivors = [node for number, node in enumerate(ours.nodes) if number != leader]
            for node in survivors:
                node.tell("await_leadership", name="failover", timeout=FAILOVER_TIMEOUT_S)
            killed_at = ours.nodes[leader].kill()
            took.append(first_commit(survivors) - killed_at)
            ours.restart(leader)
    took_ms = sorted(1e3 * one for one in took)
    return {
        "failover_ms_p50": statistics.median(took_ms),
        "failover_ms_p90": took_ms[min(len(took_ms) - 1, len(took_ms) * 9 // 10)],
        "failover_ms_max": took_ms[-1],
    }


def first_commit(survivors: list[Child]) -> float:
    """When the first survivor had committed; the other is let off."""
    for node in itertools.cycle(survivors):
        answer = node.poll(0.005)
        if answer is None:
            continue
        if answer["committed_at"] is None:
            raise SystemExit("nobody took over")
        for other in survivors:
            if other is not node:
                other.tell("stand_down")
                other.answer()
                other.answer()
        return float(answer["committed_at"])
    raise AssertionError


def idle(root: Path, seconds: float) -> dict[str, float]:
    """A thousand groups of three that nobody talks to."""
    with cluster(root) as ours:
        before = ask_all(ours.nodes, "usage")
        began = time.monotonic()
        ours.form_spread("idle", IDLE_GROUPS)
        ours.settle("idle", IDLE_GROUPS)
        formed = time.monotonic() - began
        time.sleep(2.0)
        started, first = time.monotonic(), ask_all(ours.nodes, "usage")
        time.sleep(seconds)
        last = ask_all(ours.nodes, "usage")
        took = time.monotonic() - started
        elections = ours.nodes[0].ask("leads", prefix="idle")["terms"] - IDLE_GROUPS
    cpu = [100 * (b["cpu_s"] - a["cpu_s"]) / took for a, b in zip(first, last, strict=True)]
    grown = [b["rss_mb"] - a["rss_mb"] for a, b in zip(before, last, strict=True)]
    return {
        "idle_1000_cpu_pct": max(cpu),
        "idle_1000_mb": max(grown),
        "idle_1000_formed_s": formed,
        "idle_1000_elections": elections,
    }


def pysyncobj(root: Path, seconds: float, *, synced: bool) -> float:
    """Proposals a second of PySyncObj with 256 outstanding on its leader."""
    directory = Path(tempfile.mkdtemp(dir=root))
    addresses = [f"127.0.0.1:{port}" for port in free_ports(NODES)]
    nodes = []
    for number in range(NODES):
        home = directory / str(number)
        home.mkdir()
        settings = {
            "number": number,
            "addresses": addresses,
            "directory": str(home),
            "synced": synced,
        }
        program = HERE / "raft_parts" / "pysyncobj_node.py"
        nodes.append(Child(program, settings, directory / f"{number}.log", {}))
    try:
        for node in nodes:
            node.answer()
        deadline = time.monotonic() + FAILOVER_TIMEOUT_S
        leading: list[Child] = []
        while not leading:
            if time.monotonic() > deadline:
                raise SystemExit("PySyncObj elected no leader")
            time.sleep(0.1)
            leading = [node for node in nodes if node.ask("leads")["leads"]]
        time.sleep(SETTLE_S)
        return rate(leading[0].ask("load", window=256, seconds=seconds))
    finally:
        for node in nodes:
            node.kill()
        shutil.rmtree(directory)


def planted() -> dict[str, int]:
    """How many of the standing gate's planted bugs the suite finds, by running that gate."""
    gate = ROOT / "tests" / "election" / "test_planted_bugs.py"
    command = [sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider", gate]
    out = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    killed = sum(map(int, re.findall(r"(\d+) passed", out)))
    missed = sum(map(int, re.findall(r"(\d+) failed", out)))
    return {"planted": killed + missed, "planted_killed": killed}


def rate(answer: Answer) -> float:
    return float(answer["operations"] / answer["seconds"])


def free_ports(count: int) -> list[int]:
    """Ports free for TCP and UDP at the moment."""
    found: list[int] = []
    while len(found) < count:
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            tcp.bind(("127.0.0.1", 0))
            port = tcp.getsockname()[1]
            try:
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
            found.append(port)
    return found


def median(rounds: list[dict[str, float]]) -> dict[str, float]:
    return {key: statistics.median(each[key] for each in rounds) for key in rounds[0]}


def compare(root: Path, rounds: int, seconds: float) -> dict[str, Any]:
    """Everything that is measured side by side, interleaved."""
    has_peer = importlib.util.find_spec("pysyncobj") is not None
    if not has_peer:
        print("PySyncObj is not installed: uv pip install --group bench, or pip install pysyncobj")
    ours: list[dict[str, float]] = []
    unsynced: list[float] = []
    synced: list[float] = []
    for number in range(1, rounds + 1):
        figures = one_group(root, seconds)
        if has_peer:
            unsynced.append(pysyncobj(root, seconds, synced=False))
            synced.append(pysyncobj(root, seconds, synced=True))
            figures["pysyncobj_unsynced_w256"] = unsynced[-1]
            figures["pysyncobj_synced_w256"] = synced[-1]
        figures |= many_groups(root, seconds)
        ours.append(figures)
        print(f"round {number}: {short(figures)}", flush=True)
    result: dict[str, Any] = {"pysyncobj_unsynced_w256": None, "pysyncobj_synced_w256": None}
    return result | median(ours)


def short(figures: dict[str, Any]) -> dict[str, Any]:
    return {
        key: round(value, 2) if isinstance(value, float) else value
        for key, value in figures.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--idle", type=float, default=15.0)
    parser.add_argument("--planted", action=argparse.BooleanOptionalAction, default=True)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="raft-bench-") as name:
        root = Path(name)
        figures = compare(root, arguments.rounds, arguments.seconds)
        if arguments.kills:
            took = fail_over(root, arguments.kills)
            figures |= took
            print(f"fail-over: {short(took)}", flush=True)
        if arguments.idle:
            figures |= idle(root, arguments.idle)
    if arguments.planted:
        figures |= planted()
    print(json.dumps(short(figures)))


if __name__ == "__main__":
    main()
