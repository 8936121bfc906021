"""Clients of a real cluster: some append to tags and read them, one counts words in job after job.

They use the client library as programs do. Everything that was acknowledged is remembered and
compared at the end with what is there; every job's counts must be exact.
"""

from __future__ import annotations

import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from peerdisco.client import (
    DDFS,
    Job,
    JobError,
    NotFound,
    PeerdiscoError,
    TimedOut,
    result_iterator,
)
from peerdisco.client.cluster import Cluster as Rest
from peerdisco.client.results import ResultUrls
from peerdisco_sim.real.histories import History, Observation

APPENDERS = 3
COUNTERS = 2
TAGS = 2
APPENDS_PER_TAG = 60
PAUSE_S = 0.05
LINES, WORDS_PER_LINE, VOCABULARY = 60_000, 8, 500
CHUNK_BYTES = 64 * 1024
PARTITIONS = 3
WAIT_STEP_S = 5.0
EVENTS_SHOWN = 40
FINISH_S_MAX = 120.0
"""How long a job and a last read may take once everything is healed."""

Fail = Callable[[str, str], None]


def count(line: str, params: object) -> Iterator[tuple[str, int]]:
    """The map function."""
    del params
    for word in line.split():
        yield word, 1


def add(pairs: Any, params: object) -> Iterator[tuple[str, int]]:
    """The reduce function."""
    del params
    totals: dict[str, int] = {}
    for word, number in pairs:
        totals[word] = totals.get(word, 0) + number
    yield from sorted(totals.items())


class Clients:
    """All clients of one play.

    Args:
        rest: Makes a connection for one client.
        seed: Of texts and of who does what.
        fail: Called with rule and detail when something must not be.

    Attributes:
        appends: Acknowledged.
        reads: Answered.
        unknown: Operations that brought no answer.
        jobs: That ended with exact counts.
    """

    def __init__(self, rest: Callable[[], Rest], seed: int, fail: Fail) -> None:
        self.appends = self.reads = self.unknown = self.jobs = 0
        self._running: dict[str, None] = {}
        self._rest = rest
        self._seed = seed
        self._fail = fail
        self._histories: dict[str, History] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._guarded, args=(body,), daemon=True)
            for body in (
                *(lambda number=n: self._append(number) for n in range(APPENDERS)),
                *(lambda number=n: self._count_words(number) for n in range(COUNTERS)),
            )
        ]

    @property
    def operations(self) -> int:
        """Answered operations, and jobs."""
        return self.appends + self.reads + self.jobs

    @property
    def running_job(self) -> str:
        """The name of a job that was acknowledged and has not ended; empty when there is none."""
        return next(reversed(list(self._running)), "")

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let everybody finish what was begun."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(FINISH_S_MAX)
            if thread.is_alive():
                self._fail("too slow", f"a client is not done {FINISH_S_MAX:.0f} s after the calm")

    def judge(self) -> None:
        """Compare what was acknowledged with what is there."""
        rest = self._rest()
        for name, history in self._histories.items():
            try:
                values = [entry[0] for entry in reversed(_read(rest, name))]
            except PeerdiscoError as error:
                self._fail("tag unreadable", f"{name}: {error}")
                continue
            for contradiction in history.judge(values):
                self._fail("tag history", f"{name}: {contradiction}")

    # -- what each thread does ----------------------------------------------------------------

    def _guarded(self, body: Callable[[], None]) -> None:
        try:
            body()
        except Exception as error:
            self._fail("client", f"{type(error).__name__}: {error}")

    def _append(self, number: int) -> None:
        rest = self._rest()
        draws = random.Random(f"{self._seed}/appender/{number}")
        turn = 0
        while not self._stopping.is_set():
            turn += 1
            name = f"real:list-{turn // APPENDS_PER_TAG}-{draws.randrange(TAGS)}"
            self._one_operation(rest, name, f"raw://{number}-{turn}", draws.random() < 0.3)
            self._stopping.wait(PAUSE_S)

    def _one_operation(self, rest: Rest, name: str, value: str, is_read: bool) -> None:
        with self._lock:
            history = self._histories.setdefault(name, History())
        began = time.monotonic()
        try:
            urls = _read(rest, name) if is_read else rest.append(name, [[value]]).urls
        except PeerdiscoError:
            with self._lock:
                self.unknown += 1
                if not is_read:
                    history.unknown[value] = None
            return
        values = tuple(entry[0] for entry in reversed(urls))
        seen = Observation(began, time.monotonic(), values, "" if is_read else value)
        with self._lock:
            history.observations.append(seen)
            self.reads += is_read
            self.appends += not is_read

    def _count_words(self, number: int) -> None:
        rest = self._rest()
        turn = 0
        while not self._stopping.is_set():
            turn += 1
            draws = random.Random(f"{self._seed}/text/{number}/{turn}")
            text = _text(draws)
            try:
                job = _submit(rest, f"real:text-{number}-{turn}", text)
            except PeerdiscoError:
                self.unknown += 1
                continue
            self._running[job.name] = None
            self._follow(job, text)
            self._running.pop(job.name)

    def _follow(self, job: Job, text: str) -> None:
        """An acknowledged job must end well, however long that takes while the storm lasts."""
        deadline: float | None = None
        while True:
            if self._stopping.is_set() and deadline is None:
                deadline = time.monotonic() + FINISH_S_MAX
            try:
                counts = Counter(dict(result_iterator(_results(job))))
            except TimedOut:
                pass
            except JobError as error:
                self._fail("job died", f"{error}\n{_story(job)}")
                return
            except PeerdiscoError as error:
                if deadline is not None and time.monotonic() > deadline:
                    self._fail("job lost", f"{job.name}: {error}")
                    return
                self._stopping.wait(PAUSE_S)
            else:
                if counts != Counter(text.split()):
                    self._fail("wrong result", f"{job.name}: {sum(counts.values())} words")
                with self._lock:
                    self.jobs += 1
                return
            if deadline is not None and time.monotonic() > deadline:
                self._fail("job never ends", f"{job.name}: {job.status().state}")
                return


def _read(rest: Rest, name: str) -> tuple[tuple[str, ...], ...]:
    """The tag's entries; none when nobody has appended yet."""
    try:
        return rest.tag(name).urls
    except NotFound:
        return ()


def _text(draws: random.Random) -> str:
    words = [f"word{number}" for number in range(VOCABULARY)]
    lines = (" ".join(draws.choices(words, k=WORDS_PER_LINE)) for _ in range(LINES))
    return "".join(f"{line}\n" for line in lines)


def _submit(rest: Rest, tag: str, text: str) -> Job:
    with tempfile.TemporaryDirectory(prefix="pdsim-text-") as directory:
        path = Path(directory, "text")
        path.write_text(text)
        DDFS(rest).chunk(tag, [path], chunk_size=CHUNK_BYTES)
    return Job("count", peer=rest).run(
        input=[f"tag://{tag}"], map=count, reduce=add, partitions=PARTITIONS
    )


def _story(job: Job) -> str:
    """The last events of a job, for whoever wants to know why it died."""
    try:
        events = [event for _, event in job.events()]
    except PeerdiscoError as error:
        return f"its events cannot be read: {error}"
    return "\n".join(f"    {at:.2f} {node} {text}" for at, node, text in events[-EVENTS_SHOWN:])


def _results(job: Job) -> ResultUrls:
    return job.wait(timeout=WAIT_STEP_S, show=False)
