"""The application: one route table, one middleware that refuses by default, one listener.

`make_app` is a pure composition over the ports; `serving` binds it, and refuses to bind it
where anybody on the network could use it.
"""

from __future__ import annotations

import errno
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware

from peerdisco_webui.api_cluster import ClusterApi
from peerdisco_webui.api_disco import DiscoApi
from peerdisco_webui.api_files import BlobsApi
from peerdisco_webui.api_jobs import JobsApi
from peerdisco_webui.api_raft import RaftApi
from peerdisco_webui.api_tags import TagsApi
from peerdisco_webui.api_upkeep import UpkeepApi
from peerdisco_webui.errors import (
    ApiError,
    Forbidden,
    NotFound,
    StorageFull,
    Unauthorized,
    Unavailable,
)
from peerdisco_webui.pages import Pages
from peerdisco_webui.ports import Views
from peerdisco_webui.routes import Handler, Route
from peerdisco_webui.security import Access, Authorize, Guard, check_exposure, everybody
from peerdisco_webui.wire import problem_response

CLUSTER_HEADER = "X-Peerdisco-Cluster"
"""Names the cluster in answers to those who may read, so that clients notice a foreign node."""
READ_AHEAD_BYTES = 512 << 10
"""How much of an upload is received before it is taken; less would stop the socket all the time."""

IDLE_S = 75.0
"""A connection without a request, or with the beginning of one, is closed after this time."""
STOP_TIMEOUT_S = 1.0
"""How long running requests may take to end when the listener closes: long polls are cut off."""

GUARD: web.AppKey[Guard] = web.AppKey("guard", Guard)
ROUTES: web.AppKey[tuple[Route, ...]] = web.AppKey("routes", tuple)

log = logging.getLogger(__name__)


def make_app(
    views: Views,
    *,
    version: str,
    wall_time: Callable[[], float],
    hosts: Iterable[str] = (),
    authorize: Authorize = everybody,
    authority_pem: bytes | None = None,
) -> web.Application:
    """The REST API and the pages of one node.

    Args:
        views: The node, behind its ports.
        version: Of the node's software.
        wall_time: Seconds since the epoch.
        hosts: By which names, beside loopback, clients reach the node.
        authorize: Tells a caller's access; the default is for loopback only.
        authority_pem: The cluster authority's certificate when the listener speaks TLS.
    """
    pages = Pages(views, wall_time)
    disco = DiscoApi(views, wall_time, basic_tokens=authorize is everybody)
    table = (*routes(views, pages, version, authority_pem), *disco_routes(disco))
    guard = Guard(hosts, authorize)
    access = {(route.method, route.path): route.access for route in table}
    app = web.Application(middlewares=[_gatekeeper(views, guard, access, pages)])
    app[GUARD] = guard
    app[ROUTES] = table
    for route in table:
        app.router.add_route(route.method, route.path, route.handler)
        if route.method == hdrs.METH_GET:
            app.router.add_route(hdrs.METH_HEAD, route.path, route.handler)
    return app


def routes(
    views: Views, pages: Pages, version: str, authority_pem: bytes | None
) -> tuple[Route, ...]:
    """All that can be reached."""
    cluster = ClusterApi(views.cluster, version, authority_pem)
    jobs, blobs, tags = JobsApi(views.jobs), BlobsApi(views.files), TagsApi(views.files)
    raft, upkeep = RaftApi(views.raft), UpkeepApi(views.upkeep)
    job, tag = "/api/v1/jobs/{name}", "/api/v1/tags/{name}"
    attribute = f"{tag}/attributes/{{key}}"
    return (
        Route("GET", "/healthz", cluster.healthz, Access.PUBLIC),
        Route("GET", "/readyz", cluster.readyz, Access.PUBLIC),
        Route("GET", "/ca.pem", cluster.authority, Access.PUBLIC),
        Route("GET", "/static/{name}", pages.static, Access.PUBLIC),
        Route("GET", "/favicon.ico", pages.favicon, Access.PUBLIC),
        Route("GET", "/", pages.cluster, Access.READ),
        Route("GET", "/jobs", pages.jobs, Access.READ),
        Route("GET", "/jobs/{name}", pages.job, Access.READ),
        Route("GET", "/data", pages.data, Access.READ),
        Route("GET", "/data/{name}", pages.tag, Access.READ),
        Route("GET", "/api/v1/status", cluster.status, Access.READ),
        Route("GET", "/api/v1/members", cluster.members, Access.READ),
        Route("POST", "/api/v1/join-command", cluster.join_command, Access.ADMIN),
        Route("POST", "/api/v1/tokens", cluster.client_string, Access.ADMIN),
        Route("GET", "/api/v1/jobs", jobs.list, Access.READ),
        Route("POST", "/api/v1/jobs", jobs.submit, Access.WRITE),
        Route("GET", job, jobs.show, Access.READ),
        Route("DELETE", job, jobs.purge, Access.WRITE),
        Route("GET", f"{job}/results", jobs.results, Access.READ),
        Route("GET", f"{job}/events", jobs.events, Access.READ),
        Route("POST", f"{job}/kill", jobs.kill, Access.WRITE),
        Route("GET", "/api/v1/raft", raft.list, Access.READ),
        Route("GET", "/api/v1/raft/{name}", raft.show, Access.READ),
        Route("POST", "/api/v1/raft/{name}/recover", raft.recover, Access.ADMIN),
        Route("GET", "/api/v1/gc", upkeep.collection, Access.READ),
        Route("POST", "/api/v1/gc", upkeep.collect, Access.ADMIN),
        Route("GET", "/api/v1/layout", upkeep.layout, Access.READ),
        Route("POST", "/api/v1/layout", upkeep.change, Access.ADMIN),
        Route("POST", "/api/v1/layout/plan", upkeep.plan, Access.WRITE),
        Route("GET", "/api/v1/storage", upkeep.storage, Access.READ),
        Route("GET", "/api/v1/scrub", upkeep.scrubs, Access.READ),
        Route("POST", "/api/v1/scrub", upkeep.scrub, Access.ADMIN),
        Route("GET", "/api/v1/usage", upkeep.usage, Access.READ),
        Route("GET", "/api/v1/quotas", upkeep.quotas, Access.READ),
        Route("PUT", "/api/v1/quotas", upkeep.set_quota, Access.ADMIN),
        Route("DELETE", "/api/v1/quotas", upkeep.remove_quota, Access.ADMIN),
        Route("GET", "/api/v1/dht", upkeep.find, Access.READ),
        Route("POST", "/api/v1/blobs", blobs.put, Access.WRITE),
        Route("GET", "/api/v1/blobs/{id}", blobs.get, Access.READ),
        Route("GET", "/api/v1/tags", tags.list, Access.READ),
        Route("GET", tag, tags.get, Access.READ),
        Route("POST", tag, tags.append, Access.WRITE),
        Route("PUT", tag, tags.replace, Access.WRITE),
        Route("DELETE", tag, tags.delete, Access.WRITE),
        Route("POST", f"{tag}/chunks", tags.chunk, Access.WRITE),
        Route("GET", f"{tag}/history", tags.history, Access.READ),
        Route("PUT", f"{tag}/tokens/{{kind}}", tags.set_token, Access.WRITE),
        Route("DELETE", f"{tag}/tokens/{{kind}}", tags.delete_token, Access.WRITE),
        Route("GET", f"{tag}/attributes", tags.attributes, Access.READ),
        Route("GET", attribute, tags.get_attribute, Access.READ),
        Route("PUT", attribute, tags.set_attribute, Access.WRITE),
        Route("DELETE", attribute, tags.delete_attribute, Access.WRITE),
    )


def disco_routes(disco: DiscoApi) -> tuple[Route, ...]:
    """Disco's own REST, for programs that were written for Disco."""
    tag, attribute = "/ddfs/tag/{name}", "/ddfs/tag/{name}/{attribute}"
    return (
        Route("GET", "/ddfs/new_blob/{name}", disco.new_blob, Access.READ),
        Route("PUT", "/ddfs/{name}", disco.put_blob, Access.WRITE),
        Route("GET", "/ddfs/{volume}/blob/{id}/{name}", disco.get_blob, Access.READ),
        Route("GET", "/ddfs/tags", disco.tags, Access.READ),
        Route("GET", "/ddfs/tags/", disco.tags, Access.READ),
        Route("GET", "/ddfs/tags/{a}", disco.tags, Access.READ),
        Route("GET", "/ddfs/tags/{a}/{b}", disco.tags, Access.READ),
        Route("GET", "/ddfs/tags/{a}/{b}/{c}", disco.tags, Access.READ),
        Route("GET", tag, disco.get, Access.READ),
        Route("POST", tag, disco.append, Access.WRITE),
        Route("PUT", tag, disco.put, Access.WRITE),
        Route("DELETE", tag, disco.delete, Access.WRITE),
        Route("GET", attribute, disco.get_attribute, Access.READ),
        Route("PUT", attribute, disco.put_attribute, Access.WRITE),
        Route("DELETE", attribute, disco.delete_attribute, Access.WRITE),
        Route("GET", "/ddfs/ctrl/gc_status", disco.gc_status, Access.READ),
        Route("GET", "/ddfs/ctrl/gc_stats", disco.gc_stats, Access.READ),
        Route("POST", "/ddfs/ctrl/gc_start", disco.gc_start, Access.ADMIN),
        Route("GET", "/ddfs/ctrl/safe_gc_blacklist", disco.safe_gc_blacklist, Access.READ),
    )


@asynccontextmanager
async def serving(
    app: web.Application, host: str, port: int, *, context: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[str, int]]:
    """Listen while the block runs; yields the address that was bound.

    Raises InsecureListener before anything is bound, and OSError when the port is taken.
    """
    check_exposure(host, tls=context is not None, authorize=app[GUARD].authorize)
    runner = web.AppRunner(
        app,
        access_log=None,
        shutdown_timeout=STOP_TIMEOUT_S,
        read_bufsize=READ_AHEAD_BYTES,
        keepalive_timeout=IDLE_S,
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, ssl_context=context).start()
        bound = runner.addresses[0]
        yield bound[0], bound[1]
    finally:
        await runner.cleanup()


def _gatekeeper(
    views: Views, guard: Guard, access: dict[tuple[str, str], Access], pages: Pages
) -> Middleware:
    """The one way in: guards first, and turns every failure into an answer."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        needed = _needed(request, access)
        try:
            guard.admit(request, needed)
            response = await handler(request)
        except web.HTTPException as error:
            response = _refusal(request, _translate(error), guard, pages)
            response.headers.update(
                {name: value for name, value in error.headers.items() if name == hdrs.ALLOW}
            )
            return response
        except Exception as error:
            return _refusal(request, _explain(request, error), guard, pages)
        if needed is not None and needed > Access.PUBLIC and not response.prepared:
            response.headers[CLUSTER_HEADER] = views.cluster.status().cluster
        return response

    return middleware


def _needed(request: web.Request, access: dict[tuple[str, str], Access]) -> Access | None:
    """What the matched route asks for; None when none matched."""
    resource = request.match_info.route.resource
    if resource is None:
        return None
    method = hdrs.METH_GET if request.method == hdrs.METH_HEAD else request.method
    return access.get((method, resource.canonical))


def _translate(error: web.HTTPException) -> ApiError:
    if error.status == 404:
        return NotFound("there is nothing at this address")
    translated = ApiError(error.reason)
    translated.status, translated.title = error.status, error.reason
    return translated


def _explain(request: web.Request, error: Exception) -> ApiError:
    if isinstance(error, ApiError):
        return error
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull("the disk of this node is full; nothing was stored")
    if isinstance(error, OSError):
        return Unavailable(str(error) or type(error).__name__)
    log.error(f"request_failed method={request.method} path={request.path}", exc_info=error)
    unexpected = ApiError("this is a bug in peerdisco; the node's log has the details")
    unexpected.status, unexpected.title = 500, "Internal error"
    return unexpected


def _refusal(request: web.Request, error: ApiError, guard: Guard, pages: Pages) -> web.Response:
    """A page for people who may read pages, problem+json for everybody else."""
    wants_page = "text/html" in request.headers.get(hdrs.ACCEPT, "")
    may_read = (
        not isinstance(error, Unauthorized | Forbidden) and guard.authorize(request) >= Access.READ
    )
    if wants_page and may_read and not request.path.startswith("/api/"):
        return pages.problem(request, error)
    return problem_response(error)
