"""Disco's own REST of DDFS, under `/ddfs/`, for programs that were written for Disco.

Tags look as Disco showed them, and failures are plain words with Disco's codes. It is an adapter
over the same port as `/api/v1` and keeps nothing. What differs, since there is no master and blobs
are named by their content:

- A blob's URL bears its content's name where Disco had two digits of a hash:
  `disco://HOST/ddfs/vol0/blob/b3-.../NAME$TIME`. Any node serves it, so HOST is the node that
  answers. In a tag it stands beside the blob's own URL, so that jobs and garbage collection see it.
- `new_blob` answers one URL: the node that is given the bytes makes all the replicas.
- Tokens are kept as hashes: reading one that is set is refused, not answered.
- `gc_start` is a POST, for a GET changes nothing; `hosted_tags` is left out, since no host holds a
  tag.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import wraps
from typing import TypeVar

import msgspec
from aiohttp import hdrs, web

from peerdisco_webui.api_files import BlobsApi
from peerdisco_webui.api_tags import ATTRIBUTE_BYTES_MAX, ATTRIBUTE_NAME_MAX, check_urls
from peerdisco_webui.errors import (
    ApiError,
    BadRequest,
    Conflict,
    NotFound,
    TagTokenNeeded,
    TooLarge,
    Unavailable,
)
from peerdisco_webui.messages import Append, MemberState, Replace, TagTokenKind, TagView
from peerdisco_webui.ports import Caller, Views
from peerdisco_webui.upkeep_messages import CollectionAction
from peerdisco_webui.wire import JSON_BYTES_MAX, caller_of, query_int, read_body, stream_body

T = TypeVar("T")
Handler = Callable[["DiscoApi", web.Request], Awaitable[web.StreamResponse]]

REPLICAS_MAX = 16
LIST_PAGE = 10_000
LONG_NAME = 200
"""A longer name of a blob is replaced by its hash, as in Disco."""
URLS = "ddfs:urls"
TOKENS = {"ddfs:read-token": TagTokenKind.READ, "ddfs:write-token": TagTokenKind.WRITE}
RESERVED = "ddfs:"
BLOB = "blob:"
NO_NAME = "$0-0-0"
"""Ends the name of a blob that was given none."""

_NAME = re.compile(r"[A-Za-z0-9_\-@:]{1,511}")
_STAMPED = re.compile(r"[A-Za-z0-9_\-@:]{1,511}\$[0-9a-f\-]{1,64}")
_ALIAS = re.compile(r"disco://[^/]+/ddfs/[^/]+/blob/(b3-[0-9a-f]{64})/([^/]{1,600})")


class Refused(Exception):
    """An answer in Disco's words."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(status, text)
        self.status = status
        self.text = text


def in_discos_words(handler: Handler) -> Handler:
    """Failures as Disco told them: a code and a line of text."""

    @wraps(handler)
    async def answer(self: DiscoApi, request: web.Request) -> web.StreamResponse:
        try:
            return await handler(self, request)
        except Refused as refusal:
            status, text = refusal.status, refusal.text
        except TagTokenNeeded:
            status, text = 401, "Incorrect or missing token."
        except NotFound as error:
            blob = handler.__name__ == "get_blob"
            status, text = 404, error.detail if blob else "Tag not found."
        except (Unavailable, OSError):
            status, text = 503, "Temporary server error. Try again."
        except (BadRequest, Conflict) as error:
            status, text = 403, error.detail
        headers = {hdrs.WWW_AUTHENTICATE: 'Basic realm="tag"'} if status == 401 else {}
        return web.Response(status=status, text=text, headers=headers)

    return answer


class DiscoApi:
    """Handlers of `/ddfs/`.

    Args:
        views: The node.
        wall_time: Seconds since the epoch, for the names of new blobs.
        basic_tokens: Whether a Basic authorization holds a tag's token, as it does where nobody
            has to log in.
    """

    def __init__(self, views: Views, wall_time: Callable[[], float], *, basic_tokens: bool) -> None:
        self._files = views.files
        self._cluster = views.cluster
        self._upkeep = views.upkeep
        self._blobs = BlobsApi(views.files)
        self._wall_time = wall_time
        self._basic_tokens = basic_tokens

    # -- blobs

    @in_discos_words
    async def new_blob(self, request: web.Request) -> web.StreamResponse:
        """Where to put a blob of that name."""
        name = _checked(request.match_info["name"])
        if len(name) > LONG_NAME:
            name = hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()
        replicas = query_int(request, "replicas", 0, most=REPLICAS_MAX)
        living = (MemberState.ALIVE, MemberState.SUSPECT)
        nodes = [m for m in self._cluster.members() if m.storage and m.state in living]
        if replicas > len(nodes):
            raise Refused(403, "Not enough nodes for replicas.")
        suffix = f"?replicas={replicas}" if replicas else ""
        stamp = _stamp(self._wall_time())
        return _json([f"{request.scheme}://{request.host}/ddfs/{name}${stamp}{suffix}"])

    @in_discos_words
    async def put_blob(self, request: web.Request) -> web.StreamResponse:
        """Store the body; its URL."""
        name = request.match_info["name"]
        if _STAMPED.fullmatch(name) is None:
            raise Refused(403, "Invalid blob name")
        replicas = query_int(request, "replicas", 0, most=REPLICAS_MAX)
        blob = await self._files.put(stream_body(request), replicas=replicas or None)
        return _json(_alias(request, blob.id, name), status=201)

    @in_discos_words
    async def get_blob(self, request: web.Request) -> web.StreamResponse:
        """The bytes, or a range of them."""
        name = request.match_info["name"]
        if not re.fullmatch(r"[A-Za-z0-9_\-@:$]{1,600}", name):
            raise Refused(403, "Invalid blob name")
        return await self._blobs.send(request, request.match_info["id"], name)

    # -- tags

    @in_discos_words
    async def tags(self, request: web.Request) -> web.StreamResponse:
        """All names with a prefix; its slashes are colons."""
        parts = [request.match_info.get(key, "") for key in ("a", "b", "c")]
        prefix = ":".join(":".join(part.split("/")) for part in parts if part).strip(":")
        if prefix:
            _checked(prefix)
        names: list[str] = []
        after = ""
        while True:
            page = await self._files.list(prefix, after=after, limit=LIST_PAGE)
            if page.missing:
                raise Refused(500, "Internal server error: too_many_failed_nodes")
            names += page.names
            if not (after := page.next):
                return _json(names)

    @in_discos_words
    async def get(self, request: web.Request) -> web.StreamResponse:
        """The tag."""
        tag = await self._tag(request)
        return _json(
            {
                "version": 1,
                "id": _id(tag),
                "last-modified": _calendar(tag.modified),
                "urls": _outward(request, tag),
                "user-data": tag.attributes,
            }
        )

    @in_discos_words
    async def append(self, request: web.Request) -> web.StreamResponse:
        """Put URLs in front; `update` leaves out what is there, `delayed` waits for others."""
        name, urls = _name_of(request), _inward(await _body(request, list[list[str]]))
        flags = {key: request.query.get(key, "") != "" for key in ("update", "delayed")}
        change = Append(urls=urls, unique=flags["update"], delayed=flags["delayed"])
        return _written(request, await self._files.append(name, change, caller=self._who(request)))

    @in_discos_words
    async def put(self, request: web.Request) -> web.StreamResponse:
        """Exchange all URLs."""
        name, urls = _name_of(request), _inward(await _body(request, list[list[str]]))
        change = Replace(urls=urls)
        return _written(request, await self._files.replace(name, change, caller=self._who(request)))

    @in_discos_words
    async def delete(self, request: web.Request) -> web.StreamResponse:
        """Delete the tag, or say so of one that there is not."""
        await self._files.delete(_name_of(request), caller=self._who(request))
        return _json("deleted")

    # -- attributes

    @in_discos_words
    async def get_attribute(self, request: web.Request) -> web.StreamResponse:
        """An attribute; null for a token that is not set."""
        tag, attribute = await self._tag(request), request.match_info["attribute"]
        if attribute == URLS:
            return _json(_outward(request, tag))
        if attribute in TOKENS:
            return _no_token(tag, TOKENS[attribute])
        if attribute not in tag.attributes:
            raise Refused(404, "Tag attribute not found.")
        return _json(tag.attributes[attribute])

    @in_discos_words
    async def put_attribute(self, request: web.Request) -> web.StreamResponse:
        """Set an attribute, a token, or all URLs."""
        name, attribute = _name_of(request), _attribute_of(request)
        who = self._who(request)
        if attribute == URLS:
            change = Replace(urls=_inward(await _body(request, list[list[str]])))
            return _written(request, await self._files.replace(name, change, caller=who))
        value = await _body(request, str)
        if attribute in TOKENS:
            await self._files.set_token(name, TOKENS[attribute], value, caller=who)
            return _json([])
        if len(value.encode("utf-8", "surrogatepass")) > ATTRIBUTE_BYTES_MAX:
            raise Refused(403, "Attribute value too big.")
        try:
            tag = await self._files.set_attribute(name, attribute, value, caller=who)
        except TooLarge:
            raise Refused(403, "Too many attributes") from None
        return _written(request, tag)

    @in_discos_words
    async def delete_attribute(self, request: web.Request) -> web.StreamResponse:
        """Delete an attribute or a token; one that is not there is no error."""
        name, attribute, who = _name_of(request), _attribute_of(request), self._who(request)
        if attribute in TOKENS:
            await self._files.set_token(name, TOKENS[attribute], None, caller=who)
        elif attribute == URLS:
            raise Refused(403, "Invalid attribute key or value")
        else:
            await self._files.set_attribute(name, attribute, None, caller=who)
        return _json("deleted")

    # -- garbage collection

    @in_discos_words
    async def gc_status(self, request: web.Request) -> web.StreamResponse:
        """What the collection is doing; empty when it does nothing."""
        del request
        view = await self._upkeep.collection()
        return _json(view.phase if view.running else "")

    @in_discos_words
    async def gc_stats(self, request: web.Request) -> web.StreamResponse:
        """What the newest collection kept and deleted: [files, bytes]."""
        del request
        view = await self._upkeep.collection()
        if view.running or not view.generation:
            return _json("")
        counts = {tally.verdict: [tally.copies, tally.bytes] for tally in view.tallies}
        nothing = [0, 0]
        stats = {
            "Tags kept": [view.registers, 0],
            "Tags deleted": nothing,
            "Blobs kept": counts.get("keep", nothing),
            "Blobs deleted": counts.get("remove", nothing),
        }
        return _json({"timestamp": _calendar(view.began_at), "stats": stats})

    @in_discos_words
    async def gc_start(self, request: web.Request) -> web.StreamResponse:
        """Start a collection."""
        del request
        view = await self._upkeep.collection()
        if view.running:
            return _json("GC is waiting")
        await self._upkeep.collect(CollectionAction.RUN)
        return _json("GC has started")

    @in_discos_words
    async def safe_gc_blacklist(self, request: web.Request) -> web.StreamResponse:
        """Nodes that are leaving and hold nothing any more that is needed."""
        del request
        layout = await self._upkeep.layout()
        leaving = [node for node in layout.nodes if node.state != "up"]
        return _json([node.name for node in leaving if node.leaving_blobs == 0])

    async def _tag(self, request: web.Request) -> TagView:
        return await self._files.tag(_name_of(request), stale_ok=False, caller=self._who(request))

    def _who(self, request: web.Request) -> Caller:
        return caller_of(request, _basic_token(request) if self._basic_tokens else None)


def _no_token(tag: TagView, kind: TagTokenKind) -> web.Response:
    """What may be said of a token: that it is not set."""
    if tag.write_protected if kind is TagTokenKind.WRITE else tag.read_protected:
        raise Refused(403, "Tokens are kept as hashes and cannot be read.")
    return _json(None)


def _basic_token(request: web.Request) -> str | None:
    """Disco's way to send a tag's token: the password of the user `token`."""
    scheme, _, value = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, token = base64.b64decode(value.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return token if colon and user == "token" else None


async def _body(request: web.Request, kind: type[T]) -> T:
    body = await read_body(request, JSON_BYTES_MAX)
    try:
        value = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Refused(403, "Invalid request body.") from None
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:
        words = "Invalid attribute key or value" if kind is str else "Invalid url object"
        raise Refused(403, words) from None


def _checked(name: str) -> str:
    if _NAME.fullmatch(name) is None:
        raise Refused(403, "Invalid tag")
    return name


def _name_of(request: web.Request) -> str:
    return _checked(request.match_info["name"])


def _attribute_of(request: web.Request) -> str:
    attribute = request.match_info["attribute"]
    if len(attribute.encode("utf-8", "surrogatepass")) > ATTRIBUTE_NAME_MAX:
        raise Refused(403, "Attribute name too big.")
    if attribute.startswith(RESERVED) and attribute != URLS and attribute not in TOKENS:
        raise Refused(404, "Tag attribute not found.")
    return attribute


def _inward(entries: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    """Entries as tags keep them: in front of a URL of Disco's the blob that it stands for."""
    try:
        check_urls(entries)
    except ApiError:
        raise Refused(403, "Invalid url object") from None
    return tuple(_entry_inward(entry) for entry in entries)


def _entry_inward(entry: Sequence[str]) -> tuple[str, ...]:
    urls: dict[str, None] = {}
    named = False
    for url in entry:
        alias = _ALIAS.fullmatch(url)
        if alias is None:
            urls[url] = None
            continue
        urls[BLOB + alias[1]] = None
        if not named and not alias[2].endswith(NO_NAME):
            urls[url] = None
            named = True
    return tuple(urls)


def _outward(request: web.Request, tag: TagView) -> list[list[str]]:
    """Entries as Disco's programs read them."""
    return [_entry_outward(request, entry) for entry in tag.urls]


def _entry_outward(request: web.Request, entry: Sequence[str]) -> list[str]:
    names = {}
    for url in entry:
        alias = _ALIAS.fullmatch(url)
        if alias is not None:
            names[alias[1]] = alias[2]
    urls = []
    for url in entry:
        blob = url.removeprefix(BLOB)
        if url.startswith(BLOB):
            urls.append(_alias(request, blob, names.get(blob, blob + NO_NAME)))
        elif _ALIAS.fullmatch(url) is None:
            urls.append(url)
    return urls


def _alias(request: web.Request, blob: str, name: str) -> str:
    return f"disco://{_host(request)}/ddfs/vol0/blob/{blob}/{name}"


def _written(request: web.Request, tag: TagView) -> web.Response:
    """Where the new incarnation of the tag is."""
    return _json([f"disco://{_host(request)}/ddfs/vol0/tag/00/{_id(tag)}"])


def _host(request: web.Request) -> str:
    """The node, without the port, which Disco's programs know by themselves."""
    return re.sub(r":\d+$", "", request.host)


def _id(tag: TagView) -> str:
    """Changes with every change of the tag, and with nothing else."""
    seconds = int(tag.modified)
    return f"{tag.name}${seconds // 10**6:x}-{seconds % 10**6:x}-{tag.version:x}"


def _stamp(now: float) -> str:
    seconds, micros = int(now), int(now * 10**6) % 10**6
    return f"{seconds // 10**6:x}-{seconds % 10**6:x}-{micros:x}"


def _calendar(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y/%m/%d %H:%M:%S")


def _json(value: object, *, status: int = 200) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(value),
        status=status,
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )
