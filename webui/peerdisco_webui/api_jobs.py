"""REST of jobs: submit, list, watch, kill, purge."""

from __future__ import annotations

from aiohttp import web

from peerdisco_webui.messages import EventList, JobResults, Submitted
from peerdisco_webui.ports import Jobs
from peerdisco_webui.wire import json_response, query_int, query_seconds, read_body

PACK_BYTES_MAX = 256 << 20
LIST_MAX = 1000
WAIT_S_MAX = 30.0
"""A long poll ends after this time at the latest."""


class JobsApi:
    """Handlers over the Jobs port."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    async def submit(self, request: web.Request) -> web.Response:
        """The body is a job pack. Repeating a submission, at any node, is the same job."""
        name = await self._jobs.submit(await read_body(request, PACK_BYTES_MAX))
        return json_response(Submitted(name=name), status=201)

    async def list(self, request: web.Request) -> web.Response:
        """Newest first; `prefix`, `after` and `limit` select."""
        page = await self._jobs.list(
            prefix=request.query.get("prefix", ""),
            after=request.query.get("after", ""),
            limit=query_int(request, "limit", 100, most=LIST_MAX),
        )
        return json_response(page)

    async def show(self, request: web.Request) -> web.Response:
        """The status; with `since` and `wait_s` it waits for a newer one."""
        name = request.match_info["name"]
        wait_s = query_seconds(request, "wait_s", 0.0, most=WAIT_S_MAX)
        since = query_int(request, "since", 0, most=1 << 53)
        if wait_s > 0:
            return json_response(await self._jobs.wait(name, since, wait_s))
        return json_response(await self._jobs.status(name))

    async def results(self, request: web.Request) -> web.Response:
        """The URLs of the results, empty until the job is ready."""
        job = await self._jobs.status(request.match_info["name"])
        return json_response(JobResults(state=job.state, results=job.results))

    async def events(self, request: web.Request) -> web.Response:
        """The history from behind the event number `after`."""
        events = await self._jobs.events(
            request.match_info["name"],
            after=query_int(request, "after", 0, most=1 << 53),
            limit=query_int(request, "limit", 100, most=LIST_MAX),
        )
        return json_response(EventList(events=tuple(events)))

    async def kill(self, request: web.Request) -> web.Response:
        """Stop the job."""
        await self._jobs.kill(request.match_info["name"])
        return web.Response(status=204)

    async def purge(self, request: web.Request) -> web.Response:
        """Stop and forget the job, and delete its results."""
        await self._jobs.purge(request.match_info["name"])
        return web.Response(status=204)
