"""Many plays on several processors: import once, fork for each, collect lines.

Every play begins in the same fresh state, a copy of this process, and whatever it does ends with
it. A play that takes too long or too much memory is ended and counts as a violation. Some are
played a second time by another interpreter under another hash seed: the digests must be equal.
"""

from __future__ import annotations

import gc
import os
import resource
import selectors
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from peerdisco_sim.play import Factory, Watcher, play
from peerdisco_sim.result import Result, broken, result_of
from peerdisco_sim.schedule import Schedule

WALL_S_MAX = 300.0
MEMORY_BYTES_MAX = 4 << 30
READ_BYTES = 1 << 16
OTHER_HASH_SEED = "1729"


@dataclass(frozen=True, slots=True)
class Job:
    """One thing to play.

    Attributes:
        schedule: What.
        label: Its name for people.
        replay: The command that plays it again.
        more_workloads: See `play.play`.
        prepare: Called before the play in its process, which ends with it.
        watchers: See `play.play`.
    """

    schedule: Schedule
    label: str
    replay: str
    more_workloads: Mapping[str, Factory] = field(default_factory=dict)
    prepare: Callable[[], None] | None = None
    watchers: tuple[Watcher, ...] = ()


@dataclass(slots=True)
class _Child:
    """A process that plays."""

    job: Job
    pid: int
    began: float
    output: bytearray = field(default_factory=bytearray)


def run_all(
    jobs: Iterable[Job],
    *,
    processes: int,
    wall_s_max: float = WALL_S_MAX,
    memory_bytes_max: int = MEMORY_BYTES_MAX,
) -> Generator[Result, None, None]:
    """Play all, each in a process of its own; results come as they are ready.

    Closing the iterator ends what still runs.
    """
    waiting = iter(jobs)
    running: dict[int, _Child] = {}
    # Nothing is frozen here: a world looks through all objects for generators to reseed.
    gc.collect()
    with selectors.DefaultSelector() as selector:
        try:
            _fill(waiting, running, selector, processes, memory_bytes_max)
            while running:
                for key, _ in selector.select(timeout=1.0):
                    data = os.read(key.fd, READ_BYTES)
                    if data:
                        running[key.fd].output += data
                        continue
                    selector.unregister(key.fd)
                    os.close(key.fd)
                    yield _finish(running.pop(key.fd), wall_s_max)
                _end_late(running.values(), wall_s_max)
                _fill(waiting, running, selector, processes, memory_bytes_max)
        finally:
            for fd, child in running.items():
                os.kill(child.pid, signal.SIGKILL)
                os.waitpid(child.pid, 0)
                os.close(fd)


def _fill(
    waiting: Iterator[Job],
    running: dict[int, _Child],
    selector: selectors.BaseSelector,
    processes: int,
    memory_bytes_max: int,
) -> None:
    while len(running) < processes:
        job = next(waiting, None)
        if job is None:
            return
        reader, writer = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        with warnings.catch_warnings():
            # From Python 3.12 on, forking beside threads warns. Those of a test runner hold no
            # lock that a play needs.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            os.close(reader)
            _be_child(job, writer, memory_bytes_max)
        os.close(writer)
        running[reader] = _Child(job, pid, time.monotonic())
        selector.register(reader, selectors.EVENT_READ)


def _be_child(job: Job, writer: int, memory_bytes_max: int) -> None:
    """Play and say what it came to; never returns."""
    try:
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes_max, memory_bytes_max))
        if job.prepare is not None:
            job.prepare()
        result = play_here(job)
    except BaseException:
        result = broken(job.schedule, job.label, job.replay, "harness", traceback.format_exc())
    try:
        data = msgspec.json.encode(result)
        while data:
            data = data[os.write(writer, data) :]
    finally:
        os._exit(0)


def play_here(job: Job) -> Result:
    """Play in this process."""
    began = time.monotonic()
    outcome = play(job.schedule, more_workloads=job.more_workloads, watchers=job.watchers)
    return result_of(outcome, job.label, job.replay, time.monotonic() - began)


def _end_late(children: Iterable[_Child], wall_s_max: float) -> None:
    for child in children:
        if time.monotonic() - child.began > wall_s_max:
            os.kill(child.pid, signal.SIGKILL)


def _finish(child: _Child, wall_s_max: float) -> Result:
    _, status = os.waitpid(child.pid, 0)
    job = child.job
    try:
        return msgspec.json.decode(bytes(child.output), type=Result)
    except msgspec.MsgspecError:
        late = time.monotonic() - child.began > wall_s_max
        detail = f"over {wall_s_max:.0f} s" if late else f"wait status {status}"
        return broken(job.schedule, job.label, job.replay, "the play was ended", detail)


def digest_elsewhere(schedule: Schedule) -> str:
    """The digest of a play by a fresh interpreter under another hash seed."""
    command = [sys.executable, "-m", "peerdisco_sim", "replay", "-", "--digest"]
    environment = {
        **os.environ,
        "PYTHONHASHSEED": OTHER_HASH_SEED,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    done = subprocess.run(  # noqa: S603 - our own interpreter and module
        command, input=schedule.encode(), env=environment, capture_output=True, check=False
    )
    return done.stdout.decode().strip() or done.stderr.decode()[-2000:]


def differing(pairs: Iterable[tuple[Job, Result]]) -> Sequence[str]:
    """Play these again elsewhere; one line for each whose digest is another."""
    lines = []
    for job, result in pairs:
        digest = digest_elsewhere(job.schedule)
        if digest != result.digest:
            lines.append(f"{job.label}: digest {result.digest} here, {digest} elsewhere")
    return lines
