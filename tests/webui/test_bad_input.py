"""What may come from anybody: one table of it, over all routes of tags and blobs.

Each line is refused with a status and a word of explanation, without a trace in the cluster. The
table over names and access is in `test_security.py`, that of Disco's own words in `test_disco.py`.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from peerdisco_webui import app, wire

if TYPE_CHECKING:
    from tests.webui.backend import Backend

TAG, BLOBS, CHUNKS = "/api/v1/tags/t", "/api/v1/blobs", "/api/v1/tags/t/chunks"
TOKEN = "X-Peerdisco-Tag-Token"
USER, OPERATION = "X-Peerdisco-User", "X-Peerdisco-Operation"
MANY = "[" * 200_000
EMPTY: dict[str, Any] = {"urls": []}

Headers = dict[str, str]
Row = tuple[str, str, Headers, Any, int, str]

TABLE: list[Row] = [
    # Names that no tag can have, and ways out of the tree.
    ("GET", "/api/v1/tags/a%20b", {}, None, 400, "name"),
    ("GET", "/api/v1/tags/" + "x" * 512, {}, None, 400, "name"),
    ("GET", "/api/v1/tags/%00", {}, None, 400, "name"),
    ("GET", "/api/v1/tags/%ff", {}, None, 400, "name"),
    ("POST", "/api/v1/tags/t%0a", {}, EMPTY, 400, "name"),
    ("PUT", "/api/v1/tags/%C3%A4", {}, EMPTY, 400, "name"),
    ("DELETE", "/api/v1/tags/%2Bdeleted%20", {}, None, 400, "name"),
    ("GET", "/api/v1/tags/..%2F..%2Fetc%2Fpasswd/history", {}, None, 404, "no tag"),
    ("GET", "/api/v1/blobs/..%2F..%2Fetc%2Fpasswd", {}, None, 404, "no blob"),
    ("GET", "/static/..%2Fsecurity.py", {}, None, 404, "no such file"),
    ("GET", "/api/v1/../../etc/passwd", {}, None, 404, "nothing"),
    # JSON that is none, is another, or is built to hurt.
    ("POST", TAG, {}, b"", 400, "body"),
    ("POST", TAG, {}, b"{", 400, "body"),
    ("POST", TAG, {}, b"\xff\xfe", 400, "body"),
    ("POST", TAG, {}, b'{"urls": [["\xff"]]}', 400, "body"),
    ("POST", TAG, {}, MANY.encode(), 400, "body"),
    ("POST", TAG, {}, b'{"urls": ' + MANY.encode() + b"}", 400, "body"),
    ("POST", TAG, {}, {"urls": "raw://x"}, 400, "urls"),
    ("POST", TAG, {}, {"urls": [[7]]}, 400, "urls"),
    ("POST", TAG, {}, {"urls": [["raw://x"]], "unique": "yes"}, 400, "unique"),
    ("POST", TAG, {}, {"urls": [], "session": "x" * 65, "sequence": 1}, 400, "session"),
    ("POST", TAG, {}, {"urls": [], "session": "x", "sequence": -1}, 400, "session"),
    ("POST", TAG, {}, b'{"urls": [], "sequence": 1' + b"0" * 400 + b"}", 400, "15 digits"),
    ("PUT", TAG, {}, {"urls": [], "if_version": "1"}, 400, "if_version"),
    ("PUT", TAG + "/attributes/a", {}, {"value": 1}, 400, "value"),
    ("PUT", TAG + "/tokens/read", {}, {"token": None}, 400, "token"),
    # URLs that are none, and entries that are too much.
    ("POST", TAG, {}, {"urls": [[]]}, 400, "at least one"),
    ("POST", TAG, {}, {"urls": [[""]]}, 400, "not a URL"),
    ("POST", TAG, {}, {"urls": [["no-scheme"]]}, 400, "not a URL"),
    ("POST", TAG, {}, {"urls": [["raw://a\nb"]]}, 400, "not a URL"),
    ("POST", TAG, {}, b'{"urls": [["raw://\\ud800"]]}', 400, ""),
    ("POST", TAG, {}, {"urls": [["raw://" + "x" * 16384]]}, 413, "blob"),
    ("PUT", TAG, {}, {"urls": [["raw://" + "x" * 100] * 200]}, 413, "blob"),
    # Attributes and tokens over their limits.
    ("PUT", TAG + "/attributes/a", {}, {"value": "x" * 4097}, 400, "4096"),
    ("PUT", TAG + "/attributes/" + "a" * 1025, {}, {"value": "x"}, 400, "1024"),
    ("PUT", TAG + "/tokens/other", {}, {"token": "x"}, 404, "`read`"),
    # Headers that lie.
    ("GET", TAG, {TOKEN: "%ff"}, None, 400, TOKEN),
    ("POST", TAG, {USER: "x" * 256}, EMPTY, 400, USER),
    ("POST", TAG, {USER: "a%0ab"}, EMPTY, 400, USER),
    ("POST", TAG, {OPERATION: "me"}, EMPTY, 400, OPERATION),
    ("POST", TAG, {OPERATION: "me/" + "9" * 16}, EMPTY, 400, OPERATION),
    ("PUT", TAG, {"If-Match": "7"}, EMPTY, 400, "ETags"),
    ("GET", BLOBS + "/{blob}", {"If-None-Match": '"' * 3}, None, 400, "ETag"),
    ("GET", BLOBS + "/{blob}", {"If-Match": ",".join(['"x"'] * 200)}, None, 400, "ETags"),
    # Parameters that make no sense.
    ("GET", "/api/v1/tags?limit=many", {}, None, 400, "limit"),
    ("GET", "/api/v1/tags?limit=-1", {}, None, 400, "limit"),
    ("GET", "/api/v1/tags?limit=" + "9" * 30, {}, None, 400, "limit"),
    ("POST", BLOBS + "?replicas=two", {}, b"x", 400, "replicas"),
    ("POST", BLOBS + "?owner=a/b", {}, b"x", 400, "owner"),
    ("POST", BLOBS + "?owner=" + "x" * 256, {}, b"x", 400, "owner"),
    ("GET", BLOBS + "/{blob}", {"Range": "bytes=9-"}, None, 416, "bytes"),
    ("GET", BLOBS + "/{blob}", {"Range": "bytes=5-2"}, None, 400, "Range"),
    ("GET", BLOBS + "/{blob}", {"Range": "chunks=1-2"}, None, 400, "Range"),
    ("GET", BLOBS + "/{blob}", {"Range": "bytes=0-1,3-4"}, None, 400, "Range"),
    ("GET", BLOBS + "/b3-none", {}, None, 404, "no blob"),
    # Ways in that there are not.
    ("PATCH", TAG, {}, EMPTY, 405, "Method"),
    ("POST", "/api/v1/nothing", {}, EMPTY, 404, "nothing"),
    ("GET", CHUNKS, {}, None, 405, "Method"),
    ("GET", TAG + "/tokens/read", {}, None, 405, "Method"),
]


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status", "word"),
    TABLE,
    ids=[f"{row[0]} {row[1][:40]} {number}" for number, row in enumerate(TABLE)],
)
async def test_bad_input_is_explained_and_leaves_nothing_behind(
    web: aiohttp.ClientSession,
    backend: Backend,
    caplog: pytest.LogCaptureFixture,
    method: str,
    path: str,
    headers: Headers,
    body: Any,
    status: int,
    word: str,
) -> None:
    blob = backend.files.add(b"eight by")
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    async with web.request(
        method, path.format(blob=blob.id), headers=headers, data=data
    ) as response:
        problem = await response.json()
    assert (response.status, problem["status"]) == (status, status), problem
    assert response.content_type == "application/problem+json"
    assert word in problem["detail"]
    assert len(problem["detail"]) < 500
    assert backend.files.tags == {}
    assert list(backend.files.blobs) == [blob.id]
    assert "request_failed" not in caplog.text


async def raw(web: aiohttp.ClientSession, request: bytes) -> bytes:
    """What a node answers to bytes that no client library would send."""
    assert web._base_url is not None
    reader, writer = await asyncio.open_connection(web._base_url.host, web._base_url.port)
    writer.write(request)
    answer = await reader.readline()
    writer.close()
    return answer


def head(method: str, path: str, *lines: str) -> bytes:
    lines = (f"{method} {path} HTTP/1.1", "Host: localhost", "X-Peerdisco: 1", *lines, "", "")
    return "\r\n".join(lines).encode("latin-1")


async def test_a_body_over_the_limit_is_refused_before_it_is_sent(
    web: aiohttp.ClientSession, backend: Backend
) -> None:
    size = f"Content-Length: {wire.JSON_BYTES_MAX + 1}"
    for method, path in [
        ("POST", TAG),
        ("PUT", TAG),
        ("PUT", f"{TAG}/attributes/a"),
        ("PUT", f"{TAG}/tokens/read"),
        ("POST", "/ddfs/tag/t"),
        ("PUT", "/ddfs/tag/t/a"),
    ]:
        assert b" 413 " in await raw(web, head(method, path, size)), path
    assert backend.files.tags == {}


async def test_a_body_of_unknown_length_is_cut_off_at_the_limit(
    web: aiohttp.ClientSession, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "JSON_BYTES_MAX", 1000)
    chunk = b"400\r\n" + b"[" * 1024 + b"\r\n"
    answer = await raw(web, head("POST", TAG, "Transfer-Encoding: chunked") + chunk)
    assert b" 413 " in answer
    assert backend.files.tags == {}


@pytest.mark.parametrize(
    "request_bytes",
    [
        head("POST", TAG, "Content-Length: 10", "Content-Length: 11"),
        head("POST", TAG, "Content-Length: -1"),
        head("POST", TAG, "Content-Length: 5", "Transfer-Encoding: chunked"),
        head("GET", "/" + "x" * 20_000),
        head("GET", TAG, "X-Long: " + "x" * 20_000),
        b"GET\x00/ HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
async def test_what_is_no_http_is_refused(
    web: aiohttp.ClientSession, backend: Backend, request_bytes: bytes
) -> None:
    assert b" 400 " in await raw(web, request_bytes + b"\r\n\r\n")
    assert (await web.get("/healthz")).status == 200
    assert backend.files.tags == {}


@pytest.mark.parametrize("path", [TAG, BLOBS, CHUNKS, "/ddfs/tag/t"])
async def test_a_client_that_stops_sending_is_not_waited_for(
    web: aiohttp.ClientSession, backend: Backend, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(wire, "BODY_SILENCE_S", 0.05)
    answer = await raw(web, head("POST", path, "Content-Length: 100") + b'{"urls": [')
    assert b" 408 " in answer
    assert (backend.files.tags, backend.files.blobs) == ({}, {})


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nHost: loc"])
async def test_a_client_that_never_asks_is_not_waited_for(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(app, "IDLE_S", 0.05)
    async with app.serving(backend.app(), "127.0.0.1", 0) as (host, port):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(sent)
        assert await reader.read() == b""
        writer.close()


async def test_a_client_that_goes_away_leaves_nothing_behind(
    web: aiohttp.ClientSession, backend: Backend
) -> None:
    assert web._base_url is not None
    for path in (TAG, BLOBS, CHUNKS):
        _, writer = await asyncio.open_connection(web._base_url.host, web._base_url.port)
        writer.write(head("POST", path, "Content-Length: 100") + b'{"urls": [')
        await writer.drain()
        writer.transport.abort()
    assert (await web.get("/healthz")).status == 200
    assert (backend.files.tags, backend.files.blobs) == ({}, {})
