"""Tags become blobs, and inputs have places."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from peerdisco.coordination import inputs as subject
from peerdisco.coordination.inputs import Unresolvable, locator, places, resolve
from peerdisco.messages import Input


class Unavailable(Exception):
    pass


class Tags:
    def __init__(self, **urls: list[list[str]]) -> None:
        self.urls = urls
        self.reads: list[str] = []

    async def get(self, name: str) -> SimpleNamespace:
        self.reads.append(name)
        if name == "away":
            raise Unavailable(name)
        if name == "secret":
            raise PermissionError("tag secret needs its read token")
        if name == "bad name":
            raise ValueError("no blanks")
        return SimpleNamespace(urls=self.urls[name])

    async def replace(self, name: str, urls: object) -> None:
        raise NotImplementedError

    async def record(self, name: str, urls: object, *, owner: str) -> None:
        raise NotImplementedError

    async def delete(self, name: str) -> None:
        raise NotImplementedError

    async def list(self, prefix: str, *, after: str = "", limit: int = 1000) -> SimpleNamespace:
        raise NotImplementedError


async def expand(tags: Tags, *urls: str) -> list[str]:
    found = await resolve([Input((url,)) for url in urls], tags, (Unavailable,))
    return [item.urls[0] for item in found]


async def test_tags_expand_in_place_and_in_order() -> None:
    tags = Tags(a=[["blob:1"], ["tag://b"], ["blob:4"]], b=[["blob:2"], ["blob:3"]])
    found = await expand(tags, "raw://x", "tag://a", "raw://y")
    assert found == ["raw://x", "blob:1", "blob:2", "blob:3", "blob:4", "raw://y"]


async def test_what_a_tag_lists_is_known_by_the_name_that_was_asked_for() -> None:
    tags = Tags(a=[["tag://b"]], b=[["blob:1"]])
    asked = [Input(("tag://a",)), Input(("blob:2",), origin="two.txt"), Input(("blob:3",))]
    found = await resolve(asked, tags, (Unavailable,))
    assert [item.origin for item in found] == ["tag://a", "two.txt", ""]


async def test_a_tag_that_is_named_twice_is_read_once() -> None:
    tags = Tags(a=[["blob:1"]])
    assert await expand(tags, "tag://a", "tag://a") == ["blob:1", "blob:1"]
    assert tags.reads == ["a"]


async def test_a_cycle_of_tags_ends() -> None:
    tags = Tags(a=[["blob:1"], ["tag://b"]], b=[["tag://a"], ["blob:2"]])
    assert await expand(tags, "tag://a") == ["blob:1", "blob:2"]


@pytest.mark.parametrize("name", ["nowhere", "bad name"])
async def test_a_tag_that_cannot_exist_is_named(name: str) -> None:
    with pytest.raises(Unresolvable, match=name):
        await expand(Tags(), f"tag://{name}")


async def test_a_tag_that_takes_a_token_says_where_to_give_it() -> None:
    with pytest.raises(Unresolvable, match=r"needs its read token: give .* DDFS_READ_TOKEN"):
        await expand(Tags(), "tag://secret")


async def test_a_tag_that_cannot_be_read_now_is_not_called_missing() -> None:
    with pytest.raises(Unavailable):
        await expand(Tags(), "tag://away")


async def test_a_job_has_a_limit_of_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "INPUTS_MAX", 2)
    with pytest.raises(Unresolvable, match="more than 2 inputs"):
        await expand(Tags(a=[["blob:1"], ["blob:2"], ["blob:3"]]), "tag://a")


def test_an_input_lies_at_its_homes_and_counts_as_lying_at_one_of_them() -> None:
    locate = locator(lambda blob: {"b3-1": ["n0", "n1"]}[blob])
    blob = Input(("blob:b3-1",))
    segment = Input(("segment://n2/job/1/0",))
    remote = Input(("http://elsewhere:80/file",))
    assert [locate(item) for item in (blob, segment, remote)] == [["n0", "n1"], ["n2"], []]
    found = places([blob, blob, segment, remote, Input(("raw://x",))], locate)
    assert found == ["n0", "n1", "n2", "elsewhere", ""]
