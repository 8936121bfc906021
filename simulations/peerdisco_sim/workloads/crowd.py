"""Many small jobs at once, of several users; some are killed or purged on the way.

What a kill leaves behind is looked for by the job checker; here its user must be told that the job
is dead, or that it was ready before.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping

from peerdisco_sim.client import Client, ClientError, Refused
from peerdisco_sim.job_model import Kill, Purge
from peerdisco_sim.schedule import Value
from peerdisco_sim.streams import Stream
from peerdisco_sim.workloads import programs
from peerdisco_sim.workloads.jobs import JobRunner
from peerdisco_sim.workloads.work import API, CALM_PATIENCE_S, Work
from peerdisco_webui.messages import JobPage, JobState

DEFAULTS: Mapping[str, Value] = {"users": 4, "jobs_max": 15, "pause_s": 1.5}
KILL_CHANCE, PURGE_CHANCE = 0.15, 0.1
KILL_S_MAX = 1.5
LOOKED_AT_MAX = 8
LOOK_PATIENCE_S = 10.0


class CrowdWork(Work):
    """The workload `small_jobs`."""

    def __init__(self, params: Mapping[str, Value]) -> None:
        super().__init__("small_jobs", params, DEFAULTS)
        self._taken: dict[str, None] = {}
        self._kept: dict[str, None] = {}

    async def work(self) -> None:
        """Let all users work, then see whether all their jobs are known."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._onlooker())
            for number in range(self.number("users")):
                group.create_task(self._user(number))
        await self.calm()
        await self._list()

    async def _user(self, number: int) -> None:
        client, draws = self.client(), self.draws(number)
        for serial in range(self.number("jobs_max")):
            await self._one(client, draws, f"small{number}-{serial}")
            await self.pause(draws, self.seconds("pause_s"))
            if self.stopping:
                return

    async def _onlooker(self) -> None:
        """Somebody else who looks at jobs now and then, at whatever node answers."""
        client, draws = self.client(), self.draws("onlooker")
        runner = JobRunner(self, client)
        while not self.stopping:
            await self.pause(draws, self.seconds("pause_s"))
            if self._taken and not self.stopping:
                job = draws.choice(list(self._taken)[-LOOKED_AT_MAX:])
                with contextlib.suppress(ClientError):
                    await runner.look(job, 0, patience_s=LOOK_PATIENCE_S)

    async def _one(self, client: Client, draws: Stream, job: str) -> None:
        dice = draws.random()
        program = programs.word_count(draws, inputs=draws.choice((1, 2, 3)))
        runner = JobRunner(self, client)
        self._taken[job] = None
        if dice < KILL_CHANCE + PURGE_CHANCE:
            if job := await runner.submit(job, program):
                await asyncio.sleep(draws.uniform(0.0, KILL_S_MAX))
                await self._end(client, runner, job, purge=dice < PURGE_CHANCE)
        elif (finished := await runner.run(job, program)) is not None:
            self._kept[finished.view.name] = None

    async def _end(self, client: Client, runner: JobRunner, job: str, *, purge: bool) -> None:
        method, path = ("DELETE", f"/jobs/{job}") if purge else ("POST", f"/jobs/{job}/kill")
        history = runner.history(job)
        actions = (Kill(), Purge()) if purge else (Kill(),)
        asked = [history.began(client.name, self.now, action) for action in actions]
        try:
            await client.request(
                method, f"{API}{path}", timeout_s=40.0, patience_s=120.0, repeatable=True
            )
        except ClientError as error:
            self.unanswered(f"ending {job}", error)
            return
        self.operations += 1
        for number in asked:
            history.ended(number, self.now, None)
        if purge:
            return
        view = await runner.wait(job)
        if view is not None and view.state not in (JobState.DEAD, JobState.READY):
            self.wrong("J4 killed and alive", f"{job} is {view.state}")

    async def _list(self) -> None:
        """Every job that was ready is in the list of jobs."""
        missing = dict(self._kept)
        client = self.client()
        end = self.now + CALM_PATIENCE_S
        while missing and self.now < end:
            try:
                page = await client.call("GET", f"{API}/jobs?prefix=small&limit=1000", JobPage)
            except Refused as error:
                self.wrong("J5 no list", str(error))
                return
            except ClientError:
                continue
            for line in page.jobs:
                missing.pop(line.name, None)
            if page.incomplete:
                client.avoid()
            await asyncio.sleep(0.5)
        if missing:
            self.wrong("J5 job not listed", f"{list(missing)[:3]} of {len(self._kept)}")
