"""Tags as users see them: append, get, replace, delete, attributes, list.

Every operation on one tag is linearizable: no acknowledged append is lost and none is applied
twice. Between two tags nothing is promised. The rules are in `head.py`, the agreement below in
`registers/`. Blobs that a change names are pinned before it commits. Who may do what is in
`tokens.py`; a write is judged by the tag's coordinator together with its effect, a read by the
node that is asked. Quotas are their callers' business.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from peerdisco_dht.background import Background
from peerdisco_dht.blobs.identity import is_id
from peerdisco_dht.config import StorageConfig
from peerdisco_dht.epochs import EpochRpc
from peerdisco_dht.errors import (
    Conflict,
    Denied,
    Forgotten,
    Limit,
    NoSuchTag,
    StorageError,
    Unavailable,
)
from peerdisco_dht.fanout import ask_all
from peerdisco_dht.keeper import LayoutKeeper
from peerdisco_dht.messages import BadMessage, decode, encode
from peerdisco_dht.registers.listing import list_names
from peerdisco_dht.registers.messages import (
    NamesRequest,
    Operation,
    RegisterValue,
    Reply,
    Result,
)
from peerdisco_dht.registers.router import Router
from peerdisco_dht.tags.answers import Tag, TagHistory, TagInfo, TagPage
from peerdisco_dht.tags.delaying import Delayer
from peerdisco_dht.tags.head import (
    CONFLICT,
    DENIED,
    LIMIT,
    NO_SUCH_TAG,
    TAIL_MAX,
    Append,
    DeleteTag,
    Entry,
    Item,
    Replace,
    Segment,
    SegmentContent,
    SetAttribute,
    SetToken,
    TagHead,
    Urls,
    Write,
    check_attribute,
    check_name,
    entry_name,
    pack,
)
from peerdisco_dht.tags.tokens import (
    ANYBODY,
    SALT_BYTES,
    Caller,
    Claim,
    Secret,
    TokenKind,
    check_caller,
    may_read,
    may_write,
    seal,
)
from peerdisco_dht.wanted import check_setting

BLOB = "blob:"
"""What URLs of blobs begin with."""
TAG_OWNER = "@tags"
"""Whose pins hold what tags name; only the garbage collection releases them."""
PREFIX = "t/"
"""What names of tag registers begin with, so that kinds never collide."""
SEGMENTS_AT_A_TIME = 8
SEGMENT_BYTES_MAX = 64 << 20
TAIL_CHARACTERS_MAX = 1 << 18
"""Entries with more in their URLs go into segments right away, however few they are."""
UNIQUE_TRIES_MAX = 16
"""Lost races after which an append of unique entries gives up."""
RACE_PAUSE_S = 0.02

OpId = tuple[str, int]
"""A client's session, and the number of the operation within it."""


class SegmentStore(Protocol):
    """Where segments lie."""

    async def put_bytes(self, data: bytes) -> str:
        """Store a segment durably; its blob id."""

    async def read(self, blob: str, *, limit_bytes: int) -> bytes:
        """The content of a segment."""


class Pinner(Protocol):
    """Keeps what is about to be named from the garbage collection."""

    async def pin_urls(
        self, entries: Sequence[Sequence[str]], owner: str, *, missing_ok: bool = False
    ) -> None:
        """Pin every blob among the URLs; raises NoSuchBlob, BadName or Unavailable."""


class Tags:
    """The tags of the cluster, from any node.

    Methods raise BadName for names that no tag can have, Denied when the caller's token does not
    allow it, Unavailable when too few of a tag's homes can be reached, and Forgotten when a retry
    came too late to be recognised.
    """

    def __init__(
        self,
        router: Router,
        background: Background,
        epochs: EpochRpc,
        keeper: LayoutKeeper,
        segments: SegmentStore,
        pinner: Pinner,
        wall_time: Callable[[], float],
        rng: random.Random,
        entropy: Callable[[int], bytes],
        config: StorageConfig,
    ) -> None:
        self._router = router
        self._delayer = Delayer(router.submit_all, background)
        self._epochs = epochs
        self._keeper = keeper
        self._segments = segments
        self._pinner = pinner
        self._wall_time = wall_time
        self._rng = rng
        self._entropy = entropy
        self._config = config

    async def append(
        self,
        name: str,
        urls: Sequence[Sequence[str]],
        *,
        unique: bool = False,
        delayed: bool = False,
        if_version: int | None = None,
        op_id: OpId | None = None,
        owner: str = TAG_OWNER,
        caller: Caller = ANYBODY,
    ) -> TagInfo:
        """Put entries before all others, in the given order; creates the tag.

        Blobs among the URLs must exist: NoSuchBlob is raised, and nothing is changed, when one
        does not. They are pinned for `owner`, so that no other owner's delete takes them away.

        With `unique`, entries that the tag has already, or that repeat, are left out (see
        `head.entry_name`); the new ones are put on the front one by one, as Disco does, and so
        end up reversed. With `delayed` the append may wait a second for others to share a round
        with; one of unique entries never does. Raises Conflict when the tag does not have version
        `if_version` (0: does not exist). Giving the same `op_id` again never appends twice.
        """
        check_name(name)
        claim = self._claim(caller)
        entries = [tuple(entry) for entry in urls]
        await self._pinner.pin_urls(entries, owner)
        if unique:
            return await self._append_unique(name, entries, if_version, op_id, claim)
        action = Append(await self._items(entries), self._wall_time(), if_version, claim)
        return await self._write(name, action, op_id, delayed=delayed)

    async def replace(
        self,
        name: str,
        urls: Sequence[Sequence[str]],
        *,
        if_version: int | None = None,
        op_id: OpId | None = None,
        owner: str = TAG_OWNER,
        missing_ok: bool = False,
        caller: Caller = ANYBODY,
    ) -> TagInfo:
        """Put entries in place of all others; creates the tag.

        Blobs are pinned as by `append`; with `missing_ok` those that nobody has are named all the
        same. Raises Conflict when the tag does not have version `if_version` (0: does not exist).
        """
        check_name(name)
        claim = self._claim(caller)
        await self._pinner.pin_urls(urls, owner, missing_ok=missing_ok)
        items = await self._items([tuple(entry) for entry in urls])
        return await self._write(name, Replace(items, self._wall_time(), if_version, claim), op_id)

    async def record(self, name: str, urls: Sequence[Sequence[str]], *, owner: str) -> TagInfo:
        """Replace a tag that belongs to an owner and tells what there was, even if it is gone."""
        return await self.replace(
            name, urls, owner=owner, missing_ok=True, caller=Caller(name=owner)
        )

    async def delete(
        self,
        name: str,
        *,
        if_version: int | None = None,
        op_id: OpId | None = None,
        caller: Caller = ANYBODY,
    ) -> None:
        """Let the tag exist no more; one that does not exist is no error.

        Raises Conflict when the tag does not have version `if_version`.
        """
        await self._write(check_name(name), DeleteTag(self._claim(caller), if_version), op_id)

    async def set_attribute(
        self,
        name: str,
        key: str,
        value: str,
        *,
        op_id: OpId | None = None,
        caller: Caller = ANYBODY,
    ) -> TagInfo:
        """Attach a value to a tag; raises NoSuchTag, or Limit when there is too much of it."""
        check_name(name)
        check_attribute(key, value)
        check_setting(key, value)
        action = SetAttribute(key, value, self._wall_time(), self._claim(caller))
        return await self._write(name, action, op_id)

    async def delete_attribute(
        self, name: str, key: str, *, op_id: OpId | None = None, caller: Caller = ANYBODY
    ) -> TagInfo:
        """Remove an attribute; one that is not there is no error. Raises NoSuchTag."""
        check_name(name)
        action = SetAttribute(key, None, self._wall_time(), self._claim(caller))
        return await self._write(name, action, op_id)

    async def set_token(
        self,
        name: str,
        kind: TokenKind,
        token: str | None,
        *,
        op_id: OpId | None = None,
        caller: Caller = ANYBODY,
    ) -> TagInfo:
        """Set one of the two tokens of a tag, or remove it with None. Raises NoSuchTag."""
        check_name(name)
        check_caller(Caller(token))
        action = SetToken(kind, self._seal(token), self._wall_time(), self._claim(caller))
        return await self._write(name, action, op_id)

    async def get(self, name: str, *, stale_ok: bool = False, caller: Caller = ANYBODY) -> Tag:
        """The whole tag; raises NoSuchTag.

        With `stale_ok` any reachable home will do; the answer may be old, or hold a write that
        was never acknowledged.
        """
        version, head = await self._readable(name, caller, stale_ok=stale_ok)
        return Tag(
            name,
            version,
            await self._expand(head.items),
            dict(head.attributes),
            head.modified,
            head.owner,
            head.read_token is not None,
            head.write_token is not None,
        )

    async def history(self, name: str, *, caller: Caller = ANYBODY) -> TagHistory:
        """The last changes of a tag; raises NoSuchTag. It begins anew with a deleted tag."""
        _, head = await self._readable(name, caller, stale_ok=False)
        return TagHistory(name, head.owner, head.history)

    async def exists(self, name: str) -> bool:
        """Whether there is such a tag."""
        _, head = await self._head(check_name(name), stale_ok=False)
        return head is not None

    async def list(self, prefix: str = "", *, after: str = "", limit: int = 1000) -> TagPage:
        """Names that begin with `prefix`, behind `after`, in order.

        Raises Unavailable when no node answers; a part that did not is named in the page.
        """
        if prefix:
            check_name(prefix)
        request = NamesRequest(PREFIX + prefix, PREFIX + after if after else "", max(1, limit))
        page = await list_names(self._epochs, self._keeper, self._config, request)
        names = tuple(name.removeprefix(PREFIX) for name in page.names)
        following = page.next.removeprefix(PREFIX) if page.next is not None else None
        return TagPage(names, following, page.missing)

    async def references(self, value: RegisterValue) -> Sequence[str]:
        """Ids of all blobs that a tag's register names: those of its entries, and its segments.

        Raises StorageError when that cannot be told.
        """
        _, head = open_head("", value)
        return await self.named(head) if head is not None else []

    async def named(self, head: TagHead) -> Sequence[str]:
        """Ids of all blobs that a head names, likewise."""
        urls = await self._expand(head.items)
        named = [url[len(BLOB) :] for entry in urls for url in entry if url.startswith(BLOB)]
        segments = [item.blob for item in head.items if isinstance(item, Segment)]
        return [*segments, *(blob for blob in named if is_id(blob))]

    async def attributes(self, name: str) -> Mapping[str, str]:
        """Attributes of a tag as some home knows them; none without a tag that can be read."""
        try:
            _, head = await self._head(check_name(name), stale_ok=True)
        except Unavailable:
            return {}
        return dict(head.attributes) if head is not None else {}

    async def contents(self, name: str) -> tuple[str, Sequence[str]] | None:
        """Owner and `references` of a tag, for who counts and not for users; None without one."""
        value = await self._router.read(PREFIX + name)
        _, head = open_head(name, value)
        return (head.owner, await self.references(value)) if head is not None else None

    async def _append_unique(
        self,
        name: str,
        entries: Sequence[Urls],
        if_version: int | None,
        op_id: OpId | None,
        claim: Claim,
    ) -> TagInfo:
        """Read, leave out what is there, append on condition that nobody else did meanwhile."""
        new: dict[object, Urls] = {}
        for entry in entries:
            new.setdefault(entry_name(entry), entry)
        for _ in range(UNIQUE_TRIES_MAX):
            version, head = await self._head(name, stale_ok=False)
            if head is not None and not may_write(head, claim.token):
                raise Denied(f"tag {name} needs its write token")
            standing = await self._expand(head.items) if head is not None else ()
            known = dict.fromkeys(map(entry_name, standing))
            fresh = [entry for key, entry in reversed(new.items()) if key not in known]
            found = version if head is not None else 0
            if head is not None and not fresh and if_version in (None, found):
                return TagInfo(name, version)
            items = await self._items(fresh)
            expected = found if if_version is None else if_version
            action = Append(items, self._wall_time(), expected, claim)
            try:
                return await self._write(name, action, op_id)
            except Conflict:
                if if_version is not None:
                    raise
                await asyncio.sleep(self._rng.uniform(0, RACE_PAUSE_S))
        raise Unavailable(f"tag {name} changes too fast")

    async def _write(
        self, name: str, action: Write, op_id: OpId | None, *, delayed: bool = False
    ) -> TagInfo:
        encoded = encode(action)
        operation = Operation(encoded, *op_id) if op_id else self._router.numbered(encoded)
        submit = self._delayer.submit if delayed else self._router.submit
        reply = await submit(PREFIX + name, operation)
        _raise_refusal(name, reply)
        return TagInfo(name, reply.version)

    def _claim(self, caller: Caller) -> Claim:
        check_caller(caller)
        return Claim(caller.token, self._seal(caller.token), caller.name)

    def _seal(self, token: str | None) -> Secret | None:
        return seal(token, self._entropy(SALT_BYTES)) if token is not None else None

    async def _readable(self, name: str, caller: Caller, *, stale_ok: bool) -> tuple[int, TagHead]:
        version, head = await self._head(check_name(name), stale_ok=stale_ok)
        if head is None:
            raise NoSuchTag(name)
        if not may_read(head, caller.token):
            raise Denied(f"tag {name} needs its read token")
        return version, head

    async def _head(self, name: str, *, stale_ok: bool) -> tuple[int, TagHead | None]:
        read = self._router.read_stale if stale_ok else self._router.read
        return open_head(name, await read(PREFIX + name))

    async def _items(self, entries: Sequence[Urls]) -> tuple[Item, ...]:
        """Entries as the head takes them: many at once go into segments right away."""
        characters = sum(len(url) for entry in entries for url in entry)
        if len(entries) <= TAIL_MAX and characters <= TAIL_CHARACTERS_MAX:
            return tuple(Entry(entry) for entry in entries)
        items: list[Item] = []
        for part in pack(entries):
            blob = await self._segments.put_bytes(encode(SegmentContent(part)))
            items.append(Segment(blob, len(part)))
        return tuple(items)

    async def _expand(self, items: Sequence[Item]) -> tuple[Urls, ...]:
        """All entries, segments included, in order."""
        wanted = list(dict.fromkeys(item.blob for item in items if isinstance(item, Segment)))
        contents: dict[str, tuple[Urls, ...]] = {}
        for start in range(0, len(wanted), SEGMENTS_AT_A_TIME):
            some = wanted[start : start + SEGMENTS_AT_A_TIME]
            for blob, content in (await ask_all(some, self._segment)).items():
                if isinstance(content, Exception):
                    raise Unavailable(f"segment {blob}: {content}")
                contents[blob] = content
        urls: list[Urls] = []
        for item in items:
            urls += [item.urls] if isinstance(item, Entry) else contents[item.blob]
        return tuple(urls)

    async def _segment(self, blob: str) -> tuple[Urls, ...]:
        try:
            data = await self._segments.read(blob, limit_bytes=SEGMENT_BYTES_MAX)
        except StorageError as error:
            raise ConnectionError(str(error)) from error
        return decode(data, SegmentContent).entries


def open_head(name: str, value: RegisterValue) -> tuple[int, TagHead | None]:
    """Version and head in a register's value; raises Unavailable when it cannot be read."""
    if value.data is None:
        return value.version, None
    try:
        return value.version, decode(value.data, TagHead)
    except BadMessage as error:
        raise Unavailable(f"tag {name} cannot be read: {error}") from error


def _raise_refusal(name: str, reply: Reply) -> None:
    match reply.result:
        case Result.APPLIED | Result.KEPT:
            return
        case Result.FORGOTTEN:
            raise Forgotten(f"operation on tag {name}")
        case Result.REFUSED:
            reason = reply.answer.decode()
            if reason.startswith(NO_SUCH_TAG):
                raise NoSuchTag(name)
            if reason.startswith(DENIED):
                raise Denied(f"tag {name} needs its write token")
            if reason.startswith(CONFLICT):
                raise Conflict(f"tag {name}: {reason}")
            raise Limit(f"tag {name}: {reason.removeprefix(LIMIT)}")
