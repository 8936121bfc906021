"""REST of tags: list, read, append, replace, delete, attributes, tokens, history, and chunking."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, contextmanager

import msgspec
from aiohttp import hdrs, web

from peerdisco_webui.chunks import LineTooLong, chunks_of_lines
from peerdisco_webui.conditions import check_match, expected_version, not_modified
from peerdisco_webui.errors import BadRequest, Conflict, NotFound, PreconditionFailed, TooLarge
from peerdisco_webui.messages import (
    Append,
    Attributes,
    AttributeValue,
    BlobView,
    Chunked,
    Replace,
    TagTokenKind,
    TagView,
    TokenValue,
)
from peerdisco_webui.ports import Files
from peerdisco_webui.wire import (
    caller_of,
    json_response,
    query_flag,
    query_int,
    read_json,
    stream_body,
)

LIST_DEFAULT, LIST_MAX = 1000, 10_000
ATTRIBUTE_NAME_MAX = 1024
ATTRIBUTE_BYTES_MAX = 4096
ENTRY_CHARACTERS_MAX = 16384
SESSION_CHARACTERS_MAX, SEQUENCE_MAX = 64, 10**15
_URL = re.compile(r"[a-z][a-z0-9+.\-]*:[^\x00-\x1f\x7f\ud800-\udfff]+")
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
        stale_ok = query_flag(request, "stale_ok")
        tag = await self._files.tag(tag_name(request), stale_ok=stale_ok, caller=caller_of(request))
        return _conditional(request, tag)

    async def history(self, request: web.Request) -> web.Response:
        """The last changes."""
        history = await self._files.history(tag_name(request), caller=caller_of(request))
        return json_response(history)

    async def append(self, request: web.Request) -> web.Response:
        """Put URLs in front, if `If-Match` or `if_version` in the body hold."""
        change = await read_json(request, Append)
        check_urls(change.urls)
        if len(change.session) > SESSION_CHARACTERS_MAX or not 0 <= change.sequence < SEQUENCE_MAX:
            raise BadRequest(
                f"a session has at most {SESSION_CHARACTERS_MAX} characters, "
                "and the number of an operation at most 15 digits"
            )
        expected = expected_version(request.headers)
        if expected is not None:
            change = msgspec.structs.replace(change, if_version=expected)
        with _precondition(expected):
            tag = await self._files.append(tag_name(request), change, caller=caller_of(request))
        return _tag_response(tag)

    async def replace(self, request: web.Request) -> web.Response:
        """Exchange all URLs, if `If-Match` or `if_version` in the body hold."""
        change = await read_json(request, Replace)
        check_urls(change.urls)
        expected = expected_version(request.headers)
        if expected is not None:
            change = msgspec.structs.replace(change, if_version=expected)
        with _precondition(expected):
            tag = await self._files.replace(tag_name(request), change, caller=caller_of(request))
        return _tag_response(tag)

    async def delete(self, request: web.Request) -> web.Response:
        """Delete the tag, if `If-Match` holds."""
        expected = expected_version(request.headers)
        with _precondition(expected):
            await self._files.delete(
                tag_name(request), if_version=expected, caller=caller_of(request)
            )
        return web.Response(status=204)

    async def attributes(self, request: web.Request) -> web.Response:
        """All attributes of the tag."""
        tag = await self._read(request)
        return json_response(Attributes(attributes=tag.attributes))

    async def get_attribute(self, request: web.Request) -> web.Response:
        """One attribute."""
        key = _attribute_name(request)
        tag = await self._read(request)
        if key not in tag.attributes:
            raise NotFound(f"the tag {tag.name} has no attribute {key}")
        return json_response(AttributeValue(value=tag.attributes[key]))

    async def set_attribute(self, request: web.Request) -> web.Response:
        """Set one attribute."""
        value = (await read_json(request, AttributeValue)).value
        if len(value.encode()) > ATTRIBUTE_BYTES_MAX:
            raise BadRequest(f"an attribute has at most {ATTRIBUTE_BYTES_MAX} bytes")
        return await self._change_attribute(request, value)

    async def delete_attribute(self, request: web.Request) -> web.Response:
        """Delete one attribute."""
        return await self._change_attribute(request, None)

    async def set_token(self, request: web.Request) -> web.Response:
        """Set the read or the write token."""
        token = (await read_json(request, TokenValue)).token
        return await self._change_token(request, token)

    async def delete_token(self, request: web.Request) -> web.Response:
        """Remove the read or the write token."""
        return await self._change_token(request, None)

    async def _read(self, request: web.Request) -> TagView:
        return await self._files.tag(tag_name(request), stale_ok=False, caller=caller_of(request))

    async def _change_attribute(self, request: web.Request, value: str | None) -> web.Response:
        _refuse_conditions(request)
        tag = await self._files.set_attribute(
            tag_name(request), _attribute_name(request), value, caller=caller_of(request)
        )
        return _tag_response(tag)

    async def _change_token(self, request: web.Request, token: str | None) -> web.Response:
        _refuse_conditions(request)
        try:
            kind = TagTokenKind(request.match_info["kind"])
        except ValueError:
            raise NotFound("a tag has a `read` and a `write` token") from None
        await self._files.set_token(tag_name(request), kind, token, caller=caller_of(request))
        return web.Response(status=204)

    async def chunk(self, request: web.Request) -> web.Response:
        """Cut a text at line ends, store the chunks, and put them in front of the tag."""
        name = tag_name(request)
        caller = caller_of(request)  # bad headers are refused before anything is stored
        blobs: list[BlobView] = []
        try:
            async with aclosing(chunks_of_lines(stream_body(request))) as chunks:
                async for chunk in chunks:
                    blob = await self._files.put(
                        _once(chunk), replicas=None, tag=name, size=len(chunk), caller=caller
                    )
                    blobs.append(blob)
        except LineTooLong as error:
            raise BadRequest(f"{error}; store it as one blob instead") from None
        urls = tuple((blob.url,) for blob in blobs)
        tag = await self._files.append(name, Append(urls=urls), caller=caller)
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


def check_urls(urls: Sequence[Sequence[str]]) -> None:
    """Raises BadRequest or TooLarge for entries that no tag may have."""
    for replicas in urls:
        if not replicas:
            raise BadRequest("each entry is a list of at least one URL")
        if sum(map(len, replicas)) > ENTRY_CHARACTERS_MAX:
            raise TooLarge(
                f"the URLs of an entry have at most {ENTRY_CHARACTERS_MAX} characters together; "
                "store more as a blob"
            )
        for url in replicas:
            if _URL.fullmatch(url) is None:
                raise BadRequest(f"not a URL, as tags hold them: {url!r:.100}")


def _tag_response(tag: TagView) -> web.Response:
    response = json_response(tag)
    if not tag.stale:
        response.headers[hdrs.ETAG] = f'"{tag.version}"'
    return response


def _conditional(request: web.Request, tag: TagView) -> web.Response:
    """The tag, or 304 to who has this version; an answer that may be old has no ETag."""
    if not tag.stale:
        check_match(request.headers, str(tag.version))
        if not_modified(request.headers, str(tag.version)):
            return web.Response(status=304, headers={hdrs.ETAG: f'"{tag.version}"'})
    return _tag_response(tag)


def _refuse_conditions(request: web.Request) -> None:
    if expected_version(request.headers) is not None:
        raise BadRequest("attributes and tokens are changed without conditions")


@contextmanager
def _precondition(expected: int | None) -> Iterator[None]:
    """A conflict with a version that stood in a header is a failed precondition."""
    try:
        yield
    except Conflict as error:
        if expected is None:
            raise
        raise PreconditionFailed(error.detail) from error


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
