"""What is refused: every route is tried by strangers, by foreign pages, and without a token."""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web as aioweb
from aiohttp.test_utils import make_mocked_request

from peerdisco_webui import Access, InsecureListener, by_token, everybody, serving
from peerdisco_webui.app import ROUTES
from peerdisco_webui.routes import Route
from peerdisco_webui.security import check_exposure, token_of
from peerdisco_webui.wire import read_body

if TYPE_CHECKING:
    from tests.webui.backend import Backend

TOKENS = {"reader": Access.READ, "writer": Access.WRITE, "admin": Access.ADMIN}


def verify(token: str) -> Access:
    return TOKENS.get(token, Access.PUBLIC)


def address_of(route: Route) -> str:
    return re.sub(r"\{\w+\}", "x", route.path)


def test_every_route_of_the_application_stands_in_the_table(backend: Backend) -> None:
    app = backend.app()
    table = {(route.method, route.path) for route in app[ROUTES]}
    heads = {("HEAD", path) for method, path in table if method == "GET"}
    found = {
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None
    }
    assert found == table | heads
    assert len(found) == len(app.router.routes())


def test_only_harmless_routes_are_public(backend: Backend) -> None:
    public = {route.path for route in backend.app()[ROUTES] if route.access is Access.PUBLIC}
    assert public == {"/healthz", "/readyz", "/ca.pem", "/static/{name}", "/favicon.ico"}


def test_whatever_changes_something_needs_more_than_reading(backend: Backend) -> None:
    for route in backend.app()[ROUTES]:
        assert (route.access > Access.READ) == (route.method != "GET"), route


async def test_every_route_demands_its_access(backend: Backend) -> None:
    app = backend.app(authorize=by_token(verify))
    async with (
        serving(app, "127.0.0.1", 0) as (host, port),
        aiohttp.ClientSession(f"http://{host}:{port}", headers={"X-Peerdisco": "1"}) as client,
    ):
        for route in app[ROUTES]:
            for token, access in [("", Access.PUBLIC), ("forged", Access.PUBLIC), *TOKENS.items()]:
                headers = {"Authorization": f"Bearer {token}"} if token else {}
                async with client.request(
                    route.method, address_of(route), headers=headers
                ) as response:
                    # Disco's REST refuses bad names with the same code, in its own words.
                    ours = response.content_type == "application/problem+json"
                    refused = response.status in (401, 403) and ours
                    assert refused == (access < route.access), (route, token)


async def test_every_route_refuses_other_hosts_and_foreign_pages(
    web: aiohttp.ClientSession, backend: Backend
) -> None:
    attacks = [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "localhost@evil.example"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"},
    ]
    for route in backend.app()[ROUTES]:
        for attack in attacks:
            async with web.request(route.method, address_of(route), headers=attack) as response:
                assert response.status == 403, (route, attack)


async def test_every_write_needs_what_a_foreign_form_cannot_send(backend: Backend) -> None:
    app = backend.app()
    async with (
        serving(app, "127.0.0.1", 0) as (host, port),
        aiohttp.ClientSession(f"http://{host}:{port}") as client,
    ):
        for route in app[ROUTES]:
            if route.method == "GET":
                continue
            for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
                async with client.request(
                    route.method, address_of(route), data=b"{}", headers={"Content-Type": kind}
                ) as response:
                    assert response.status == 415, (route, kind)
        async with client.post("/api/v1/tags/t", json={"urls": []}) as response:
            assert response.status == 200


async def test_a_link_from_elsewhere_opens_a_page_but_no_data(
    web: aiohttp.ClientSession,
) -> None:
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    async with web.get("/", headers=link) as response:
        assert response.status == 200
    async with web.get("/api/v1/status", headers=link) as response:
        assert response.status == 403


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:9", "[::1]:8989", "LOCALHOST:1"])
async def test_loopback_names_are_ours(web: aiohttp.ClientSession, host: str) -> None:
    async with web.get("/healthz", headers={"Host": host}) as response:
        assert response.status == 200


async def test_the_advertised_host_is_ours(backend: Backend) -> None:
    async with (
        serving(backend.app(hosts=["Node7.lan"]), "127.0.0.1", 0) as (host, port),
        aiohttp.ClientSession(f"http://{host}:{port}") as client,
        client.get("/healthz", headers={"Host": "node7.lan:8989"}) as response,
    ):
        assert response.status == 200


async def test_browsers_may_send_the_token_as_a_password(backend: Backend) -> None:
    app = backend.app(authorize=by_token(verify))
    password = "Basic " + base64.b64encode(b"me:reader").decode()
    async with (
        serving(app, "127.0.0.1", 0) as (host, port),
        aiohttp.ClientSession(f"http://{host}:{port}") as client,
    ):
        async with client.get("/") as response:
            assert response.status == 401
            assert "Basic" in response.headers["WWW-Authenticate"]
        async with client.get("/", headers={"Authorization": password}) as response:
            assert response.status == 200
        async with client.get("/no/such", headers={"Accept": "text/html"}) as response:
            assert "node-a" not in await response.text()


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("Bearer abc", "abc"),
        ("bearer abc", "abc"),
        ("Basic " + base64.b64encode(b"any:a:b").decode(), "a:b"),
        ("Basic !!!", ""),
        ("Basic " + base64.b64encode(b"\xff\xfe").decode(), ""),
        ("Digest abc", ""),
        ("", ""),
    ],
)
def test_the_token_is_found_in_the_header(header: str, token: str) -> None:
    assert token_of(make_mocked_request("GET", "/", headers={"Authorization": header})) == token


def test_an_open_listener_is_refused() -> None:
    secret = by_token(verify)
    check_exposure("127.0.0.1", tls=False, authorize=everybody)
    check_exposure("::1", tls=False, authorize=everybody)
    check_exposure("10.0.0.7", tls=True, authorize=secret)
    for host in ("", "0.0.0.0", "::", "10.0.0.7", "node7.lan"):
        with pytest.raises(InsecureListener, match="TLS"):
            check_exposure(host, tls=False, authorize=secret)
        with pytest.raises(InsecureListener, match="tokens"):
            check_exposure(host, tls=True, authorize=everybody)


async def test_bodies_over_the_limit_are_refused_unread(backend: Backend) -> None:
    async def small(request: aioweb.Request) -> aioweb.Response:
        return aioweb.Response(body=await read_body(request, 10))

    app = backend.app()
    app.router.add_post("/small", small)

    async def undeclared() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"xxxx"

    async with (
        serving(app, "127.0.0.1", 0) as (host, port),
        aiohttp.ClientSession(f"http://{host}:{port}", headers={"X-Peerdisco": "1"}) as client,
    ):
        async with client.post("/small", data=b"x" * 10) as response:
            assert await response.read() == b"x" * 10
        async with client.post("/small", data=b"x" * 11) as response:
            assert response.status == 413
        async with client.post("/small", data=undeclared()) as response:
            assert response.status == 413
