"""REST of tags: list, read, append, replace, delete, attributes, and chunking a stream into one."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import aclosing

from aiohttp import web

from peerdisco_webui.chunks import LineTooLong, chunks_of_lines
from peerdisco_webui.errors import BadRequest, NotFound, TooLarge
from peerdisco_webui.messages import (
    Append,
    Attributes,
    AttributeValue,
    BlobView,
    Chunked,
    Replace,
)
from peerdisco_webui.ports import Files
from peerdisco_webui.wire import (
    json_response,
    query_flag,
    query_int,
    read_json,
    stream_body,
)

LIST_DEFAULT, LIST_MAX = 1000, 10_000
ATTRIBUTE_NAME_MAX = 1024
ATTRIBUTE_BYTES_MAX = 4096
URL_CHARACTERS_MAX = 16384
_URL = re.compile(r"[a-z][a-z0-9+.\-]*:[^\x00-\x1f\x7f]+")
_TAG_NAME = re.compile(r"[A-Za-z0-9_.@:+/=\-]{1,511}")


class TagsApi:
    """Handlers over the tag half of the Files port."""

    def __init__(self, files: Files) -> None:
        self._files = files

    async def list(self, request: web.Request) -> web.Response:
        """Names in order; `prefix`, `after` and `limit` select."""
        page = await self._files.list(
            request.query.get("prefix", ""),
            after=request.query.get("after", ""),
            limit=query_int(request, "limit", LIST_DEFAULT, most=LIST_MAX),
        )
        return json_response(page)

    async def get(self, request: web.Request) -> web.Response:
        """The tag; `stale_ok` accepts what a minority of its homes knows."""
        tag = await self._files.tag(tag_name(request), stale_ok=query_flag(request, "stale_ok"))
        return json_response(tag)

    async def append(self, request: web.Request) -> web.Response:
        """Put URLs in front."""
        change = await read_json(request, Append)
        _check_urls(change.urls)
        return json_response(await self._files.append(tag_name(request), change))

    async def replace(self, request: web.Request) -> web.Response:
        """Exchange all URLs."""
        change = await read_json(request, Replace)
        _check_urls(change.urls)
        return json_response(await self._files.replace(tag_name(request), change))

    async def delete(self, request: web.Request) -> web.Response:
        """Delete the tag."""
        await self._files.delete(tag_name(request))
        return web.Response(status=204)

    async def attributes(self, request: web.Request) -> web.Response:
        """All attributes of the tag."""
        tag = await self._files.tag(tag_name(request), stale_ok=False)
        return json_response(Attributes(attributes=tag.attributes))

    async def get_attribute(self, request: web.Request) -> web.Response:
        """One attribute."""
        key = _attribute_name(request)
        tag = await self._files.tag(tag_name(request), stale_ok=False)
        if key not in tag.attributes:
            raise NotFound(f"the tag {tag.name} has no attribute {key}")
        return json_response(AttributeValue(value=tag.attributes[key]))

    async def set_attribute(self, request: web.Request) -> web.Response:
        """Set one attribute."""
        value = (await read_json(request, AttributeValue)).value
        if len(value.encode()) > ATTRIBUTE_BYTES_MAX:
            raise BadRequest(f"an attribute has at most {ATTRIBUTE_BYTES_MAX} bytes")
        key = _attribute_name(request)
        return json_response(await self._files.set_attribute(tag_name(request), key, value))

    async def delete_attribute(self, request: web.Request) -> web.Response:
        """Delete one attribute."""
        key = _attribute_name(request)
        return json_response(await self._files.set_attribute(tag_name(request), key, None))

    async def chunk(self, request: web.Request) -> web.Response:
        """Cut a text at line ends, store the chunks, and put them in front of the tag."""
        name = tag_name(request)
        blobs: list[BlobView] = []
        try:
            async with aclosing(chunks_of_lines(stream_body(request))) as chunks:
                async for chunk in chunks:
                    blobs.append(await self._files.put(_once(chunk), replicas=None))  # noqa: PERF401 - aclosing needs the loop
        except LineTooLong as error:
            raise BadRequest(f"{error}; store it as one blob instead") from None
        urls = tuple((blob.url,) for blob in blobs)
        tag = await self._files.append(name, Append(urls=urls))
        return json_response(Chunked(tag=tag, blobs=tuple(blobs)), status=201)


def tag_name(request: web.Request) -> str:
    """The checked name of the tag in the path."""
    name = request.match_info["name"]
    if _TAG_NAME.fullmatch(name) is None:
        raise BadRequest("a tag's name has 1 to 511 of A-Z a-z 0-9 _ . @ : + / = -")
    return name


def _attribute_name(request: web.Request) -> str:
    key = request.match_info["key"]
    if len(key.encode()) > ATTRIBUTE_NAME_MAX:
        raise BadRequest(f"the name of an attribute has at most {ATTRIBUTE_NAME_MAX} bytes")
    return key


def _check_urls(urls: tuple[tuple[str, ...], ...]) -> None:
    if any(not replicas for replicas in urls):
        raise BadRequest("each entry is a list of at least one URL")
    for url in (url for replicas in urls for url in replicas):
        if len(url) > URL_CHARACTERS_MAX:
            raise TooLarge(
                f"a URL has at most {URL_CHARACTERS_MAX} characters; store more as a blob"
            )
        if _URL.fullmatch(url) is None:
            raise BadRequest(f"not a URL, as tags hold them: {url!r:.100}")


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
