"""Names of ended jobs, when there are many."""

from __future__ import annotations

from peerdisco.coordination.archive import JOB_TAG, NAMES_PER_PAGE, Archive
from tests.peerdisco.coordination.conftest import FakeBlobs, FakeTags, World


async def test_the_newest_of_many_ended_jobs_are_named_first() -> None:
    tags = FakeTags()
    names = [f"job@703:{second:x}:{second % 7:x}" for second in range(NAMES_PER_PAGE + 500)]
    for name in [*names, "by-hand"]:
        tags.urls[JOB_TAG + name] = ()
    archive = Archive(FakeBlobs(World()), tags)
    assert (names[:-4:-1], True) == await archive.names("", 3)
    assert (names[::-1], True) == await archive.names("job@", len(names) + 1)
    assert (await archive.names("", len(names) + 1))[0][-1] == "by-hand"
    tags.missing = (17,)
    assert (["by-hand"], False) == await archive.names("by", 3)
