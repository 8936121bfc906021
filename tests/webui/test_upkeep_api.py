"""REST of the storage's health: quotas, usage, scrubs, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import aiohttp

    from tests.webui.backend import Backend

ONE = {"kind": "prefix", "name": "logs:", "bytes": 1000}


async def test_a_quota_is_set_shown_with_its_use_and_removed(
    web: aiohttp.ClientSession, backend: Backend
) -> None:
    async with web.put("/api/v1/quotas", json=ONE) as response:
        assert response.status == 204
    async with web.get("/api/v1/quotas") as response:
        (quota,) = (await response.json())["quotas"]
    assert (quota["bytes"], quota["used_bytes"]) == (1000, 500)
    query = {"kind": "prefix", "name": "logs:"}
    headers = {"X-Peerdisco": "1"}
    async with web.delete("/api/v1/quotas", params=query, headers=headers) as response:
        assert response.status == 204
    assert not backend.upkeep.limits


@pytest.mark.parametrize(
    "wrong",
    [
        {**ONE, "kind": "planet"},
        {**ONE, "bytes": -1},
        {**ONE, "bytes": None},
        {**ONE, "bytes": "many"},
        {"kind": "owner", "tags": 1},
        [],
    ],
)
async def test_a_quota_that_makes_no_sense_is_refused(
    web: aiohttp.ClientSession, backend: Backend, wrong: Any
) -> None:
    async with web.put("/api/v1/quotas", json=wrong) as response:
        assert response.status == 400
        assert (await response.json())["detail"]
    assert not backend.upkeep.limits


async def test_a_blob_over_a_quota_is_refused_with_403(web: aiohttp.ClientSession) -> None:
    headers = {"X-Peerdisco": "1"}
    path = "/api/v1/blobs?tag=small:x"
    async with web.post(path, data=b"more than ten bytes", headers=headers) as response:
        assert response.status == 403
        assert "the quota of prefix 'small:' is 10 bytes" in (await response.json())["detail"]


async def test_storage_usage_and_scrubs_are_told(web: aiohttp.ClientSession) -> None:
    async with web.get("/api/v1/storage") as response:
        nodes = (await response.json())["nodes"]
    assert nodes[0]["repair"]["bytes_left"] == 3 << 20
    assert nodes[0]["space"] == "low"
    async with web.get("/api/v1/usage?prefix=a&owner=b") as response:
        usage = await response.json()
    assert (usage["prefix"], usage["owner"], usage["bytes"]) == ("a", "b", 5000)
    async with web.get("/api/v1/scrub") as response:
        assert (await response.json())["nodes"][0]["last"]["rotten"] == 2
