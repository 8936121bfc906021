"""The REST API over a cluster in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from peerdisco_webui.messages import JobState, JobView, StageView

if TYPE_CHECKING:
    from tests.webui.backend import Backend


def a_job(name: str, **more: Any) -> JobView:
    values: dict[str, Any] = {"owner": "ann@here", "state": JobState.ACTIVE, "version": 1}
    return JobView(name=name, **values | more)


async def test_health_names_the_program_and_readiness_tells_why_not(
    web: aiohttp.ClientSession, backend: Backend
) -> None:
    async with web.get("/healthz") as response:
        assert await response.json() == {"peerdisco": "0.1.0"}
    async with web.get("/readyz") as response:
        assert response.status == 200
    facts = backend.cluster.facts
    backend.cluster.facts = type(facts)(
        cluster="c", node="n", name="a", version="1", ready=False, reason="no layout yet"
    )
    async with web.get("/readyz") as response:
        assert response.status == 503
        assert (await response.json())["detail"] == "no layout yet"
        assert response.content_type == "application/problem+json"


async def test_status_counts_members_and_gives_a_verdict(web: aiohttp.ClientSession) -> None:
    async with web.get("/api/v1/status") as response:
        status = await response.json()
        assert response.headers["X-Peerdisco-Cluster"] == "cluster-1"
    assert (status["alive"], status["slots"]) == (3, 12)
    assert status["verdict"]["can_lose"] == 1
    async with web.get("/api/v1/members") as response:
        assert [m["name"] for m in (await response.json())["members"]] == [
            "node-a",
            "node-b",
            "node-c",
        ]


async def test_a_blob_goes_in_and_comes_out_whole_and_in_ranges(
    web: aiohttp.ClientSession,
) -> None:
    data = bytes(range(256)) * 1000
    async with web.post("/api/v1/blobs", data=data, params={"replicas": "2"}) as response:
        blob = await response.json()
        assert (response.status, blob["size"], blob["copies"]) == (201, len(data), 2)
    path = f"/api/v1/blobs/{blob['id']}"
    async with web.get(path) as response:
        assert await response.read() == data
        assert response.headers["Accept-Ranges"] == "bytes"
    async with web.get(path, headers={"Range": "bytes=1000-1999"}) as response:
        assert response.status == 206
        assert await response.read() == data[1000:2000]
        assert response.headers["Content-Range"] == f"bytes 1000-1999/{len(data)}"
    async with web.get(path, headers={"Range": "bytes=-10"}) as response:
        assert await response.read() == data[-10:]
    async with web.get(path, headers={"Range": f"bytes={len(data)}-"}) as response:
        assert response.status == 416
    async with web.head(path) as response:
        assert response.headers["Content-Length"] == str(len(data))
    async with web.get("/api/v1/blobs/b3-none") as response:
        assert response.status == 404


async def test_an_empty_blob_is_a_blob(web: aiohttp.ClientSession) -> None:
    async with web.post("/api/v1/blobs", data=b"") as response:
        blob = await response.json()
    async with web.get(f"/api/v1/blobs/{blob['id']}") as response:
        assert (response.status, await response.read()) == (200, b"")


async def test_a_stream_that_breaks_never_looks_complete(
    web: aiohttp.ClientSession, backend: Backend
) -> None:
    blob = backend.files.add(b"x" * 1_000_000)
    backend.files.break_after = 200_000
    with pytest.raises(aiohttp.ClientError):
        async with web.get(f"/api/v1/blobs/{blob.id}") as response:
            await response.read()


async def test_tags_are_appended_newest_first_and_repeats_are_harmless(
    web: aiohttp.ClientSession,
) -> None:
    change = {"urls": [["blob:b3-1"]], "session": "s", "sequence": 1}
    for _ in range(2):
        async with web.post("/api/v1/tags/logs:a", json=change) as response:
            assert response.status == 200
    async with web.post("/api/v1/tags/logs:a", json={"urls": [["blob:b3-2"]]}) as response:
        tag = await response.json()
    assert tag["urls"] == [["blob:b3-2"], ["blob:b3-1"]]
    body = {"urls": [["raw://x"]], "if_version": 1}
    async with web.put("/api/v1/tags/logs:a", json=body) as response:
        assert response.status == 409
    async with web.put("/api/v1/tags/logs:a", json=body | {"if_version": 2}) as response:
        assert (await response.json())["urls"] == [["raw://x"]]
    async with web.delete("/api/v1/tags/logs:a") as response:
        assert response.status == 204
    async with web.get("/api/v1/tags/logs:a") as response:
        assert response.status == 404


async def test_tags_are_listed_by_prefix_in_pages(web: aiohttp.ClientSession) -> None:
    for name in ("a:1", "a:2", "a:3", "b:1"):
        async with web.post(f"/api/v1/tags/{name}", json={"urls": []}):
            pass
    async with web.get("/api/v1/tags", params={"prefix": "a:", "limit": "2"}) as response:
        page = await response.json()
    assert (page["names"], page["next"]) == (["a:1", "a:2"], "a:2")
    async with web.get("/api/v1/tags", params={"prefix": "a:", "after": "a:2"}) as response:
        assert (await response.json())["names"] == ["a:3"]


async def test_attributes_of_a_tag(web: aiohttp.ClientSession) -> None:
    async with web.post("/api/v1/tags/t", json={"urls": []}):
        pass
    path = "/api/v1/tags/t/attributes"
    async with web.put(f"{path}/color", json={"value": "blue"}) as response:
        assert response.status == 200
    async with web.get(path) as response:
        assert await response.json() == {"attributes": {"color": "blue"}}
    async with web.get(f"{path}/color") as response:
        assert await response.json() == {"value": "blue"}
    async with web.delete(f"{path}/color") as response:
        assert response.status == 200
    async with web.get(f"{path}/color") as response:
        assert response.status == 404
    async with web.put(f"{path}/color", json={"value": "x" * 5000}) as response:
        assert response.status == 400


async def test_a_text_is_chunked_into_a_tag(web: aiohttp.ClientSession, backend: Backend) -> None:
    text = b"".join(b"line %d\n" % number for number in range(1000))
    async with web.post("/api/v1/tags/t/chunks", data=text) as response:
        answer = await response.json()
    assert response.status == 201
    stored = b"".join(backend.files.blobs[blob["id"]] for blob in answer["blobs"])
    assert stored == text
    assert answer["tag"]["urls"] == [[f"blob:{blob['id']}"] for blob in answer["blobs"]]


async def test_a_long_poll_answers_at_a_change_at_the_end_or_in_time(
    web: aiohttp.ClientSession, backend: Backend
) -> None:
    backend.jobs.jobs["j@1:2:3"] = a_job("j@1:2:3")
    path = "/api/v1/jobs/j@1:2:3"
    async with web.get(path, params={"since": "1", "wait_s": "0.01"}) as response:
        assert (await response.json())["version"] == 1
    async with web.get(path, params={"since": "0", "wait_s": "20"}) as response:
        assert (await response.json())["version"] == 1
    backend.jobs.change("j@1:2:3", state=JobState.READY, results=(("blob:b3-1",),))
    async with web.get(path, params={"since": str(1 << 53), "wait_s": "20"}) as response:
        assert (await response.json())["state"] == "ready"
    async with web.get(f"{path}/results") as response:
        assert await response.json() == {"state": "ready", "results": [["blob:b3-1"]]}
    async with web.get(f"{path}/events", params={"after": "1"}) as response:
        assert [e["number"] for e in (await response.json())["events"]] == [2, 3]


async def test_jobs_are_listed_killed_and_purged(
    web: aiohttp.ClientSession, backend: Backend
) -> None:
    for number in range(3):
        name = f"j{number}@1:2:3"
        stages = (StageView(name="map", done=number),)
        backend.jobs.jobs[name] = a_job(name, stages=stages)
    async with web.get("/api/v1/jobs", params={"limit": "2"}) as response:
        page = await response.json()
    assert [job["name"] for job in page["jobs"]] == ["j2@1:2:3", "j1@1:2:3"]
    assert page["next"] == "j1@1:2:3"
    async with web.post("/api/v1/jobs/j0@1:2:3/kill") as response:
        assert response.status == 204
    assert backend.jobs.jobs["j0@1:2:3"].state is JobState.DEAD
    async with web.delete("/api/v1/jobs/j0@1:2:3") as response:
        assert response.status == 204
    async with web.get("/api/v1/jobs/j0@1:2:3") as response:
        assert response.status == 404


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "word"),
    [
        ("POST", "/api/v1/tags/t", b"{", 400, "body"),
        ("POST", "/api/v1/tags/t", b'{"urls": 3}', 400, "urls"),
        ("POST", "/api/v1/tags/t", b'{"urls": [[]]}', 400, "URL"),
        ("POST", "/api/v1/tags/no%20such", b'{"urls": []}', 400, "name"),
        ("POST", "/api/v1/jobs", b"rubbish", 400, "not a job pack"),
        ("GET", "/api/v1/jobs?limit=many", b"", 400, "limit"),
        ("GET", "/api/v1/jobs/x?wait_s=-1", b"", 400, "wait_s"),
        ("GET", "/api/v1/jobs/x?wait_s=nan", b"", 400, "wait_s"),
        ("GET", "/api/v1/nothing", b"", 404, "nothing"),
        ("PATCH", "/api/v1/jobs", b"", 405, "Method"),
    ],
)
async def test_bad_requests_are_explained(
    web: aiohttp.ClientSession, method: str, path: str, body: bytes, status: int, word: str
) -> None:
    async with web.request(method, path, data=body) as response:
        problem = await response.json()
    assert response.status == problem["status"] == status
    assert response.content_type == "application/problem+json"
    assert word in problem["detail"]


async def test_a_bug_becomes_a_500_without_details(
    web: aiohttp.ClientSession, backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    backend.files.tags = None  # type: ignore[assignment]  # the bug
    async with web.get("/api/v1/tags") as response:
        problem = await response.json()
    assert (response.status, problem["title"]) == (500, "Internal error")
    assert "NoneType" not in problem["detail"]
    assert "request_failed" in caplog.text


async def test_unavailable_storage_is_a_503(web: aiohttp.ClientSession, backend: Backend) -> None:
    async def too_few(*_: object, **__: object) -> Any:
        raise TimeoutError("too few homes answer")

    backend.files.append = too_few  # type: ignore[method-assign]  # a node without a majority
    async with web.post("/api/v1/tags/t", json={"urls": []}) as response:
        assert response.status == 503
        assert (await response.json())["detail"] == "too few homes answer"
