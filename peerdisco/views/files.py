"""DDFS for the web room."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncIterator, Callable, Iterator

from peerdisco_dht import (
    TAG_OWNER,
    BadName,
    Conflict,
    Denied,
    Forgotten,
    Limit,
    NoSuchBlob,
    NoSuchTag,
    OverQuota,
    Storage,
    StorageFull,
    Tag,
    TagInfo,
    TokenKind,
    Unavailable,
    durability_of,
)
from peerdisco_dht import Caller as StorageCaller
from peerdisco_webui import errors
from peerdisco_webui.messages import (
    Append,
    BlobView,
    Replace,
    TagEvent,
    TagHistory,
    TagPage,
    TagTokenKind,
    TagView,
)
from peerdisco_webui.ports import NOBODY, Caller

logger = logging.getLogger(__name__)

FRESH_TIMEOUT_S = 1.0
"""How long whoever is content with an old answer waits for a fresh one."""

_BLOB = re.compile("b3-[0-9a-f]{64}")


class FileViews:
    """Implements the web room's port `Files`."""

    def __init__(self, storage: Storage) -> None:
        self._blobs = storage.blobs
        self._tags = storage.tags
        self._storage = storage

    async def put(
        self,
        source: AsyncIterator[bytes],
        *,
        replicas: int | None,
        owner: str = "",
        tag: str = "",
        size: int = 0,
        caller: Caller = NOBODY,
    ) -> BlobView:
        """See Files."""
        with _translated("new blobs"):
            quotas = await self._storage.quotas.covering(tag, _caller(caller, owner).name)
            await self._storage.quotas.admit(quotas, size=size)
            durability = durability_of(await self._tags.attributes(tag) if tag else {})
            info = await self._blobs.put(
                source, replicas=replicas, durability=durability, owner=owner or TAG_OWNER
            )
        return BlobView(id=info.id, size=info.size, copies=info.copies)

    async def stat(self, blob: str) -> BlobView:
        """See Files."""
        if _BLOB.fullmatch(blob) is None:
            raise errors.NotFound(f"blobs are named b3- and 64 digits of 0-9 a-f, unlike {blob!r}")
        with _translated(f"the blob {blob}"):
            return BlobView(id=blob, size=await self._blobs.size(blob))

    @contextlib.asynccontextmanager
    async def open(
        self, blob: str, *, offset: int, size: int
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """See Files."""
        with _translated(f"the blob {blob}"):
            async with self._blobs.get(blob, offset=offset, size=size) as pieces:
                yield pieces

    async def tag(self, name: str, *, stale_ok: bool, caller: Caller = NOBODY) -> TagView:
        """See Files."""
        who = _caller(caller)
        with _translated(f"the tag {name!r}"):
            if not stale_ok:
                return _view(await self._tags.get(name, caller=who))
            try:
                async with asyncio.timeout(FRESH_TIMEOUT_S):
                    return _view(await self._tags.get(name, caller=who))
            except (Unavailable, TimeoutError):
                return _view(await self._tags.get(name, stale_ok=True, caller=who), stale=True)

    async def history(self, name: str, *, caller: Caller = NOBODY) -> TagHistory:
        """See Files."""
        with _translated(f"the tag {name!r}"):
            history = await self._tags.history(name, caller=_caller(caller))
        events = tuple(
            TagEvent(
                version=event.version,
                at=event.at,
                by=event.by,
                what=event.what,
                entries=event.entries,
                detail=event.detail,
            )
            for event in history.events
        )
        return TagHistory(name=name, owner=history.owner, events=events)

    async def append(self, name: str, change: Append, *, caller: Caller = NOBODY) -> TagView:
        """See Files."""
        op_id = (change.session, change.sequence) if change.session else caller.operation
        who = _caller(caller, change.owner)
        with _translated(f"the tag {name!r}"):
            await self._admit(name, who)
            info = await self._tags.append(
                name,
                change.urls,
                unique=change.unique,
                delayed=change.delayed,
                if_version=change.if_version,
                op_id=op_id,
                owner=change.owner or TAG_OWNER,
                caller=who,
            )
            return await self._written(info, who, brief=change.brief)

    async def replace(self, name: str, change: Replace, *, caller: Caller = NOBODY) -> TagView:
        """See Files."""
        who = _caller(caller)
        with _translated(f"the tag {name!r}"):
            await self._admit(name, who)
            info = await self._tags.replace(
                name,
                change.urls,
                if_version=change.if_version,
                op_id=caller.operation,
                caller=who,
            )
            return await self._written(info, who)

    async def delete(
        self, name: str, *, if_version: int | None = None, caller: Caller = NOBODY
    ) -> None:
        """See Files."""
        with _translated(f"the tag {name!r}"), contextlib.suppress(NoSuchTag):
            await self._tags.delete(
                name, if_version=if_version, op_id=caller.operation, caller=_caller(caller)
            )

    async def list(self, prefix: str, *, after: str, limit: int) -> TagPage:
        """See Files."""
        with _translated("the names of tags"):
            page = await self._tags.list(prefix, after=after, limit=limit)
        return TagPage(
            names=tuple(page.names),
            next=page.next or "",
            missing=len(page.missing),
            partitions=tuple(page.missing),
        )

    async def set_attribute(
        self, name: str, key: str, value: str | None, *, caller: Caller = NOBODY
    ) -> TagView:
        """See Files."""
        who, op_id = _caller(caller), caller.operation
        with _translated(f"the tag {name!r}"):
            if value is None:
                info = await self._tags.delete_attribute(name, key, op_id=op_id, caller=who)
            else:
                info = await self._tags.set_attribute(name, key, value, op_id=op_id, caller=who)
            return await self._written(info, who)

    async def set_token(
        self, name: str, kind: TagTokenKind, token: str | None, *, caller: Caller = NOBODY
    ) -> None:
        """See Files."""
        who, op_id = _caller(caller), caller.operation
        with _translated(f"the tag {name!r}"):
            await self._tags.set_token(name, TokenKind(kind.value), token, op_id=op_id, caller=who)

    async def _admit(self, name: str, who: StorageCaller) -> None:
        """Refuse a new tag, or one that is to name more, where a quota is used up."""
        quotas = await self._storage.quotas.covering(name, who.name)
        if quotas:
            is_new = not await self._tags.exists(name)
            await self._storage.quotas.admit(quotas, tags=int(is_new))

    async def _written(self, info: TagInfo, who: StorageCaller, *, brief: bool = False) -> TagView:
        """The tag after a write; in brief for who wants that, or may not read it.

        It may also be gone already.
        """
        if not brief:
            with contextlib.suppress(Denied, NoSuchTag):
                return _view(await self._tags.get(info.name, caller=who))
        return TagView(name=info.name, version=info.version)


def _caller(caller: Caller, owner: str = "") -> StorageCaller:
    """Who asks, as the storage knows it: the job that a tag is made for, or the user."""
    return StorageCaller(caller.token, caller.user or owner)


def _view(tag: Tag, *, stale: bool = False) -> TagView:
    return TagView(
        name=tag.name,
        version=tag.version,
        urls=tag.urls,
        attributes=dict(tag.attrs),
        stale=stale,
        owner=tag.owner,
        modified=tag.modified,
        read_protected=tag.read_protected,
        write_protected=tag.write_protected,
    )


_TRANSLATIONS: tuple[tuple[type[Exception], Callable[[str], errors.ApiError]], ...] = (
    (NoSuchTag, lambda name: errors.NotFound(f"there is no tag {name!r}")),
    (Denied, lambda words: errors.TagTokenNeeded(f"the {words}, or the token is wrong")),
    (NoSuchBlob, lambda blob: errors.NotFound(f"no node has the blob {blob}")),
    (BadName, errors.BadRequest),
    (Conflict, errors.Conflict),
    (Limit, errors.TooLarge),
    (Forgotten, errors.Conflict),
    (StorageFull, errors.StorageFull),
    (OverQuota, errors.OverQuota),
)


@contextlib.contextmanager
def _translated(what: str) -> Iterator[None]:
    """Turn the storage's errors into the web room's; `what` is asked for, in words."""
    try:
        yield
    except Unavailable as error:
        logger.info("unavailable what=%s error=%s", what, error)
        raise errors.Unavailable(
            f"too few of the nodes that keep {what} answer; it works again when they are back"
        ) from error
    except tuple(ours for ours, _ in _TRANSLATIONS) as error:
        theirs = next(made for ours, made in _TRANSLATIONS if isinstance(error, ours))
        raise theirs(str(error)) from error
