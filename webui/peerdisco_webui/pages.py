"""The pages, drawn on the server; `static/live.js` exchanges their live parts every two seconds.

Without JavaScript a reload does the same. Everything shown also stands in the REST API.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from aiohttp import hdrs, web

from peerdisco_webui.api_cluster import summarize
from peerdisco_webui.api_tags import tag_name
from peerdisco_webui.assets import Assets
from peerdisco_webui.errors import ApiError, NotFound
from peerdisco_webui.messages import JobState
from peerdisco_webui.ports import Views
from peerdisco_webui.progress import Progress
from peerdisco_webui.sizes import Sizes

JOBS_ON_FRONT = 12
JOBS_PER_PAGE = 50
TAGS_PER_PAGE = 50
URLS_PER_PAGE = 200
EVENTS_SHOWN = 100

PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


class Pages:
    """Handlers that answer with HTML.

    Args:
        views: What is shown.
        wall_time: Seconds since the epoch, for "how long has it been running".
    """

    def __init__(self, views: Views, wall_time: Callable[[], float]) -> None:
        self._views = views
        self._wall_time = wall_time
        self._assets = Assets()
        self._sizes = Sizes(views.files)
        self._progress = Progress(views.jobs)

    async def cluster(self, request: web.Request) -> web.Response:
        """Verdict, members, newest jobs."""
        page = await self._views.jobs.list(prefix="", after="", limit=JOBS_ON_FRONT)
        jobs = await self._progress.of(page.jobs)
        return self._page(request, "cluster.html", jobs=jobs, more=bool(page.next))

    async def jobs(self, request: web.Request) -> web.Response:
        """All jobs, newest first, filtered by the beginning of the name."""
        prefix = request.query.get("prefix", "")
        page = await self._views.jobs.list(
            prefix=prefix, after=request.query.get("after", ""), limit=JOBS_PER_PAGE
        )
        jobs = await self._progress.of(page.jobs)
        return self._page(
            request,
            "jobs.html",
            jobs=jobs,
            next=page.next,
            prefix=prefix,
            incomplete=page.incomplete,
        )

    async def job(self, request: web.Request) -> web.Response:
        """One job: stages, attempts, error, results, events."""
        job = await self._views.jobs.status(request.match_info["name"])
        events = await self._views.jobs.events(job.name, after=0, limit=1000)
        newest = list(reversed(events))[:EVENTS_SHOWN]
        return self._page(request, "job.html", job=job, events=newest, dead=JobState.DEAD)

    async def data(self, request: web.Request) -> web.Response:
        """Tags with their number of blobs and their size."""
        prefix = request.query.get("prefix", "")
        page = await self._views.files.list(
            prefix, after=request.query.get("after", ""), limit=TAGS_PER_PAGE
        )
        rows = await self._sizes.of_tags(page.names)
        return self._page(request, "data.html", page=page, rows=rows, prefix=prefix)

    async def tag(self, request: web.Request) -> web.Response:
        """One tag: attributes and URLs."""
        tag = await self._views.files.tag(tag_name(request), stale_ok=True)
        rows = await self._sizes.of_urls(tag.urls[:URLS_PER_PAGE])
        return self._page(request, "tag.html", tag=tag, rows=rows, total=len(tag.urls))

    async def static(self, request: web.Request) -> web.Response:
        """Style, script and icon; their address changes with their content."""
        file = self._assets.static.get(request.match_info["name"])
        if file is None:
            raise NotFound("there is no such file")
        headers = PAGE_HEADERS | {"Cache-Control": "public, max-age=31536000, immutable"}
        return web.Response(body=file.content, content_type=file.content_type, headers=headers)

    async def favicon(self, request: web.Request) -> web.Response:
        """The icon under the name that browsers guess."""
        del request
        icon = self._assets.static["icon.svg"]
        return web.Response(body=icon.content, content_type=icon.content_type, headers=PAGE_HEADERS)

    def problem(self, request: web.Request, error: ApiError) -> web.Response:
        """A failure as a page."""
        return self._page(request, "problem.html", status=error.status, problem=error.problem())

    def _page(
        self, request: web.Request, template: str, *, status: int = 200, **context: object
    ) -> web.Response:
        html = self._assets.render(
            template,
            cluster=summarize(self._views.cluster),
            members=self._views.cluster.members(),
            now=self._wall_time(),
            scheme=request.scheme,
            path=request.path,
            **context,
        )
        body = html.encode()
        etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        headers = PAGE_HEADERS | {hdrs.ETAG: etag}
        if status == 200 and request.headers.get(hdrs.IF_NONE_MATCH) == etag:
            return web.Response(status=304, headers=headers)
        return web.Response(
            body=body, status=status, content_type="text/html", charset="utf-8", headers=headers
        )
