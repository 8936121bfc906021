"""The pages: readable without a network, safe against hostile names, and well-formed."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec
import pytest

from peerdisco_webui.assets import Assets
from peerdisco_webui.messages import (
    AttemptView,
    ErrorView,
    JobState,
    JobView,
    MemberState,
    StageView,
    TagView,
)

if TYPE_CHECKING:
    from tests.webui.backend import Backend

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
VOID = {"meta", "link", "img", "input", "br", "rect"}


class Page(HTMLParser):
    """What a page refers to, and whether its tags are balanced."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.inline: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self._open.append(tag)
        for name, value in attrs:
            if name in ("href", "src", "action"):
                self.links.append(value or "")
            if name == "id":
                self.ids.append(value or "")
            if name == "style" or name.startswith("on"):
                self.inline.append(f"{tag} {name}={value}")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] in ("script", "style") and data.strip():
            self.inline.append(data)


@pytest.fixture
def busy(backend: Backend) -> Backend:
    """A cluster in which everything has a hostile name."""
    cluster = backend.cluster
    cluster.listed = [
        msgspec.structs.replace(cluster.listed[0], name=HOSTILE, http="127.0.0.1:1", slots_busy=2),
        msgspec.structs.replace(cluster.listed[1], state=MemberState.SUSPECT, slots=64),
        msgspec.structs.replace(cluster.listed[2], state=MemberState.DEAD, total_bytes=-1),
    ]
    error = ErrorView(
        kind="user", message=HOSTILE, traceback=HOSTILE, input=HOSTILE, record=3, node=HOSTILE
    )
    backend.jobs.jobs["bad"] = JobView(
        name="bad",
        owner=HOSTILE,
        state=JobState.DEAD,
        coordinator=HOSTILE,
        voters=(HOSTILE,),
        stages=(StageView(name=HOSTILE, grouping="split", done=3, running=2, pending=4, failed=1),),
        attempts=(AttemptView(stage="map", task=1, attempt=2, node=HOSTILE, started_at=1.0),),
        results=((HOSTILE,), ("blob:b3-1",), ("tag://x",)),
        error=error,
        submitted_at=1.0,
    )
    blob = backend.files.add(b"hello")
    urls = ((blob.url,), (HOSTILE,), ("tag://other",))
    backend.files.tags["t"] = TagView(name="t", version=1, urls=urls, attributes={HOSTILE: HOSTILE})
    return backend


PAGES = ["/", "/jobs", "/jobs/bad", "/data", "/data/t", "/no/such/page", "/jobs?prefix=%3Cb%3E"]


@pytest.mark.parametrize("path", PAGES)
async def test_pages_are_self_contained_escaped_and_locked_down(
    web: aiohttp.ClientSession, busy: Backend, path: str
) -> None:
    async with web.get(path, headers={"Accept": "text/html"}) as response:
        html = await response.text()
        policy = response.headers["Content-Security-Policy"]
    assert response.content_type == "text/html"
    assert response.status == (404 if "such" in path else 200)
    page = Page(html)
    assert page.inline == []
    own = [link for link in page.links if link.startswith(("/", "#"))]
    assert own == [link for link in page.links if not link.startswith("http://127.0.0.1:")]
    assert HOSTILE not in html
    assert "<img src=x" not in html
    assert html.count("<script") == 1
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert len(page.ids) == len(set(page.ids))
    for landmark in ("header", "nav", "main", "footer", "h1" if path != "/x" else "main"):
        assert landmark in page.tags
    assert page.tags.count("table") == page.tags.count("caption")
    assert page.links[page.links.index("#main")] == "#main"


async def test_the_front_page_says_what_can_be_lost(web: aiohttp.ClientSession) -> None:
    async with web.get("/") as response:
        html = await response.text()
    assert "3 nodes alive; can lose 1 of them without losing anything" in html


async def test_the_front_page_says_who_is_full_and_what_is_rebuilt(
    web: aiohttp.ClientSession, backend: Backend
) -> None:
    full, rebuilding, fine = backend.cluster.listed
    backend.cluster.listed = [
        msgspec.structs.replace(full, space="read-only"),
        msgspec.structs.replace(rebuilding, rebuild_bytes=3 << 30, rebuild_s=65),
        fine,
    ]
    async with web.get("/") as response:
        text = await response.text()
    assert "<small>read-only</small>" in text
    assert "<small>sends 3.2 GB, 1 min 5 s left</small>" in text
    assert text.count("<small>sends") == 1


async def test_an_unchanged_page_is_not_sent_again(web: aiohttp.ClientSession) -> None:
    async with web.get("/data") as response:
        etag = response.headers["ETag"]
    async with web.get("/data", headers={"If-None-Match": etag}) as response:
        assert response.status == 304
        assert await response.read() == b""


async def test_stages_that_a_list_leaves_out_are_asked_for_once_a_job_ended(
    web: aiohttp.ClientSession, backend: Backend
) -> None:
    stages = (StageView(name="map", done=3, pending=1),)
    for state in (JobState.READY, JobState.ACTIVE):
        name = f"job-{state.value}"
        backend.jobs.jobs[name] = JobView(name=name, owner="", state=state, stages=stages)
    backend.jobs.left_out = ("stages",)
    for _ in range(3):
        async with web.get("/jobs") as response:
            html = await response.text()
        assert html.count("3 of 4 tasks done") == 2 * 2
    assert backend.jobs.asked == 1 + 3


async def test_the_data_page_shows_sizes_and_pages(
    web: aiohttp.ClientSession, backend: Backend
) -> None:
    blob = backend.files.add(b"x" * 1500)
    for number in range(60):
        name = f"logs:{number:02}"
        backend.files.tags[name] = TagView(name=name, version=1, urls=((blob.url,),))
    async with web.get("/data", params={"prefix": "logs:"}) as response:
        html = await response.text()
    assert "1.5 kB" in html
    assert "logs:49" in html
    assert "logs:50" not in html
    assert "after=logs%3A49" in html


async def test_static_files_are_served_and_nothing_else(web: aiohttp.ClientSession) -> None:
    for name in Assets().static:
        async with web.get(f"/static/{name}") as response:
            assert response.status == 200
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert "http" not in (await response.text()).replace("http://www.w3.org/2000/svg", "")
    for name in ("..%2Fapp.py", "%2Fetc%2Fpasswd", "nothing.css"):
        async with web.get(f"/static/{name}") as response:
            assert response.status == 404


def test_every_template_refers_only_to_fields_that_exist(busy: Backend) -> None:
    """StrictUndefined makes each page above fail for an unknown field; here for the error page."""
    context: dict[str, Any] = {"problem": {"title": "T", "detail": "D"}}
    with pytest.raises(Exception, match="undefined"):
        Assets().render("problem.html", **context)


async def test_the_page_of_a_protected_tag_says_so_and_asks_for_no_password(
    web: aiohttp.ClientSession, backend: Backend
) -> None:
    headers = {"X-Peerdisco-Tag-Token": "s3cret"}
    body = {"urls": [["raw://concealed"]]}
    async with web.post("/api/v1/tags/t", json=body, headers=headers) as response:
        assert response.status == 200
    async with web.get("/data/t", headers={"Accept": "text/html"}) as response:
        page = await response.text()
        assert (response.status, response.content_type) == (401, "text/html")
        assert "WWW-Authenticate" not in response.headers
    assert "read token" in page
    assert "concealed" not in page
    async with web.get("/data", headers={"Accept": "text/html"}) as response:
        assert response.status == 200
