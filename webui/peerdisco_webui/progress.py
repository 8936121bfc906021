"""The stages of jobs in a list, for those that the list itself does not tell.

A list of jobs is cheap because it leaves their stages out; the pages want bars. What an ended job
did never changes, so it is asked for once; a running job is asked each time a page is drawn.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence

from peerdisco_webui.errors import ApiError
from peerdisco_webui.messages import JobSummary
from peerdisco_webui.ports import Jobs

CACHED_MAX = 1000
CONCURRENT_MAX = 8


class Progress:
    """Fills in stages, a few jobs at a time."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._ended: OrderedDict[str, JobSummary] = OrderedDict()
        self._gate = asyncio.Semaphore(CONCURRENT_MAX)

    async def of(self, jobs: Sequence[JobSummary]) -> list[JobSummary]:
        """The same jobs in the same order; one that does not answer stays as it was."""
        async with asyncio.TaskGroup() as group:
            filled = [group.create_task(self._fill(job)) for job in jobs]
        return [job.result() for job in filled]

    async def _fill(self, job: JobSummary) -> JobSummary:
        if job.stages:
            return job
        if job.name in self._ended:
            return self._ended[job.name]
        try:
            async with self._gate:
                full = await self._jobs.status(job.name)
        except (ApiError, OSError):
            return job
        if full.state.is_final:
            self._ended[job.name] = full
            while len(self._ended) > CACHED_MAX:
                self._ended.popitem(last=False)
        return full
