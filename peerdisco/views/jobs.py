"""Jobs for the web room."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

from peerdisco.coordination import (
    JobPhase,
    JobRefused,
    JobStatus,
    JobSummary,
    JobUnreachable,
    NoSuchJob,
    StageStatus,
)
from peerdisco.coordination.directory import Directory
from peerdisco.messages import TaskError
from peerdisco_webui import errors
from peerdisco_webui.messages import (
    AttemptView,
    ErrorView,
    EventView,
    JobPage,
    JobState,
    JobView,
    StageView,
)
from peerdisco_webui.messages import JobSummary as JobLine

STATES = {
    JobPhase.ACTIVE: JobState.ACTIVE,
    JobPhase.READY: JobState.READY,
    JobPhase.DEAD: JobState.DEAD,
    JobPhase.KILLED: JobState.DEAD,
}


class JobViews:
    """Implements the web room's port `Jobs`.

    Args:
        directory: Jobs by name.
        name_of: The name, for people, of a node id.
    """

    def __init__(self, directory: Directory, name_of: Callable[[str], str]) -> None:
        self._directory = directory
        self._name_of = name_of

    async def submit(self, pack: bytes) -> str:
        """See Jobs."""
        with _translated():
            return (await self._directory.submit(pack)).name

    async def list(self, *, prefix: str, after: str, limit: int) -> JobPage:
        """See Jobs."""
        with _translated():
            found = await self._directory.list(prefix)
        behind = _position(after) if after else None
        rest = [one for one in found.jobs if behind is None or (-one.submitted, one.name) > behind]
        page = rest[:limit]
        following = f"{page[-1].submitted!r} {page[-1].name}" if limit < len(rest) else ""
        lines = tuple(map(self._line, page))
        return JobPage(jobs=lines, next=following, incomplete=not found.whole)

    async def status(self, name: str) -> JobView:
        """See Jobs."""
        with _translated():
            return self._view(await self._directory.status(name))

    async def wait(self, name: str, since: int, timeout_s: float) -> JobView:
        """See Jobs."""
        with _translated():
            return self._view(await self._directory.wait(name, since=since, timeout_s=timeout_s))

    async def events(self, name: str, *, after: int, limit: int) -> Sequence[EventView]:
        """See Jobs."""
        with _translated():
            status = await self._directory.status(name)
        first = status.events_told - len(status.events) + 1
        views = [
            EventView(number=number, at=event.at, node=self._name(event.node), text=event.message)
            for number, event in enumerate(status.events, first)
        ]
        return [view for view in views if view.number > after][:limit]

    async def kill(self, name: str) -> None:
        """See Jobs."""
        with _translated():
            await self._directory.kill(name)

    async def purge(self, name: str) -> None:
        """See Jobs."""
        with _translated():
            await self._directory.purge(name)

    def _name(self, node: str) -> str:
        return self._name_of(node) if node else ""

    def _line(self, job: JobSummary) -> JobLine:
        return JobLine(
            name=job.name,
            owner=job.owner,
            state=STATES[job.status],
            submitted_at=job.submitted,
            finished_at=job.ended,
            coordinator=self._name(job.coordinator),
            tasks=job.tasks,
            tasks_done=job.tasks_done,
        )

    def _view(self, job: JobStatus) -> JobView:
        stages = tuple(map(_stage, job.stages))
        return JobView(
            name=job.name,
            owner=job.owner,
            state=STATES[job.status],
            submitted_at=job.submitted,
            finished_at=job.ended,
            coordinator=self._name(job.coordinator),
            tasks=sum(stage.total for stage in stages),
            tasks_done=sum(stage.done for stage in stages),
            stages=stages,
            version=job.version,
            inputs=job.inputs,
            voters=tuple(map(self._name, job.voters)),
            term=job.term,
            attempts=tuple(
                AttemptView(
                    stage=attempt.stage,
                    task=attempt.task,
                    attempt=attempt.attempt,
                    node=self._name(attempt.node),
                    started_at=attempt.since,
                )
                for attempt in job.running
            ),
            results=job.results,
            error=_error(job.error) if job.error else None,
        )


def _position(cursor: str) -> tuple[float, str]:
    """Where a page ended, in the order of the list; it holds when that job is gone since."""
    submitted, _, name = cursor.partition(" ")
    try:
        return -float(submitted), name
    except ValueError:
        raise errors.BadRequest(f"`after` is what `next` of a page said, not {cursor!r}") from None


def _stage(stage: StageStatus) -> StageView:
    return StageView(
        name=stage.name,
        waiting=stage.waiting,
        pending=stage.pending,
        running=stage.running,
        done=stage.done,
        failed=stage.failed,
    )


def _error(error: TaskError) -> ErrorView:
    return ErrorView(
        kind=error.kind.value,
        message=error.message,
        traceback=error.traceback,
        input=f"{error.origin} ({error.input})" if error.origin else error.input,
        record=error.record,
        node=error.node,
        stage=error.stage,
        task=error.task,
    )


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Turn the coordination room's errors into the web room's."""
    try:
        yield
    except NoSuchJob as error:
        raise errors.NotFound(str(error)) from error
    except JobRefused as error:
        raise errors.BadRequest(str(error)) from error
    except JobUnreachable as error:
        raise errors.Unavailable(str(error)) from error
