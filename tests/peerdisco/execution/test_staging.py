"""Every kind of URL becomes a file that a worker can open, or a reason."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from peerdisco.execution.config import ExecutionConfig
from peerdisco.execution.spool import Spool, SpoolFull
from peerdisco.execution.staging import Stager, Unreadable
from peerdisco.messages import Input
from peerdisco.worker.messages import InputKind, LocalInput

SEGMENT = "segments/job@1/3.0/7"


class Staging:
    def __init__(self, world: Any, node: Any) -> None:
        self.world = world
        self.node = node
        config = ExecutionConfig(fetch_pause_s=0.001, fetch_timeout_s=0.2)
        self._stager = Stager(node.id, node.disk, node.rpc, world.blobs, config)

    async def stage(self, *inputs: Input, limit: int = 1 << 20) -> list[Any]:
        task = self.world.assignment("b3-pack", "map", list(inputs))
        # Not under "spool", which a node that starts clears.
        spool = Spool(self.node.disk, "staging/x/1.0", limit)
        return await self._stager.inputs(task, spool)

    async def one(self, *urls: str) -> Any:
        [staged] = await self.stage(Input(urls))
        return staged

    def read(self, local: LocalInput) -> bytes:
        return bytes((self.node.root / local.path).read_bytes())


@pytest.fixture
async def staging(world: Any) -> Staging:
    return Staging(world, await world.start("one", workers_warm=0))


@pytest.fixture
async def web_server() -> AsyncIterator[str]:
    async def text(request: web.Request) -> web.Response:
        return web.Response(text="from the web\n" * 1000)

    async def silent(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"begin")
        await request.app["over"].wait()
        return response

    async def release(app: web.Application) -> None:
        app["over"].set()

    import asyncio
    import warnings

    app = web.Application()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", web.NotAppKeyWarning)
        app["over"] = asyncio.Event()
    app.on_shutdown.append(release)
    app.router.add_get("/text", text)
    app.router.add_get("/silent", silent)
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    yield f"http://127.0.0.1:{port}"
    await runner.cleanup()


async def test_a_blob_on_this_disk_is_read_in_place(staging: Staging) -> None:
    staging.world.blobs.paths["b3-x"] = "blobs/x"
    local = await staging.one("blob:b3-x")
    assert ("blobs/x", InputKind.LINES) == (local.path, local.kind)
    assert staging.world.blobs.gets == 0


async def test_a_blob_elsewhere_is_copied(staging: Staging) -> None:
    local = await staging.one(f"blob:{staging.world.blobs.add(b'text' * 100)}")
    assert staging.read(local) == b"text" * 100


async def test_a_segment_of_this_node_is_read_in_place(staging: Staging) -> None:
    await staging.node.disk.write(SEGMENT, b"records")
    local = await staging.one(f"segment://one/{SEGMENT}")
    assert (SEGMENT, InputKind.RECORDS) == (local.path, local.kind)


async def test_a_segment_elsewhere_is_copied(staging: Staging) -> None:
    other = await staging.world.start("other", workers_warm=0)
    await other.disk.write(SEGMENT, b"records")
    assert staging.read(await staging.one(f"segment://other/{SEGMENT}")) == b"records"


async def test_raw_text_is_decoded_and_needs_no_file(staging: Staging) -> None:
    local = await staging.one("raw://two%20words%0A")
    assert (InputKind.TEXT, "two words\n", "") == (local.kind, local.text, local.path)


async def test_the_web_is_copied(staging: Staging, web_server: str) -> None:
    local = await staging.one(f"{web_server}/text")
    assert staging.read(local) == b"from the web\n" * 1000
    assert local.size == 13_000


async def test_failing_servers_are_named_with_their_reasons(
    staging: Staging, web_server: str
) -> None:
    urls = (f"{web_server}/none", f"{web_server}/silent", "http://127.0.0.1:1/refused")
    unreadable = await staging.one(*urls)
    assert isinstance(unreadable, Unreadable)
    missing, silent, refused = unreadable.reasons
    assert "answered 404 Not Found" in missing
    assert "silent for" in silent
    assert "127.0.0.1:1" in refused
    assert str(unreadable).startswith(f"cannot read {' or '.join(urls)}: ")


async def test_replicas_are_tried_until_one_answers_ours_first(staging: Staging) -> None:
    await staging.node.disk.write(SEGMENT, b"ours")
    local = await staging.one(f"segment://gone/{SEGMENT}", f"segment://one/{SEGMENT}")
    assert (SEGMENT, 0) == (local.path, staging.world.network.fetches)
    local = await staging.one("file:///maybe", "blob:b3-absent", "raw://text")
    assert local.text == "text"


async def test_inputs_keep_their_order_however_many_there_are(staging: Staging) -> None:
    inputs = [Input((f"raw://{number}",)) for number in range(50)]
    inputs[7] = Input(("blob:b3-absent",), producer=7)
    inputs[9] = Input(())
    staged = await staging.stage(*inputs)
    assert [str(number) for number in range(50) if number not in (7, 9)] == [
        local.text for local in staged if isinstance(local, LocalInput)
    ]
    assert isinstance(staged[7], Unreadable)
    assert staged[9].reasons == ("it has no replica",)


async def test_the_spool_of_an_attempt_is_bounded(staging: Staging) -> None:
    blobs = [staging.world.blobs.add(bytes([number]) * 600) for number in range(3)]
    with pytest.raises(SpoolFull):
        await staging.stage(*(Input((f"blob:{blob}",)) for blob in blobs), limit=1500)
