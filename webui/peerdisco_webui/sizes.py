"""How big tags are. Blobs never change, so a size that was learned once is kept."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from peerdisco_webui.errors import ApiError
from peerdisco_webui.ports import Files

CACHED_MAX = 20_000
CONCURRENT_MAX = 8
BLOBS_PER_TAG_MAX = 200
"""Tags with more blobs show no size: asking for each would load the cluster for a table cell."""
BLOB_SCHEME = "blob:"


@dataclass(frozen=True, slots=True)
class TagRow:
    """A tag in a list; -1 is unknown."""

    name: str
    entries: int
    bytes: int


@dataclass(frozen=True, slots=True)
class UrlRow:
    """An entry of a tag; `blob` is its id when it is one, and -1 bytes are unknown."""

    url: str
    blob: str
    bytes: int


class Sizes:
    """Asks for sizes, a few at a time, and remembers them."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._known: OrderedDict[str, int] = OrderedDict()
        self._gate = asyncio.Semaphore(CONCURRENT_MAX)

    async def of_tags(self, names: Sequence[str]) -> list[TagRow]:
        """One row for each name, in order; a tag that does not answer is unknown."""
        async with asyncio.TaskGroup() as group:
            rows = [group.create_task(self._tag(name)) for name in names]
        return [row.result() for row in rows]

    async def of_urls(self, urls: Sequence[Sequence[str]]) -> list[UrlRow]:
        """One row for each replica list, in order."""
        firsts = [replicas[0] if replicas else "" for replicas in urls]
        async with asyncio.TaskGroup() as group:
            rows = [group.create_task(self._url(url)) for url in firsts]
        return [row.result() for row in rows]

    async def _tag(self, name: str) -> TagRow:
        try:
            async with self._gate:
                tag = await self._files.tag(name, stale_ok=True)
        except (ApiError, OSError):
            return TagRow(name, -1, -1)
        if len(tag.urls) > BLOBS_PER_TAG_MAX:
            return TagRow(name, len(tag.urls), -1)
        sizes = [row.bytes for row in await self.of_urls(tag.urls)]
        return TagRow(name, len(tag.urls), -1 if -1 in sizes else sum(sizes))

    async def _url(self, url: str) -> UrlRow:
        blob = url.removeprefix(BLOB_SCHEME) if url.startswith(BLOB_SCHEME) else ""
        return UrlRow(url, blob, await self._blob(blob) if blob else -1)

    async def _blob(self, blob: str) -> int:
        if blob not in self._known:
            try:
                async with self._gate:
                    self._known[blob] = (await self._files.stat(blob)).size
            except (ApiError, OSError):
                return -1
            while len(self._known) > CACHED_MAX:
                self._known.popitem(last=False)
            return self._known.get(blob, -1)
        return self._known[blob]
