"""The REST API of tags beyond reading and writing: tokens, history, conditions, repetitions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from peerdisco_webui.conditions import (
    check_match,
    expected_version,
    not_modified,
    range_holds,
)
from peerdisco_webui.errors import BadRequest, PreconditionFailed

if TYPE_CHECKING:
    from tests.webui.backend import Backend

TAG = "/api/v1/tags/t"
TOKEN = "X-Peerdisco-Tag-Token"
OPERATION = "X-Peerdisco-Operation"


async def status(web: aiohttp.ClientSession, method: str, path: str, **more: Any) -> int:
    async with web.request(method, path, **more) as response:
        return response.status


async def test_a_protected_tag_wants_its_token_in_a_header(
    web: aiohttp.ClientSession, backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    mine = {TOKEN: "s%20%C3%A4"}
    assert await status(web, "POST", TAG, json={"urls": [["raw://x"]]}, headers=mine) == 200
    assert backend.files.tokens["t"] == {"read": "s ä", "write": "s ä"}
    async with web.get(TAG, headers={TOKEN: "wrong"}) as response:
        problem = await response.json()
        assert (response.status, problem["type"]) == (401, "peerdisco:protected-tag")
        assert response.headers["WWW-Authenticate"] == TOKEN
    attempts: list[tuple[str, str, dict[str, Any] | None]] = [
        ("GET", TAG, None),
        ("GET", f"{TAG}/history", None),
        ("GET", f"{TAG}/attributes", None),
        ("GET", f"{TAG}/attributes/a", None),
        ("POST", TAG, {"urls": []}),
        ("PUT", TAG, {"urls": []}),
        ("PUT", f"{TAG}/attributes/a", {"value": "v"}),
        ("DELETE", f"{TAG}/attributes/a", None),
        ("PUT", f"{TAG}/tokens/read", {"token": ""}),
        ("DELETE", f"{TAG}/tokens/write", None),
        ("DELETE", TAG, None),
    ]
    for method, path, body in attempts:
        for headers in ({}, {TOKEN: ""}, {TOKEN: "wrong"}):
            assert await status(web, method, path, json=body, headers=headers) == 401, path
    assert await status(web, "DELETE", f"{TAG}/tokens/read", headers=mine) == 204
    async with web.get(TAG) as response:
        text = await response.text()
    assert json.loads(text)["urls"] == [["raw://x"]]
    assert "ä" not in text
    assert "s ä" not in caplog.text
    assert await status(web, "PUT", f"{TAG}/tokens/other", json={"token": "x"}) == 404


async def test_history_is_answered_newest_first(web: aiohttp.ClientSession) -> None:
    ann = {"X-Peerdisco-User": "ann@here"}
    await status(web, "POST", TAG, json={"urls": []}, headers=ann)
    await status(web, "PUT", f"{TAG}/attributes/a", json={"value": "v"}, headers=ann)
    async with web.get(f"{TAG}/history") as response:
        history = await response.json()
    assert (history["name"], history["owner"]) == ("t", "ann@here")
    assert [event["what"] for event in history["events"]] == ["attribute", "append"]


async def test_every_change_is_applied_once_however_often_it_is_sent(
    web: aiohttp.ClientSession, backend: Backend
) -> None:
    for number, (method, path, body) in enumerate(
        [
            ("POST", TAG, {"urls": [["raw://x"]]}),
            ("PUT", TAG, {"urls": [["raw://y"]]}),
        ]
    ):
        headers = {OPERATION: f"me/{number}"}
        versions = []
        for _ in range(2):
            async with web.request(method, path, json=body, headers=headers) as response:
                versions.append((await response.json())["version"])
        assert versions == [number + 1, number + 1]
    assert await status(web, "PUT", f"{TAG}/attributes/a", json={"value": "v"}) == 200
    for wrong in ("me", "me/x", "me/-1", "/1", "a b/1", "x" * 65 + "/1"):
        headers = {OPERATION: wrong}
        assert await status(web, "POST", TAG, json={"urls": []}, headers=headers) == 400


async def test_tags_are_read_and_written_under_conditions(web: aiohttp.ClientSession) -> None:
    body = {"urls": [["raw://x"]]}
    assert await status(web, "PUT", TAG, json=body, headers={"If-Match": '"1"'}) == 412
    new = {"If-None-Match": "*"}
    assert await status(web, "PUT", TAG, json=body, headers=new) == 200
    assert await status(web, "PUT", TAG, json=body, headers=new) == 412
    async with web.get(TAG) as response:
        etag = response.headers["ETag"]
    assert etag == '"1"'
    async with web.get(TAG, headers={"If-None-Match": f'"7", W/{etag}'}) as response:
        assert (response.status, response.headers["ETag"]) == (304, etag)
    assert await status(web, "GET", TAG, headers={"If-None-Match": '"7"'}) == 200
    assert await status(web, "GET", TAG, headers={"If-Match": '"7"'}) == 412
    assert await status(web, "PUT", TAG, json=body, headers={"If-Match": etag}) == 200
    assert await status(web, "PUT", TAG, json=body, headers={"If-Match": etag}) == 412
    assert await status(web, "DELETE", TAG, headers={"If-Match": etag}) == 412
    assert await status(web, "POST", TAG, json=body, headers={"If-Match": etag}) == 412
    assert await status(web, "POST", TAG, json=body, headers={"If-Match": '"2"'}) == 200
    assert await status(web, "POST", TAG, json=body | {"if_version": 2}) == 409
    for path, sent in (
        (f"{TAG}/attributes/a", {"value": "v"}),
        (f"{TAG}/tokens/read", {"token": ""}),
    ):
        assert await status(web, "PUT", path, json=sent, headers={"If-Match": '"3"'}) == 400
    assert await status(web, "DELETE", TAG, headers={"If-Match": '"3"'}) == 204
    for wrong in ("*", "1", '"1", "2"', 'W/"1"', '"x"', '"' + "9" * 19 + '"'):
        assert await status(web, "PUT", TAG, json=body, headers={"If-Match": wrong}) == 400


async def test_a_stale_answer_has_no_etag(web: aiohttp.ClientSession, backend: Backend) -> None:
    await status(web, "POST", TAG, json={"urls": []})
    backend.files.missing = 1
    params = {"stale_ok": "1"}
    async with web.get(TAG, params=params, headers={"If-None-Match": '"1"'}) as response:
        assert response.status == 200
        assert "ETag" not in response.headers


async def test_blobs_are_read_under_conditions(
    web: aiohttp.ClientSession, backend: Backend
) -> None:
    blob = backend.files.add(b"0123456789")
    path, etag = f"/api/v1/blobs/{blob.id}", f'"{blob.id}"'
    async with web.get(path, headers={"If-None-Match": etag}) as response:
        assert (response.status, response.headers["ETag"]) == (304, etag)
        assert await response.read() == b""
    assert await status(web, "GET", path, headers={"If-Match": '"other"'}) == 412
    for holds, expected in ((etag, (206, b"23")), ('"other"', (200, b"0123456789"))):
        headers = {"Range": "bytes=2-3", "If-Range": holds}
        async with web.get(path, headers=headers) as response:
            assert (response.status, await response.read()) == expected
    async with web.head(path, headers={"Range": "bytes=2-3"}) as response:
        assert (response.status, response.headers["Content-Length"]) == (206, "2")


def test_conditions_follow_the_rfc() -> None:
    assert not not_modified({}, "1")
    assert not_modified({"If-None-Match": "*"}, "1")
    assert not_modified({"If-None-Match": ' "0" , W/"1"'}, "1")
    assert not not_modified({"If-None-Match": '"10"'}, "1")
    check_match({"If-Match": '"0","1"'}, "1")
    check_match({"If-Match": "*"}, "1")
    with pytest.raises(PreconditionFailed):
        check_match({"If-Match": 'W/"1"'}, "1")
    assert range_holds({}, "1")
    assert not range_holds({"If-Range": 'W/"1"'}, "1")
    assert not range_holds({"If-Range": "Wed, 25 Nov 2026 10:00:00 GMT"}, "1")
    assert expected_version({}) is None
    assert expected_version({"If-None-Match": "*"}) == 0
    assert expected_version({"If-Match": '"12"'}) == 12
    for header in ("1", '"1', '"1" "2"', ",".join(['"x"'] * 101)):
        with pytest.raises(BadRequest):
            not_modified({"If-None-Match": header}, "1")
