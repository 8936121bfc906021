"""Tags as the pages see them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from peerdisco.views import FileViews
from peerdisco_dht import Caller, Tag, TagPage, Unavailable
from peerdisco_webui import errors

NOBODY = Caller()


class Tags:
    """One tag, of which a minority answers or all homes do."""

    def __init__(self, *, minority: bool) -> None:
        self.minority = minority

    async def get(self, name: str, *, stale_ok: bool = False, caller: Caller = NOBODY) -> Tag:
        assert caller == NOBODY
        if self.minority and not stale_ok:
            raise Unavailable("one of three homes answers")
        return Tag(name, 1, (), {}, 0.0)


def views(*, minority: bool) -> FileViews:
    storage: Any = SimpleNamespace(blobs=None, tags=Tags(minority=minority))
    return FileViews(storage)


@pytest.mark.parametrize("stale_ok", [True, False])
async def test_a_tag_that_all_homes_answer_for_is_not_stale(stale_ok: bool) -> None:
    assert not (await views(minority=False).tag("t", stale_ok=stale_ok)).stale


async def test_a_minority_answers_those_who_are_content_with_that() -> None:
    assert (await views(minority=True).tag("t", stale_ok=True)).stale
    with pytest.raises(errors.Unavailable):
        await views(minority=True).tag("t", stale_ok=False)


async def test_a_listing_names_the_partitions_that_did_not_answer() -> None:
    class Listing(Tags):
        async def list(self, prefix: str, *, after: str, limit: int) -> TagPage:
            return TagPage(("a",), None, (7, 11))

    storage: Any = SimpleNamespace(blobs=None, tags=Listing(minority=False))
    page = await FileViews(storage).list("", after="", limit=9)
    assert (page.names, page.missing, page.partitions) == (("a",), 2, (7, 11))
