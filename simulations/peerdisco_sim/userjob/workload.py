"""The user's job as a workload of the arena: push, submit, wait, fetch, compare; again and again.

The client does what `Job.run` and `result_iterator` do, over REST, and sees every job to its end.
What the failures cost is counted at the nodes' runners: attempts begun and attempts that ended
well, and how long it all took in virtual time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any
from urllib.parse import quote

from peerdisco import jobpack
from peerdisco.dataflow import read_records
from peerdisco.messages import Assignment, Finished, JobSpec, Outcome
from peerdisco.node import Node
from peerdisco_sim.arena import Arena
from peerdisco_sim.checkers.taps import around_async
from peerdisco_sim.client import Client, ClientError, Refused
from peerdisco_sim.loop import NodeLoop
from peerdisco_sim.userjob.load import Piece, Program
from peerdisco_sim.userjob.reference import Records, count_records
from peerdisco_webui.messages import BlobView, JobState, JobView, Submitted

NAME = "user_job"
POLL_S = 5.0
PAUSE_S = 0.2
PATIENCE_S = 600.0
DIFFERENCES_MAX = 3
DETAIL_CHARACTERS_MAX = 300


class UserJob:
    """Submissions of one program, one after the other, until the storm is over.

    Args:
        program: The job.
        truth: What it must produce.
        params: From the schedule: `rounds`, how many at most; 0 for as many as there is time for.

    Attributes:
        operations: Jobs that have ended.
        facts: `jobs`, `job_s` (all together), `job_s_max`, `tasks`, `attempts`, `finished`.
    """

    name = NAME

    def __init__(self, program: Program, truth: Records, params: Mapping[str, Any]) -> None:
        self.operations = 0
        self.done = False
        names = ("jobs", "job_s", "job_s_max", "tasks", "attempts", "finished")
        self.facts: dict[str, float] = dict.fromkeys(names, 0.0)
        self._program = program
        self._truth = truth
        self._rounds = int(params.get("rounds", 0))

    async def run(self, arena: Arena) -> None:
        """Submit the job, see it through whatever happens, compare; and again."""
        for name in arena.up:
            if (node := arena.node(name)) is not None:
                self._watch(name, node)
        arena.observe(self._watch)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, NodeLoop)
        client = _JobClient(arena, arena.client(loop.node.name))
        inputs = [await client.push(piece) for piece in self._program.pieces]
        while not self.operations or (not arena.stopping and self.operations != self._rounds):
            began = loop.time()
            view = await client.run(self._program, inputs, self.operations + 1)
            if view is None:
                return
            records = await client.fetch(view)
            self._note(view, loop.time() - began)
            if records != self._truth:
                arena.fail("wrong result", f"{view.name}: {difference(records, self._truth)}")
        self.done = True

    def verify(self) -> None:
        """Every result was compared when it came."""

    def _note(self, view: JobView, seconds: float) -> None:
        facts = self.facts
        self.operations += 1
        facts["jobs"] += 1
        facts["job_s"] += seconds
        facts["job_s_max"] = max(facts["job_s_max"], seconds)
        facts["tasks"] += sum(stage.total for stage in view.stages)

    def _watch(self, _: str, node: Node) -> None:
        """Count the attempts of a node that has just been booted."""
        around_async(node.runner, "run", self._begin)

    def _begin(self, _: Assignment) -> Callable[[Outcome], None]:
        self.facts["attempts"] += 1

        def finish(outcome: Outcome) -> None:
            self.facts["finished"] += isinstance(outcome, Finished)

        return finish


class _JobClient:
    """What a program does to run a job, over REST."""

    def __init__(self, arena: Arena, client: Client) -> None:
        self._arena = arena
        self._client = client

    async def push(self, piece: Piece) -> str:
        """Store one piece; its URL."""
        if piece.is_raw:
            return piece.name
        blob = await self._client.call(
            "POST",
            "/api/v1/blobs",
            BlobView,
            body=piece.data,
            patience_s=PATIENCE_S,
            repeatable=True,
        )
        return blob.url

    async def run(self, program: Program, inputs: list[str], number: int) -> JobView | None:
        """Submit and wait for the end; None when it did not end well, which is a violation."""
        spec = JobSpec(
            name=f"{program.name}@{number}",
            owner="simulation",
            stages=program.stages,
            inputs=tuple((url,) for url in inputs),
            partitions=program.partitions,
            python=jobpack.PYTHON,
        )
        pack = jobpack.build(spec, program.functions)
        try:
            submitted = await self._client.call(
                "POST",
                "/api/v1/jobs",
                Submitted,
                body=pack,
                patience_s=PATIENCE_S,
                repeatable=True,
            )
        except Refused as error:
            self._arena.fail("refused", str(error))
            return None
        self._arena.recorder.note("job", f"{submitted.name} submitted", job=submitted.name)
        view = await self._wait(submitted.name)
        self._arena.recorder.note("job", f"{view.name} {view.state}", job=view.name)
        if view.state is not JobState.READY:
            why = view.error.message if view.error else "killed"
            self._arena.fail("job died", f"{view.name}: {why}")
            return None
        return view

    async def _wait(self, job: str) -> JobView:
        """The job when it has ended, however long that takes."""
        since = 0
        while True:
            path = f"/api/v1/jobs/{quote(job, safe='')}?since={since}&wait_s={POLL_S}"
            try:
                view = await self._client.call("GET", path, JobView, timeout_s=2 * POLL_S)
            except ClientError:
                await asyncio.sleep(PAUSE_S)
                continue
            if view.state.is_final:
                return view
            since = view.version

    async def fetch(self, view: JobView) -> Records:
        """The records of all results."""
        records: list[object] = []
        for urls in view.results:
            path = f"/api/v1/blobs/{urls[0].removeprefix('blob:')}"
            response = await self._client.request("GET", path, patience_s=PATIENCE_S)
            records += read_records(BytesIO(response.body), trusted=True)
        return count_records(records)


def difference(found: Records, truth: Records) -> str:
    """What is missing and what is too much, in words."""
    missing, extra = truth - found, found - truth
    parts = [
        f"{many.total()} {word}, such as {list(many)[:DIFFERENCES_MAX]!r}"
        for word, many in (("records are missing", missing), ("should not be there", extra))
        if many
    ]
    return "; ".join(parts)[:DETAIL_CHARACTERS_MAX]
