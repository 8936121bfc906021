"""The adapters between the node and the web room."""

from __future__ import annotations

import pytest

from peerdisco.coordination import JobPhase, JobSummary
from peerdisco.coordination.directory import JobList
from peerdisco.views import JobViews
from peerdisco_webui.errors import BadRequest


class FakeDirectory:
    """Knows jobs; the newest is listed first, as the real one does."""

    def __init__(self, count: int) -> None:
        self.whole = True
        self.jobs = [
            JobSummary(f"j@{n}", "me", JobPhase.READY, float(n // 2))
            for n in reversed(range(count))
        ]

    async def list(self, prefix: str = "") -> JobList:
        chosen = [job for job in self.jobs if job.name.startswith(prefix)]
        chosen.sort(key=lambda job: (-job.submitted, job.name))
        return JobList(chosen, self.whole)


def views(directory: FakeDirectory) -> JobViews:
    return JobViews(directory, lambda node: node)  # type: ignore[arg-type]  # as much as `list` needs


async def test_pages_of_jobs_follow_each_other_without_a_gap_or_a_repeat() -> None:
    directory = FakeDirectory(10)
    names, after = [], ""
    while True:
        page = await views(directory).list(prefix="", after=after, limit=3)
        names += [job.name for job in page.jobs]
        if not (after := page.next):
            break
    assert [job.name for job in (await directory.list()).jobs] == names


async def test_a_page_says_when_ended_jobs_may_be_lacking() -> None:
    directory = FakeDirectory(1)
    assert not (await views(directory).list(prefix="", after="", limit=3)).incomplete
    directory.whole = False
    assert (await views(directory).list(prefix="", after="", limit=3)).incomplete


async def test_a_page_goes_on_when_the_job_it_ended_with_was_purged() -> None:
    directory = FakeDirectory(6)
    everything = [job.name for job in (await directory.list()).jobs]
    page = await views(directory).list(prefix="", after="", limit=2)
    directory.jobs = [job for job in directory.jobs if job.name != page.jobs[-1].name]
    rest = await views(directory).list(prefix="", after=page.next, limit=10)
    assert everything[2:] == [job.name for job in rest.jobs]


async def test_a_cursor_that_is_none_is_refused() -> None:
    with pytest.raises(BadRequest, match="next"):
        await views(FakeDirectory(1)).list(prefix="", after="garbage", limit=2)
