"""REST of blobs: stream in, stream out, byte ranges.

A blob never changes, so its answers may be cached for ever. A stream that breaks on our side
breaks the connection: a short answer never looks complete.
"""

from __future__ import annotations

import logging
import re

from aiohttp import hdrs, web

from peerdisco_webui.conditions import check_match, not_modified, range_holds
from peerdisco_webui.errors import ApiError, BadRequest, RangeNotSatisfiable
from peerdisco_webui.messages import BlobView
from peerdisco_webui.ports import Files
from peerdisco_webui.wire import caller_of, json_response, query_int, slices, stream_body

REPLICAS_MAX = 16
OWNER_MAX = 255
_OWNER = re.compile(rf"[A-Za-z0-9_.:@\-]{{0,{OWNER_MAX}}}")

log = logging.getLogger(__name__)


class BlobsApi:
    """Handlers over the blob half of the Files port."""

    def __init__(self, files: Files) -> None:
        self._files = files

    async def put(self, request: web.Request) -> web.Response:
        """Store the body; `replicas` overrides the number of copies, `owner` says for whom.

        What belongs to a job goes when the job is purged. `tag` says where the blob will be named,
        so that quotas can refuse it before it is sent.
        """
        replicas = query_int(request, "replicas", 0, most=REPLICAS_MAX)
        owner = request.query.get("owner", "")
        if _OWNER.fullmatch(owner) is None:
            raise BadRequest(f"an owner has at most {OWNER_MAX} of A-Z a-z 0-9 _ . : @ -")
        blob = await self._files.put(
            stream_body(request),
            replicas=replicas or None,
            owner=owner,
            tag=request.query.get("tag", ""),
            size=request.content_length or 0,
            caller=caller_of(request),
        )
        return json_response(blob, status=201)

    async def get(self, request: web.Request) -> web.StreamResponse:
        """The bytes of a blob, or one range of them."""
        return await self.send(request, request.match_info["id"])

    async def send(
        self, request: web.Request, blob_id: str, filename: str = ""
    ) -> web.StreamResponse:
        """Answer with a blob: whole, a range of it, or 304 to who has it already."""
        blob = await self._files.stat(blob_id)
        check_match(request.headers, blob.id)
        if not_modified(request.headers, blob.id):
            return web.Response(status=304, headers=_headers(blob, filename))
        ranged = hdrs.RANGE in request.headers and range_holds(request.headers, blob.id)
        start, stop = _range(request, blob) if ranged else (0, blob.size)
        response = web.StreamResponse(status=206 if ranged else 200)
        response.content_type = "application/octet-stream"
        response.content_length = stop - start
        response.headers.update(_headers(blob, filename))
        if response.status == 206:
            response.headers[hdrs.CONTENT_RANGE] = f"bytes {start}-{stop - 1}/{blob.size}"
        if request.method == hdrs.METH_HEAD or start == stop:
            return response
        async with self._files.open(blob.id, offset=start, size=stop - start) as pieces:
            await response.prepare(request)
            try:
                async for piece in pieces:
                    for part in slices(piece):
                        await response.write(part)
            except (OSError, ApiError) as error:
                log.warning(f"blob_stream_broken id={blob.id} error={error}")
                if request.transport is not None:
                    request.transport.abort()
        return response


def _headers(blob: BlobView, filename: str) -> dict[str, str]:
    return {
        hdrs.ACCEPT_RANGES: "bytes",
        hdrs.ETAG: f'"{blob.id}"',
        hdrs.CACHE_CONTROL: "private, max-age=31536000, immutable",
        # Blobs hold anything; a browser must save them, never run them.
        hdrs.CONTENT_DISPOSITION: f'attachment; filename="{filename or blob.id}"',
    }


def _range(request: web.Request, blob: BlobView) -> tuple[int, int]:
    """The first byte and the one behind the last that the request asks for."""
    try:
        wanted = request.http_range
    except ValueError:
        raise BadRequest("Range is `bytes=first-last`, one range only") from None
    start, stop, _ = wanted.indices(blob.size)
    if start >= stop:
        raise RangeNotSatisfiable(f"the blob has {blob.size} bytes")
    return start, stop
