"""Names and tokens of tags, tags in tags, and the same methods for asyncio."""

from __future__ import annotations

import inspect
import io
from typing import TYPE_CHECKING, Any

import pytest

from peerdisco.client import DDFS, AsyncDDFS, Cluster, InvalidTag, NotFound, Refused, TokenNeeded
from peerdisco.client.inputs import find_inputs
from peerdisco.client.tagnames import TagRef, canonizetag, istag, parse_tag, tagname

if TYPE_CHECKING:
    from tests.webui.backend import Backend


@pytest.fixture
def ddfs(cluster: Cluster) -> DDFS:
    return DDFS(cluster)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("a:b@c", TagRef("a:b@c")),
        ("tag://a:b@c", TagRef("a:b@c")),
        ("tag://host:8989/a", TagRef("a")),
        ("tag://me:s:3@host/a", TagRef("a", "s:3")),
        ("tag://s3cret@host/a@b", TagRef("a@b", "s3cret")),
        ("tag://me:@host/a", TagRef("a", "")),
        (["disco://h/x", "tag://a"], TagRef("a")),
    ],
)
def test_tags_are_named_in_several_ways(written: Any, meant: TagRef) -> None:
    assert parse_tag(written) == meant
    assert (tagname(written), canonizetag(written)) == (meant.name, f"tag://{meant.name}")
    assert istag(canonizetag(written))


@pytest.mark.parametrize("written", ["", "a/b", "raw://x", "tag://", "tag://s3cret@h/", []])
def test_what_names_no_tag_is_said_without_its_token(written: Any) -> None:
    with pytest.raises(InvalidTag) as caught:
        parse_tag(written)
    assert "s3cret" not in str(caught.value)


def test_tokens_of_calls_go_before_those_of_urls_and_objects(
    cluster: Cluster, ddfs: DDFS, monkeypatch: pytest.MonkeyPatch
) -> None:
    ddfs.tag("t", ["raw://x"], token="a")
    for tag in (
        ddfs.get("t", token="a"),
        ddfs.get("tag://me:a@h/t"),
        DDFS(cluster, token="a").get("t"),
        DDFS(cluster, token="b").get("tag://me:a@h/t"),
        ddfs.get("tag://me:b@h/t", token="a"),
    ):
        assert tag.urls == (("raw://x",),)
    with pytest.raises(TokenNeeded):
        DDFS(cluster, token="a").get("t", token="b")
    assert ddfs.exists("t")
    ddfs.setattr("t", "ddfs:read-token", "r", token="a")
    with pytest.raises(Refused, match="hashes"):
        ddfs.getattr("t", "ddfs:read-token", token="r")
    with pytest.raises(TokenNeeded):
        ddfs.delete("t", token="r")
    ddfs.delattr("t", "ddfs:read-token", token="a")
    assert ddfs.get("t").urls == (("raw://x",),)
    monkeypatch.setenv("DDFS_WRITE_TOKEN", "a")
    ddfs.delete("t")
    assert not ddfs.exists("t")


def test_a_token_in_a_url_does_not_get_into_a_tag(ddfs: DDFS) -> None:
    ddfs.tag("t", ["tag://me:s3cret@host/u", ["tag://me:s3cret@host/v"]])
    assert ddfs.urls("t") == [["tag://u"], ["tag://v"]]


def test_tags_in_tags_are_walked_and_cycles_end(ddfs: DDFS) -> None:
    ddfs.put("a", ["tag://b", "raw://1", "tag://c"])
    ddfs.put("b", ["raw://2", "tag://a"])
    ddfs.put("c", ["tag://b", "tag://gone"])
    assert ddfs.blobs("a") == [["raw://2"], ["raw://1"], ["raw://2"]]
    with pytest.raises(NotFound):
        ddfs.blobs("a", ignore_missing=False)
    with pytest.raises(NotFound):
        ddfs.blobs("gone")
    paths = [tuple(tag.removeprefix("tag://") for tag in path) for path, _, _ in ddfs.walk("a")]
    assert paths == [("a",), ("a", "b"), ("a", "c"), ("a", "c", "b"), ("a", "c", "gone")]
    found = list(ddfs.findtags(["a", "c"]))
    assert [tag for tag, _, _ in found] == ["tag://a", "tag://c", "tag://b", "tag://gone"]
    assert found[2] == ("tag://b", ["tag://a"], [["raw://2"]])
    assert found[3] == ("tag://gone", [], [])
    with pytest.raises(NotFound):
        list(ddfs.findtags("a", ignore_missing=False))


def test_names_as_disco_makes_them(ddfs: DDFS) -> None:
    assert DDFS.safe_name("a/b c.gz") == "a_b_c_gz"
    assert DDFS.blob_name("disco://h/ddfs/vol0/blob/a7/log-1$5a-1-2") == "log-1"
    assert ddfs.save("job@1:2:3", io.BytesIO(b"x")) == "disco:job:results:job@1:2:3"
    assert [file.read() for file in ddfs.pull("disco:job:results:job@1:2:3")] == [b"x"]


def test_every_write_names_an_operation(ddfs: DDFS, backend: Backend) -> None:
    ddfs.tag("t", ["raw://1"])
    ddfs.put("t", ["raw://2"])
    ddfs.setattr("t", "a", "v")
    assert len(set(backend.files.operations)) == 3


async def test_the_same_methods_for_asyncio(cluster: Cluster, backend: Backend) -> None:
    files = AsyncDDFS(cluster)
    await files.tag("a:1", ["raw://1", "tag://a:2"])
    tag, urls = await files.push("a:2", io.BytesIO(b"bytes"))
    assert [list(entry) for entry in tag.urls] == urls
    assert [name async for name in files.list("a:")] == ["a:1", "a:2"]
    assert await files.blobs("a:1") == [["raw://1"], *urls]
    assert [file.read() async for file in files.pull("a:1")] == [b"bytes"]
    assert [path async for path, _, _ in files.walk("a:1")] == [
        ("tag://a:1",),
        ("tag://a:1", "tag://a:2"),
    ]
    async for _ in files.pull("a:1"):
        break
    with pytest.raises(NotFound):
        await files.get("nothing")


def test_both_classes_have_the_same_methods() -> None:
    def methods(kind: type) -> set[str]:
        return {name for name, _ in inspect.getmembers(kind, callable) if name[0] != "_"}

    names_only = {"safe_name", "blob_name", "job_tag", "tarblobs", "read_token", "write_token"}
    assert methods(AsyncDDFS) == methods(DDFS) - names_only
    for name in methods(AsyncDDFS):
        assert getattr(AsyncDDFS, name).__doc__ == getattr(DDFS, name).__doc__


def test_a_job_gets_what_is_in_a_protected_tag_and_never_its_token(
    cluster: Cluster, ddfs: DDFS, monkeypatch: pytest.MonkeyPatch
) -> None:
    ddfs.put("inner", ["raw://2"])
    ddfs.put("open", ["raw://1"])
    ddfs.put("t", ["raw://1", "tag://inner", ["raw://3", "raw://4"]], token="s3cret")
    expected = [("raw://1",), ("raw://2",), ("raw://3", "raw://4")]
    for entry in ("tag://me:s3cret@host/t", ["tag://s3cret@host/t"]):
        assert find_inputs(cluster, [entry]) == expected
    assert find_inputs(cluster, ["tag://open", "tag://me:x@host/open"]) == [("tag://open",)] * 2
    with pytest.raises(TokenNeeded):
        find_inputs(cluster, ["tag://me:wrong@host/t"])
    # Without a token the nodes are asked, and say what is missing.
    assert find_inputs(cluster, ["t"]) == [("tag://t",)]
    monkeypatch.setenv("DDFS_READ_TOKEN", "s3cret")
    assert find_inputs(cluster, ["t", "open"]) == [*expected, ("tag://open",)]
