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
    Forgotten,
    Limit,
    NoSuchBlob,
    NoSuchTag,
    Storage,
    Tag,
    Unavailable,
)
from peerdisco_webui import errors
from peerdisco_webui.messages import Append, BlobView, Replace, TagPage, TagView

logger = logging.getLogger(__name__)

FRESH_TIMEOUT_S = 1.0
"""How long whoever is content with an old answer waits for a fresh one."""

_BLOB = re.compile("b3-[0-9a-f]{64}")


class FileViews:
    """Implements the web room's port `Files`."""

    def __init__(self, storage: Storage) -> None:
        self._blobs = storage.blobs
        self._tags = storage.tags

    async def put(
        self, source: AsyncIterator[bytes], *, replicas: int | None, owner: str = ""
    ) -> BlobView:
        """See Files."""
        with _translated("new blobs"):
            info = await self._blobs.put(source, replicas=replicas, owner=owner or TAG_OWNER)
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

    async def tag(self, name: str, *, stale_ok: bool) -> TagView:
        """See Files."""
        with _translated(f"the tag {name!r}"):
            if not stale_ok:
                return _view(await self._tags.get(name))
            try:
                async with asyncio.timeout(FRESH_TIMEOUT_S):
                    return _view(await self._tags.get(name))
            except (Unavailable, TimeoutError):
                return _view(await self._tags.get(name, stale_ok=True), stale=True)

    async def append(self, name: str, change: Append) -> TagView:
        """See Files."""
        op_id = (change.session, change.sequence) if change.session else None
        with _translated(f"the tag {name!r}"):
            info = await self._tags.append(
                name,
                change.urls,
                unique=change.unique,
                op_id=op_id,
                owner=change.owner or TAG_OWNER,
            )
            if change.brief:
                return TagView(name=name, version=info.version)
            return _view(await self._tags.get(name))

    async def replace(self, name: str, change: Replace) -> TagView:
        """See Files."""
        with _translated(f"the tag {name!r}"):
            await self._tags.replace(name, change.urls, if_version=change.if_version)
            return _view(await self._tags.get(name))

    async def delete(self, name: str) -> None:
        """See Files."""
        with _translated(f"the tag {name!r}"), contextlib.suppress(NoSuchTag):
            await self._tags.delete(name)

    async def list(self, prefix: str, *, after: str, limit: int) -> TagPage:
        """See Files."""
        with _translated("the names of tags"):
            page = await self._tags.list(prefix, after=after, limit=limit)
        return TagPage(names=tuple(page.names), next=page.next or "", missing=len(page.missing))

    async def set_attribute(self, name: str, key: str, value: str | None) -> TagView:
        """See Files."""
        with _translated(f"the tag {name!r}"):
            if value is None:
                await self._tags.delete_attribute(name, key)
            else:
                await self._tags.set_attribute(name, key, value)
            return _view(await self._tags.get(name))


def _view(tag: Tag, *, stale: bool = False) -> TagView:
    return TagView(
        name=tag.name,
        version=tag.version,
        urls=tag.urls,
        attributes=dict(tag.attrs),
        stale=stale,
    )


_TRANSLATIONS: tuple[tuple[type[Exception], Callable[[str], errors.ApiError]], ...] = (
    (NoSuchTag, lambda name: errors.NotFound(f"there is no tag {name!r}")),
    (NoSuchBlob, lambda blob: errors.NotFound(f"no node has the blob {blob}")),
    (BadName, errors.BadRequest),
    (Conflict, errors.Conflict),
    (Limit, errors.TooLarge),
    (Forgotten, errors.Conflict),
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
