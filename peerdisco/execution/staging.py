"""From the URLs of an attempt to files that its worker can open.

| URL                       | becomes                                                   |
|---------------------------|-----------------------------------------------------------|
| `blob:b3-...`             | this node's own copy, else a verified copy in the spool   |
| `segment://<node>/<path>` | the file itself on its own node, else a copy in the spool |
| `http://`, `https://`     | a copy in the spool                                       |
| `file:///path`            | that path on this node's disk; the worker opens it        |
| `raw://text`              | the text itself, percent-decoded                          |

All replicas of an input are tried, those on this node first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from peerdisco.execution.config import ExecutionConfig
from peerdisco.execution.http import fetch_http
from peerdisco.execution.paths import split_segment_url
from peerdisco.execution.ports import Blobs, NodeId, Rpc
from peerdisco.execution.segments import SegmentFetcher, SegmentMissing
from peerdisco.execution.spool import Spool, SpoolFull
from peerdisco.machine import Disk
from peerdisco.messages import Assignment, Input
from peerdisco.worker.messages import InputKind, LocalInput


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An input that no replica could serve, with the reason of each."""

    input: Input
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        """One line for the user."""
        return f"cannot read {' or '.join(self.input.urls)}: {'; '.join(self.reasons)}"


class Stager:
    """Brings inputs and job packs to this node."""

    def __init__(
        self, me: NodeId, disk: Disk, rpc: Rpc, blobs: Blobs, config: ExecutionConfig
    ) -> None:
        self._me = me
        self._disk = disk
        self._blobs = blobs
        self._config = config
        self._segments = SegmentFetcher(rpc, config)

    async def blob(self, blob_id: str, spool: Spool, name: str) -> str:
        """The path of a blob's copy on this node. Raises whatever the blobs raise, and OSError."""
        if (path := await self._blobs.local_path(blob_id)) is not None:
            return path
        file = await spool.create(name)
        try:
            async with self._blobs.get(blob_id) as pieces:
                await file.write_all(pieces)
        finally:
            await file.close()
        return file.path

    async def inputs(self, assignment: Assignment, spool: Spool) -> list[LocalInput | Unreadable]:
        """All inputs in order, as files or as reasons. Raises SpoolFull."""
        staged: dict[int, LocalInput | Unreadable] = {}
        waiting = iter(enumerate(assignment.inputs))

        async def stage_some() -> None:
            for number, one in waiting:
                staged[number] = await self._stage(one, spool, f"in-{number}")

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self._config.fetches_max, len(assignment.inputs))):
                    group.create_task(stage_some())
        except* SpoolFull as full:
            raise full.exceptions[0] from None
        return [staged[number] for number in range(len(assignment.inputs))]

    async def _stage(self, one: Input, spool: Spool, name: str) -> LocalInput | Unreadable:
        reasons = []
        for url in self._nearest_first(one.urls):
            try:
                return await self._open(url, one, spool, name)
            except SpoolFull:
                raise
            except Exception as error:  # the rooms behind the ports have errors of their own
                reasons.append(f"{_scheme(url)}: {error}" if str(error) else type(error).__name__)
        return Unreadable(one, tuple(reasons) or ("it has no replica",))

    def _nearest_first(self, urls: tuple[str, ...]) -> Iterator[str]:
        """Our own segments first; `file:` last, as only the worker learns if it can be read."""
        ours = f"segment://{self._me}/"
        return iter(
            sorted(urls, key=lambda url: (not url.startswith(ours), _scheme(url) == "file"))
        )

    async def _open(self, url: str, one: Input, spool: Spool, name: str) -> LocalInput:
        match _scheme(url):
            case "raw":
                return LocalInput(url, InputKind.TEXT, text=unquote(url.removeprefix("raw://")))
            case "file":
                others = [other for other in one.urls if _scheme(other) == "file" and other != url]
                replicas = tuple(map(_file_path, others))
                return LocalInput(
                    url, InputKind.LINES, _file_path(url), size=one.size, replicas=replicas
                )
            case "blob":
                path = await self.blob(url.removeprefix("blob:"), spool, name)
                return LocalInput(url, InputKind.LINES, path, size=one.size)
            case "segment":
                path = await self._segment(url, spool, name)
                return LocalInput(url, InputKind.RECORDS, path, size=one.size)
            case "http" | "https":
                file = await spool.create(name)
                try:
                    await fetch_http(url, file, self._config)
                finally:
                    await file.close()
                return LocalInput(url, InputKind.LINES, file.path, size=file.size)
        raise ValueError("inputs of this kind cannot be read")

    async def _segment(self, url: str, spool: Spool, name: str) -> str:
        node, path = split_segment_url(url)
        if node != self._me:
            return await self._segments.fetch(node, path, spool, name)
        if await self._disk.size(path) is None:
            raise SegmentMissing("it is no longer on this node")
        return path


def _scheme(url: str) -> str:
    return url.partition(":")[0].lower()


def _file_path(url: str) -> str:
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise ValueError(f"a file URL names no host, but this one names {parts.netloc}")
    path = unquote(url.partition(":")[2].removeprefix("//").removeprefix(parts.netloc))
    if not path.startswith("/"):
        raise ValueError("a file URL needs an absolute path")
    return path
