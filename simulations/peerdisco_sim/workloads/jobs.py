"""Running jobs as a user does: submit, wait, fetch, compare with the truth (J1).

A submission is repeated until it is acknowledged, at any node: that is the same job. While it runs
the client watches it through whatever node answers. What it got must equal the single-process run,
record for record; a job may end as dead only if its author, or the machines, gave it a reason.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from peerdisco.dataflow import read_records
from peerdisco.jobpack import PYTHON, build
from peerdisco.messages import Grouping, JobSpec, Stage
from peerdisco_sim.checkers.stored import has_intact
from peerdisco_sim.client import Client, ClientError, Refused
from peerdisco_sim.histories import JobHistory
from peerdisco_sim.job_model import ACTIVE, UNKNOWN, Look, Submit
from peerdisco_sim.workloads.programs import Program, raw
from peerdisco_sim.workloads.work import API, Work
from peerdisco_webui.messages import JobState, JobView, Submitted

OWNER = "simulation"
SUBMIT_PATIENCE_S = 150.0
WATCH_PATIENCE_S = 150.0
WAIT_S = 5.0
RUN_S_MAX = 400.0
RESULT_PATIENCE_S = 120.0

GIVEN_UP = "was given up"
"""A submission that took longer than a minute of tries is given up by whoever has half of it."""
NAMES_MAX = 3
"""Under so many names one after the other a job is submitted then."""

MACHINE_FAULTS = {
    "worker_lost": ("worker_crash", "worker_kill", "worker_hang"),
    "node": ("disk_error", "disk_full", "worker_crash", "worker_hang", "worker_kill"),
    "input": ("bit_rot", "disk_error", "disk_full", "disk_loss"),
}
"""Kinds of faults that may exhaust a job's budget, by the kind of error that it then dies of."""


@dataclass(frozen=True, slots=True)
class Finished:
    """How a job ended.

    Attributes:
        view: What its user was told last.
        records: All that its results hold, in order, result by result.
        urls: Where they lie.
    """

    view: JobView
    records: tuple[tuple[Any, ...], ...] = ()
    urls: tuple[str, ...] = ()


class JobRunner:
    """Runs jobs for one workload."""

    def __init__(self, work: Work, client: Client) -> None:
        self._work = work
        self._client = client

    async def run(
        self, name: str, program: Program, *, inputs: tuple[tuple[str, ...], ...] = ()
    ) -> Finished | None:
        """Run a program to its end and judge it; None when it has no right result."""
        name = await self.submit(name, program, inputs=inputs)
        if not name:
            return None
        view = await self.wait(name)
        if view is None:
            return None
        self._work.operations += 1
        if view.state is JobState.DEAD or program.fails:
            self._judge_death(view, program)
            return None
        finished = await self.fetch(view)
        if finished is not None:
            self._judge(finished, program)
        return finished

    async def submit(
        self, name: str, program: Program, *, inputs: tuple[tuple[str, ...], ...] = ()
    ) -> str:
        """Submit until it is acknowledged; its name then, empty when nobody took it in time."""
        for number in range(NAMES_MAX):
            alias = f"{name}-again{number}" if number else name
            pack = _pack(alias, program, inputs)
            history = self.history(alias)
            asked = history.began(self._client.name, self._work.now, Submit())
            try:
                answer = await self._client.call(
                    "POST",
                    f"{API}/jobs",
                    Submitted,
                    body=pack,
                    timeout_s=25.0,
                    patience_s=SUBMIT_PATIENCE_S,
                    repeatable=True,
                )
            except Refused as error:
                if GIVEN_UP in str(error):
                    continue
                self._work.wrong("J1 job refused", f"{alias}: {error}")
                return ""
            except ClientError as error:
                self._work.unanswered(f"submitting {alias}", error)
                return ""
            history.ended(asked, self._work.now, None)
            if answer.name != alias:
                self._work.wrong("J1 wrong name", f"{answer.name} for {alias}")
            return alias
        self._work.wrong("J5 job never taken", f"{name} was given up {NAMES_MAX} times")
        return ""

    async def wait(self, name: str) -> JobView | None:
        """The job's last status; None when nobody told it in time."""
        view: JobView | None = None
        end = self._work.now + RUN_S_MAX
        while view is None or not view.state.is_final:
            since = 0 if view is None else view.version
            try:
                view = await self.look(name, since, patience_s=WATCH_PATIENCE_S)
            except Refused as error:
                self._work.wrong("J5 job lost", f"{name}: {error}")
                return None
            except ClientError as error:
                self._work.unanswered(f"watching {name}", error)
                return None
            if self._work.now > end:
                self._work.wrong("J3 not ended", f"{name} after {RUN_S_MAX:.0f} s: {view.stages}")
                return None
        return view

    async def look(self, name: str, since: int, *, patience_s: float) -> JobView:
        """The job's status, when it is newer than that, or soon; noted for R7. Raises ClientError.

        Since an answer may be long in coming, it is what was true at any time meanwhile.
        """
        history = self.history(name)
        asked = history.began(self._client.name, self._work.now, Look())
        path = f"{API}/jobs/{name}?since={since}&wait_s={WAIT_S:.0f}"
        try:
            view = await self._client.call(
                "GET", path, JobView, timeout_s=WAIT_S + 15.0, patience_s=patience_s
            )
        except ClientError as error:
            if isinstance(error, Refused) and error.status == 404:
                history.ended(asked, self._work.now, UNKNOWN)
            else:
                history.failed(asked)
            raise
        history.ended(asked, self._work.now, view.state.value if view.state.is_final else ACTIVE)
        return view

    def history(self, name: str) -> JobHistory:
        """What clients did to a job and saw of it."""
        histories = self._work.arena.histories
        found = histories.setdefault(f"job {name}", JobHistory())
        assert isinstance(found, JobHistory)
        return found

    async def fetch(self, view: JobView) -> Finished | None:
        """All results, read record by record; None when one could not be had in time."""
        records, urls = [], []
        for (url,) in view.results:
            body = await self._blob(view.name, url)
            if body is None:
                return None
            urls.append(url)
            records.append(tuple(read_records(BytesIO(body))))
        return Finished(view, tuple(records), tuple(urls))

    async def _blob(self, job: str, url: str) -> bytes | None:
        path = f"{API}/blobs/{url.removeprefix('blob:')}"
        end = self._work.now + RESULT_PATIENCE_S
        while True:
            try:
                return (await self._client.request("GET", path, patience_s=20.0)).body
            except ClientError as error:
                # 404 too: the holders may be down together for a while.
                if self._work.now > end:
                    arena = self._work.arena
                    machines = [arena.cluster.node(name) for name in arena.core]
                    if not any(has_intact(each, url.removeprefix("blob:")) for each in machines):
                        return None  # rot and a node lost for good have taken both copies
                    self._work.wrong("J1 result unreadable", f"{job}: {url[:20]}: {error}")
                    return None
            await asyncio.sleep(0.5)

    # -- judging ------------------------------------------------------------------------------

    def _judge(self, finished: Finished, program: Program) -> None:
        found = Counter(record for result in finished.records for record in result)
        if found != program.truth:
            lost, extra = program.truth - found, found - program.truth
            detail = (
                f"{finished.view.name}: {found.total()} records for {program.truth.total()}, "
                f"lost {list(lost.items())[:2]}, extra {list(extra.items())[:2]}"
            )
            self._work.wrong("J1 wrong result", detail)
        for result in finished.records if program.ordered else ():
            keys = [key for key, _ in result]
            if keys != sorted(keys):
                self._work.wrong("J1 not sorted", finished.view.name)

    def _judge_death(self, view: JobView, program: Program) -> None:
        error = view.error
        if view.state is not JobState.DEAD:
            self._work.wrong("J3 not failed", f"{view.name} is {view.state}, its code is broken")
        elif error is None:
            self._work.wrong("J3 died without a cause", view.name)
        elif program.fails and error.kind == "user":
            if program.fails.strip() not in f"{error.message} {error.traceback}":
                detail = f"{view.name} says {error.message!r}, not {program.fails!r}"
                self._work.wrong("J3 wrong cause", detail)
        elif not self._is_excused(error.kind):
            detail = f"{view.name}: {error.kind}: {error.message}"
            self._work.wrong("J3 died innocently", detail)

    def _is_excused(self, kind: str) -> bool:
        fired = (event.data.get("kind") for event in self._work.arena.recorder.of_kind("fault"))
        return any(each in MACHINE_FAULTS.get(kind, ()) for each in fired)


def _pack(name: str, program: Program, inputs: tuple[tuple[str, ...], ...]) -> bytes:
    stages = [Stage("map", Grouping.SPLIT)]
    if program.has_reduce:
        stages.append(Stage("reduce", Grouping.GROUP_LABEL))
    spec = JobSpec(
        name=name,
        owner=OWNER,
        stages=tuple(stages),
        inputs=inputs or tuple((raw(text),) for text in program.texts),
        partitions=program.partitions,
        python=PYTHON,
    )
    return build(spec, program.functions)
