"""Blobs of all sizes, put and read by concurrent clients, and named by one growing tag.

Contents are drawn anew, sometimes shared by two clients. Every byte that a read returns is compared
with what was put (B2), whole and in ranges. An acknowledged blob is appended to a tag afterwards;
at rest whatever the tag names must be readable from the core, and so must every acknowledged blob.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping

from peerdisco_dht.blobs.identity import chunk_list_of
from peerdisco_sim.checkers.stored import has_intact
from peerdisco_sim.client import Client, ClientError, Refused
from peerdisco_sim.schedule import Value
from peerdisco_sim.streams import Stream
from peerdisco_sim.workloads.work import API, CALM_PATIENCE_S, Work
from peerdisco_webui.messages import Append, BlobView, TagView

DEFAULTS: Mapping[str, Value] = {"clients": 3, "pause_s": 0.8}
TAG = "sim:blobs"
PATIENCE_S = 20.0
ATTEMPT_S = 5.0
"""With one node; a node that is cut off from the others cannot answer, and others can."""

SIZES = (0, 1, 700, 5_000, 65_536, 65_537, 150_000, 400_000)
"""In bytes; up to 64 KiB lie in the index, more in files."""

BIG_CHANCE, BIG_BYTES = 0.04, (1 << 20) + 77
"""Now and then a blob has two chunks."""

SHARED_CHANCE = 0.15
READ_AT_REST_MAX = 40


class BlobsWork(Work):
    """The workload `blobs`."""

    def __init__(self, params: Mapping[str, Value]) -> None:
        super().__init__("blobs", params, DEFAULTS)
        self.contents: dict[str, bytes] = {}
        """Acknowledged blobs."""
        self._named: dict[str, None] = {}

    async def work(self) -> None:
        """Let all clients work, then read everything once more."""
        async with asyncio.TaskGroup() as group:
            for number in range(self.number("clients")):
                group.create_task(self._program(number))
        await self.calm()
        await self._read_all()

    async def _program(self, number: int) -> None:
        client, draws = self.client(), self.draws(number)
        while not self.stopping:
            if not self.contents or draws.random() < 0.5:
                await self._put(client, draws)
            else:
                await self._get(client, draws, draws.choice(list(self.contents)))
            self.operations += 1
            await self.pause(draws, self.seconds("pause_s"))

    async def _put(self, client: Client, draws: Stream) -> None:
        data = self._content(draws)
        try:
            view = await client.call(
                "POST", f"{API}/blobs", BlobView, body=data, patience_s=PATIENCE_S, repeatable=True
            )
        except ClientError:
            return
        if view.id != chunk_list_of(data).id or view.size != len(data):
            self.wrong("B2 wrong name", f"{len(data)} bytes became {view.id} of {view.size}")
        self.contents[view.id] = data
        try:
            body = Append(urls=((view.url,),), session=f"blobs-{view.id[3:13]}", sequence=1)
            await client.call(
                "POST",
                f"{API}/tags/{TAG}",
                TagView,
                value=body,
                patience_s=PATIENCE_S,
                repeatable=True,
            )
        except ClientError:
            return
        self._named[view.url] = None

    def _content(self, draws: Stream) -> bytes:
        if self.contents and draws.random() < SHARED_CHANCE:
            return draws.choice(list(self.contents.values()))
        size = BIG_BYTES if draws.random() < BIG_CHANCE else draws.choice(SIZES)
        seed = draws.randbytes(16)
        return (seed + hashlib.shake_128(seed).digest(max(size, 16)))[:size]

    async def _get(self, client: Client, draws: Stream, blob: str) -> None:
        data = self.contents[blob]
        headers: dict[str, str] = {}
        if data and draws.random() < 0.4:
            start = draws.randrange(len(data))
            end = draws.randrange(start, len(data))
            headers = {"Range": f"bytes={start}-{end}"}
            data = data[start : end + 1]
        await self._compare(client, blob, data, headers, PATIENCE_S)

    async def _compare(
        self, client: Client, blob: str, data: bytes, headers: Mapping[str, str], patience_s: float
    ) -> ClientError | None:
        try:
            response = await client.request(
                "GET",
                f"{API}/blobs/{blob}",
                headers=headers,
                timeout_s=ATTEMPT_S,
                patience_s=patience_s,
            )
        except ClientError as error:
            return error
        if response.body != data:
            detail = f"{blob[:15]} {headers}: {len(response.body)} bytes, expected {len(data)}"
            self.wrong("B2 wrong bytes", detail, response.node)
        return None

    # -- at rest ------------------------------------------------------------------------------

    async def _read_all(self) -> None:
        client, draws = self.client(), self.draws("rest")
        blobs = [blob for blob in self.contents if self._is_in_core(blob)]
        for blob in draws.sample(blobs, min(len(blobs), READ_AT_REST_MAX)):
            # A node may say 404 while the holders are not back: ask until patience is over.
            trouble: ClientError | None = None
            end = self.now + CALM_PATIENCE_S
            while self.now < end:
                trouble = await self._compare(client, blob, self.contents[blob], {}, PATIENCE_S)
                if trouble is None:
                    break
                await asyncio.sleep(0.5)
            if trouble is not None:
                self.wrong("B1 blob unreadable", f"{blob[:15]}: {trouble}")
        await self._read_tag(client)

    def _is_in_core(self, blob: str) -> bool:
        """Whether the core can have it: rot and a node lost for good may have taken both copies."""
        machines = (self.arena.cluster.node(name) for name in self.arena.core)
        return any(has_intact(machine, blob) for machine in machines)

    async def _read_tag(self, client: Client) -> None:
        try:
            view = await client.call(
                "GET", f"{API}/tags/{TAG}", TagView, patience_s=CALM_PATIENCE_S
            )
        except Refused:
            view = TagView(name=TAG, version=0)
        except ClientError as error:
            self.unanswered(f"reading {TAG}", error)
            return
        there = dict.fromkeys(urls[0] for urls in view.urls)
        lost = [url for url in self._named if url not in there]
        if lost:
            self.wrong("B5 append lost", f"{len(lost)} of {len(self._named)}: {lost[0][:20]}")
        dangling = [url for url in there if url.removeprefix("blob:") not in self.contents]
        if dangling:
            self.wrong("B3 phantom entry", f"{dangling[0][:20]} was never acknowledged")
