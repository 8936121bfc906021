"""Disco's own REST, as its programs speak it."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import aiohttp
import pytest

from peerdisco_webui import Access, by_token, serving

if TYPE_CHECKING:
    from tests.webui.backend import Backend


@pytest.fixture
async def disco(backend: Backend) -> AsyncIterator[aiohttp.ClientSession]:
    """A client that sends what Disco's Python client sends: nothing of ours."""
    async with (
        serving(backend.app(), "127.0.0.1", 0) as (host, port),
        aiohttp.ClientSession(
            f"http://{host}:{port}", skip_auto_headers=["Content-Type"]
        ) as client,
    ):
        yield client


async def ask(
    client: aiohttp.ClientSession,
    method: str,
    path: str,
    body: Any = None,
    token: str | None = None,
) -> tuple[int, Any]:
    """Status and answer: JSON where it is JSON, else text."""
    headers = {}
    if token is not None:
        headers["Authorization"] = "Basic " + base64.b64encode(f"token:{token}".encode()).decode()
    data = body if isinstance(body, bytes) or body is None else json.dumps(body)
    async with client.request(method, path, data=data, headers=headers) as response:
        is_json = response.content_type == "application/json"
        return response.status, await (response.json() if is_json else response.text())


async def test_a_blob_is_pushed_tagged_and_read_as_disco_does_it(
    disco: aiohttp.ClientSession, backend: Backend
) -> None:
    status, [place] = await ask(disco, "GET", "/ddfs/new_blob/log-1?replicas=2&exclude=gone")
    assert status == 200
    assert re.fullmatch(
        r"http://127\.0\.0\.1:\d+/ddfs/log-1\$[0-9a-f]+-[0-9a-f]+-[0-9a-f]+\?.*", place
    )
    status, url = await ask(disco, "PUT", place[place.index("/ddfs") :], b"one\ntwo\n")
    assert status == 201
    [blob] = backend.files.blobs
    name = place[place.index("log-1") : place.index("?")]
    assert url == f"disco://127.0.0.1/ddfs/vol0/blob/{blob}/{name}"
    path = url.removeprefix("disco://127.0.0.1")
    async with disco.get(path, headers={"Range": "bytes=4-10485759"}) as response:
        assert (response.status, await response.read()) == (206, b"two\n")
        assert response.headers["Content-Range"] == "bytes 4-7/8"
        assert name in response.headers["Content-Disposition"]
    assert (await ask(disco, "POST", "/ddfs/tag/logs", [[url, url]]))[0] == 200
    assert backend.files.tags["logs"].urls == ((f"blob:{blob}", url),)
    _, tag = await ask(disco, "GET", "/ddfs/tag/logs")
    assert tag["urls"] == [[url]]
    # Other programs tag the blob by its own URL; Disco's read it all the same.
    await ask(disco, "PUT", "/ddfs/tag/logs", [[f"blob:{blob}"], ["raw://x"], ["tag://logs"]])
    _, tag = await ask(disco, "GET", "/ddfs/tag/logs")
    unnamed = f"disco://127.0.0.1/ddfs/vol0/blob/{blob}/{blob}$0-0-0"
    assert tag["urls"] == [[unnamed], ["raw://x"], ["tag://logs"]]
    await ask(disco, "PUT", "/ddfs/tag/logs", [[unnamed]])
    assert [list(entry) for entry in backend.files.tags["logs"].urls] == [[f"blob:{blob}"]]


async def test_a_tag_looks_as_disco_showed_it(
    disco: aiohttp.ClientSession, backend: Backend
) -> None:
    status, [incarnation] = await ask(disco, "POST", "/ddfs/tag/t", [["raw://a"], ["raw://b"]])
    assert (status, incarnation) == (200, "disco://127.0.0.1/ddfs/vol0/tag/00/t$0-0-1")
    await ask(disco, "POST", "/ddfs/tag/t?update=1", [["raw://b"], ["raw://c"]])
    await ask(disco, "POST", "/ddfs/tag/t?update=&delayed=1", [["raw://c"]])
    assert (await ask(disco, "GET", "/ddfs/tag/t"))[1] == {
        "version": 1,
        "id": "t$0-0-3",
        "last-modified": "1970/01/01 00:00:00",
        "urls": [["raw://c"], ["raw://c"], ["raw://a"], ["raw://b"]],
        "user-data": {},
    }
    for name in ("data:log:1", "data:log:2", "data:x"):
        await ask(disco, "POST", f"/ddfs/tag/{name}", [])
    assert (await ask(disco, "GET", "/ddfs/tags"))[1] == ["data:log:1", "data:log:2", "data:x", "t"]
    for prefix in ("data:log", "data/log", "data%2Flog", "data/log/1"):
        _, names = await ask(disco, "GET", f"/ddfs/tags/{prefix}")
        assert names == ["data:log:1", "data:log:2"][: 1 if prefix.endswith("1") else 2]
    backend.files.missing = 3
    status, text = await ask(disco, "GET", "/ddfs/tags/")
    assert (status, text) == (500, "Internal server error: too_many_failed_nodes")
    assert await ask(disco, "DELETE", "/ddfs/tag/t") == (200, "deleted")
    assert await ask(disco, "DELETE", "/ddfs/tag/t") == (200, "deleted")
    assert await ask(disco, "GET", "/ddfs/tag/t") == (404, "Tag not found.")


async def test_attributes_and_urls_are_read_and_written(disco: aiohttp.ClientSession) -> None:
    await ask(disco, "POST", "/ddfs/tag/t", [["raw://a"]])
    assert (await ask(disco, "PUT", "/ddfs/tag/t/colour", "red"))[0] == 200
    assert await ask(disco, "GET", "/ddfs/tag/t/colour") == (200, "red")
    assert (await ask(disco, "GET", "/ddfs/tag/t"))[1]["user-data"] == {"colour": "red"}
    assert await ask(disco, "DELETE", "/ddfs/tag/t/colour") == (200, "deleted")
    assert await ask(disco, "DELETE", "/ddfs/tag/t/colour") == (200, "deleted")
    assert await ask(disco, "GET", "/ddfs/tag/t/colour") == (404, "Tag attribute not found.")
    assert (await ask(disco, "PUT", "/ddfs/tag/t/ddfs:urls", [["raw://b"]]))[0] == 200
    assert await ask(disco, "GET", "/ddfs/tag/t/ddfs:urls") == (200, [["raw://b"]])
    assert await ask(disco, "DELETE", "/ddfs/tag/gone/x") == (404, "Tag not found.")


async def test_tokens_come_as_discos_basic_authorization(
    disco: aiohttp.ClientSession, backend: Backend
) -> None:
    wrong = (401, "Incorrect or missing token.")
    await ask(disco, "POST", "/ddfs/tag/t", [["raw://a"]], token="s:3")
    assert backend.files.tokens["t"] == {"read": "s:3", "write": "s:3"}
    for method, path, body in (
        ("GET", "/ddfs/tag/t", None),
        ("GET", "/ddfs/tag/t/ddfs:urls", None),
        ("POST", "/ddfs/tag/t", []),
        ("PUT", "/ddfs/tag/t", []),
        ("DELETE", "/ddfs/tag/t", None),
        ("PUT", "/ddfs/tag/t/ddfs:read-token", "x"),
    ):
        for token in (None, "", "wrong"):
            assert await ask(disco, method, path, body, token) == wrong
    assert (await ask(disco, "GET", "/ddfs/tag/t", token="s:3"))[0] == 200
    assert (await ask(disco, "PUT", "/ddfs/tag/t/ddfs:write-token", "w", "s:3"))[0] == 200
    status, text = await ask(disco, "GET", "/ddfs/tag/t/ddfs:write-token", token="w")
    assert (status, "hashes" in text) == (403, True)
    assert await ask(disco, "DELETE", "/ddfs/tag/t/ddfs:write-token", token="w") == (200, "deleted")
    assert await ask(disco, "GET", "/ddfs/tag/t/ddfs:write-token", token="s:3") == (200, None)


async def test_where_people_log_in_a_password_is_no_token_of_a_tag(backend: Backend) -> None:
    app = backend.app(
        authorize=by_token(lambda token: Access.ADMIN if token == "cluster" else Access.PUBLIC)
    )
    async with (
        serving(app, "127.0.0.1", 0) as (host, port),
        aiohttp.ClientSession(f"http://{host}:{port}") as client,
    ):
        assert (await ask(client, "POST", "/ddfs/tag/t", b"[]", "cluster"))[0] == 200
        assert backend.files.tokens["t"] == {"read": None, "write": None}
        assert (await ask(client, "GET", "/ddfs/tag/t", token="other"))[0] == 401


async def test_garbage_collection_is_told_in_discos_words(
    disco: aiohttp.ClientSession, backend: Backend
) -> None:
    assert await ask(disco, "GET", "/ddfs/ctrl/gc_status") == (200, "")
    assert await ask(disco, "GET", "/ddfs/ctrl/gc_stats") == (200, "")
    assert await ask(disco, "POST", "/ddfs/ctrl/gc_start") == (200, "GC has started")
    assert (await ask(disco, "GET", "/ddfs/ctrl/gc_start"))[0] == 405
    backend.upkeep.looks = 3
    _, stats = await ask(disco, "GET", "/ddfs/ctrl/gc_stats")
    assert stats["stats"]["Tags kept"] == [4, 0]
    assert set(stats["stats"]) == {"Tags kept", "Tags deleted", "Blobs kept", "Blobs deleted"}
    assert await ask(disco, "GET", "/ddfs/ctrl/safe_gc_blacklist") == (200, [])
    backend.upkeep.states["node-b"] = "draining"
    assert await ask(disco, "GET", "/ddfs/ctrl/safe_gc_blacklist") == (200, ["node-b"])


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "text"),
    [
        ("GET", "/ddfs/new_blob/a.b", None, 403, "Invalid tag"),
        ("GET", "/ddfs/new_blob/x?replicas=4", None, 403, "Not enough nodes for replicas."),
        ("PUT", "/ddfs/log-1", b"x", 403, "Invalid blob name"),
        ("PUT", "/ddfs/" + quote("../../etc$1", safe=""), b"x", 403, "Invalid blob name"),
        ("GET", "/ddfs/tag/no%20such", None, 403, "Invalid tag"),
        ("GET", "/ddfs/tag/%2B" + "deleted", None, 403, "Invalid tag"),
        ("GET", "/ddfs/tag/" + "x" * 512, None, 403, "Invalid tag"),
        ("POST", "/ddfs/tag/t", b"{", 403, "Invalid request body."),
        ("POST", "/ddfs/tag/t", b"\xff", 403, "Invalid request body."),
        ("POST", "/ddfs/tag/t", {"urls": []}, 403, "Invalid url object"),
        ("POST", "/ddfs/tag/t", ["raw://x"], 403, "Invalid url object"),
        ("POST", "/ddfs/tag/t", [[]], 403, "Invalid url object"),
        ("POST", "/ddfs/tag/t", [["no url"]], 403, "Invalid url object"),
        ("PUT", "/ddfs/tag/t/a", {"a": 1}, 403, "Invalid attribute key or value"),
        ("PUT", "/ddfs/tag/t/" + "a" * 1025, "v", 403, "Attribute name too big."),
        ("PUT", "/ddfs/tag/t/a", "v" * 4097, 403, "Attribute value too big."),
        ("PUT", "/ddfs/tag/t/ddfs:other", "v", 404, "Tag attribute not found."),
        ("DELETE", "/ddfs/tag/t/ddfs:urls", None, 403, "Invalid attribute key or value"),
        ("GET", "/ddfs/vol0/blob/b3-none/x$1", None, 404, "there is no blob b3-none"),
        (
            "GET",
            "/ddfs/vol0/blob/b3-none/" + quote("../x", safe=""),
            None,
            403,
            "Invalid blob name",
        ),
    ],
)
async def test_what_disco_refused_is_refused_in_its_words(
    disco: aiohttp.ClientSession, method: str, path: str, body: Any, status: int, text: str
) -> None:
    await ask(disco, "POST", "/ddfs/tag/t", [])
    assert await ask(disco, method, path, body) == (status, text)


async def test_a_minority_is_a_temporary_error(
    disco: aiohttp.ClientSession, backend: Backend
) -> None:
    async def too_few(*_: object, **__: object) -> Any:
        raise TimeoutError("too few homes answer")

    backend.files.append = too_few  # type: ignore[method-assign]  # a node without a majority
    assert await ask(disco, "POST", "/ddfs/tag/t", []) == (
        503,
        "Temporary server error. Try again.",
    )
