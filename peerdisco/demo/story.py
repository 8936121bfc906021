"""The demo's course, and the report that it prints."""

from __future__ import annotations

import contextlib
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from peerdisco.client import DDFS, Job, result_iterator
from peerdisco.demo.nodes import DaemonProcess, daemons
from peerdisco.demo.text import write_text
from peerdisco.errors import PeerdiscoError, TimedOut
from peerdisco.util import kvgroup
from peerdisco_webui.messages import JobView

NODES = 3
MAP_TASKS_MIN = 16
REDUCE_TASKS = 4
TAG = "demo:text"
POLL_S = 0.01
KILL_WAIT_S = 60.0
FAILOVER_WAIT_S = 60.0
JOB_TIMEOUT_S = 300.0

Tell = Callable[[str], None]


class DemoReport(msgspec.Struct, frozen=True, kw_only=True):
    """What happened.

    Attributes:
        nodes: Daemons at the start.
        bytes: Size of the text.
        map_tasks: Tasks of the map stage.
        reduce_tasks: Tasks of the reduce stage.
        killed: Name of the node that coordinated the job when it was killed.
        failover_s: From the kill until another coordinator had assigned the next attempt.
        job_s: From submission to the end.
        records: Different words.
        exact: Whether every count equals the plain one.
        ui: The web page of a survivor; answers only with --keep.
    """

    nodes: int
    bytes: int
    map_tasks: int
    reduce_tasks: int
    killed: str
    failover_s: float
    job_s: float
    records: int
    exact: bool
    ui: str


def count_words(line: str, params: object) -> Iterator[tuple[str, int]]:
    """The map function."""
    del params
    for word in line.split():
        yield word, 1


def sum_counts(pairs: Any, params: object) -> Iterator[tuple[str, int]]:
    """The reduce function."""
    del params
    for word, counts in kvgroup(sorted(pairs)):
        yield word, sum(counts)


def run_demo(files: list[Path], tell: Tell, *, keep: bool = False) -> DemoReport:
    """Run the demo, telling its story line by line.

    With `keep` the two surviving nodes run on until the process is interrupted.
    """
    with tempfile.TemporaryDirectory(prefix="peerdisco-demo-") as directory:
        root = Path(directory)
        text = root / "text"
        size = write_text(text, files)
        tell(f"Starting {NODES} daemons on this machine, each a process with its own disk ...")
        began = time.monotonic()
        with daemons(root, NODES) as nodes:
            tell(f"  {_names(nodes)} are one cluster ({time.monotonic() - began:.1f} s).")
            report = _run_job(nodes, text, size, tell)
            if keep:
                tell(f"The cluster runs on at {report.ui}. Press Ctrl-C to stop it.")
                with contextlib.suppress(KeyboardInterrupt):
                    signal.pause()
    return report


def _run_job(nodes: list[DaemonProcess], text: Path, size: int, tell: Tell) -> DemoReport:
    by_name = {node.name: node for node in nodes}
    peers = ",".join(node.http for node in nodes)
    _push(peers, text, size, tell)
    began = time.monotonic()
    job = Job("wordcount", peer=peers).run(
        input=[f"tag://{TAG}"], map=count_words, reduce=sum_counts, partitions=REDUCE_TASKS
    )
    tell(f"Submitted {job.name}: {size / 1e6:.1f} MB, {REDUCE_TASKS} reduces.")
    victim = by_name[_wait_for_running_maps(job).coordinator]
    killed_at = time.time_ns() / 1e9
    victim.kill()
    tell(f"Killed {victim.name} (SIGKILL), the coordinator, while maps were running.")
    view, failover_s = _wait_for_successor(job, victim.name, killed_at)
    tell(f"  {view.coordinator} took over; the next task was assigned after {failover_s:.2f} s.")
    results = job.wait(timeout=JOB_TIMEOUT_S)
    job_s = time.monotonic() - began
    tell(f"The job is done after {job_s:.1f} s. Counting again, alone, to compare ...")
    counted = Counter(dict(result_iterator(results)))
    expected = _plain_count(text)
    exact = counted == expected
    tell(f"  {len(counted)} words: " + ("every count is exact." if exact else "COUNTS DIFFER!"))
    stages = {stage.name: stage.total for stage in job.status().stages}
    survivor = next(node for node in nodes if node is not victim)
    return DemoReport(
        nodes=len(nodes),
        bytes=size,
        map_tasks=stages["map"],
        reduce_tasks=stages["reduce"],
        killed=victim.name,
        failover_s=round(failover_s, 3),
        job_s=round(job_s, 3),
        records=len(counted),
        exact=exact,
        ui=f"http://{survivor.http}/",
    )


def _push(peers: str, text: Path, size: int, tell: Tell) -> None:
    began = time.monotonic()
    chunk_size = max(1, size // (MAP_TASKS_MIN + 1))
    _, urls = DDFS(peers).chunk(TAG, [text], chunk_size=chunk_size)
    tell(
        f"Pushed {size / 1e6:.1f} MB of text into DDFS as {len(urls)} blobs, "
        f"{NODES} copies each ({time.monotonic() - began:.1f} s)."
    )


def _wait_for_running_maps(job: Job) -> JobView:
    """The job as soon as some maps are done and others run."""
    deadline = time.monotonic() + KILL_WAIT_S
    while time.monotonic() < deadline:
        view = job.status()
        maps = view.stages[0] if view.stages else None
        if view.state.is_final:
            raise PeerdiscoError("the job ended before its coordinator could be killed")
        if maps is not None and maps.done and maps.running and view.coordinator:
            return view
        time.sleep(POLL_S)  # noqa: TID251 - a client's thread
    raise TimedOut(f"no map was running {KILL_WAIT_S:.0f} s after the submission")


def _wait_for_successor(job: Job, victim: str, killed_at: float) -> tuple[JobView, float]:
    """The job as soon as another coordinator has assigned an attempt, and how long that took."""
    deadline = time.monotonic() + FAILOVER_WAIT_S
    while time.monotonic() < deadline:
        view = job.status()
        started = [a.started_at for a in view.attempts if a.started_at > killed_at]
        if started and view.coordinator not in ("", victim):
            return view, min(started) - killed_at
        if view.state.is_final:
            raise PeerdiscoError("the job ended before another attempt was seen to start")
        time.sleep(POLL_S)  # noqa: TID251 - a client's thread
    raise TimedOut(f"nobody took over within {FAILOVER_WAIT_S:.0f} s")


def _plain_count(text: Path) -> Counter[str]:
    counts: Counter[str] = Counter()
    with text.open(encoding="utf-8", errors="replace", newline="\n") as lines:
        for line in lines:
            counts.update(line.split())
    return counts


def _names(nodes: list[DaemonProcess]) -> str:
    return ", ".join(f"{node.name} (pid {node.pid})" for node in nodes)
