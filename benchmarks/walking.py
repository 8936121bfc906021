"""The first milestone in figures: the demo again and again, cold start, warm latency, idle cost.

    make bench NAME=walking              all of it (the demo 20 times)
    make bench NAME=walking ARGS="--demos 3"

Every line tells what was measured; the last one is one JSON object. Wall times depend on what else
the machine does: repeat before you rely on one.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from peerdisco.client import Job, result_iterator
from peerdisco.demo import run_demo
from peerdisco.demo.nodes import daemons

EXAMPLE = Path(__file__).parents[1] / "examples" / "wordcount.py"
COLD_RUNS = 5
WARM_UP_JOBS = 5
WARM_JOBS = 50
IDLE_SETTLE_S = 10.0
IDLE_WINDOW_S = 30.0
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


def measure_demos(runs: int) -> dict[str, object]:
    """The demo, with another text order each time it could matter: it is the same text."""
    reports, seconds = [], []
    for number in range(runs):
        began = time.monotonic()
        report = run_demo([], tell=lambda line: None)
        seconds.append(time.monotonic() - began)
        reports.append(report)
        print(
            f"demo {number + 1}/{runs}: exact={report.exact} fail-over {report.failover_s:.2f} s, "
            f"job {report.job_s:.1f} s, whole {seconds[-1]:.1f} s",
            flush=True,
        )
    failovers = sorted(report.failover_s for report in reports)
    return {
        "demo_runs": runs,
        "demo_exact": sum(report.exact for report in reports),
        "failover_s_median": round(statistics.median(failovers), 3),
        "failover_s_worst": round(failovers[-1], 3),
        "demo_s_median": round(statistics.median(seconds), 2),
        "job_s_median": round(statistics.median(report.job_s for report in reports), 2),
    }


def measure_cold_start() -> dict[str, object]:
    """The seed program on an embedded node: start of the process to its end."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PEERDISCO")}
    seconds = []
    for _ in range(COLD_RUNS):
        began = time.monotonic()
        answer = subprocess.run(
            [sys.executable, str(EXAMPLE)], env=environment, capture_output=True, check=True
        )
        seconds.append(time.monotonic() - began)
        assert b"yield 2" in answer.stdout, answer.stdout
    print("cold start of the seed program: " + ", ".join(f"{s:.2f} s" for s in seconds))
    return {"seed_cold_s": round(statistics.median(seconds), 3)}


def measure_three_nodes() -> dict[str, object]:
    """Warm latency and idle cost on a cluster of three daemons."""
    with tempfile.TemporaryDirectory(prefix="peerdisco-bench-") as directory:
        with daemons(Path(directory), 3) as nodes:
            peers = ",".join(node.http for node in nodes)
            latencies = _trivial_jobs(peers)
            time.sleep(IDLE_SETTLE_S)
            rss = max(_resident_mb(node.pid) for node in nodes)
            before = [_cpu_s(node.pid) for node in nodes]
            time.sleep(IDLE_WINDOW_S)
            used = [_cpu_s(node.pid) - b for node, b in zip(nodes, before, strict=True)]
    cpu = max(used) / IDLE_WINDOW_S * 100
    print(f"idle: {rss:.1f} MB resident, {cpu:.2f} % of a core (the worst of three nodes)")
    return {**latencies, "idle_rss_mb": round(rss, 1), "idle_cpu_pct": round(cpu, 2)}


def _trivial_jobs(peers: str) -> dict[str, object]:
    seconds = []
    for number in range(WARM_UP_JOBS + WARM_JOBS):
        began = time.monotonic()
        job = Job("trivial", peer=peers).run(
            input=["raw://one two", "raw://two"],
            map=lambda line, params: [(word, 1) for word in line.split()],
            reduce=lambda pairs, params: [("words", sum(count for _, count in pairs))],
        )
        assert list(result_iterator(job.wait())) == [("words", 3)]
        if number >= WARM_UP_JOBS:
            seconds.append(time.monotonic() - began)
    seconds.sort()
    print(f"trivial job (2 maps, 1 reduce): p50 {seconds[len(seconds) // 2] * 1e3:.1f} ms")
    return {
        "trivial_job_s_median": round(statistics.median(seconds), 4),
        "trivial_job_s_p90": round(seconds[int(len(seconds) * 0.9)], 4),
    }


def _resident_mb(pid: int) -> float:
    """Resident memory of a daemon itself; its warm workers are processes of their own."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--demos", type=int, default=20, help="how often to run the demo")
    options = parser.parse_args()
    figures = {**measure_cold_start(), **measure_three_nodes(), **measure_demos(options.demos)}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
