"""`Directory`: jobs by name, from any node, whoever coordinates them.

A submission is one pack and one name. The pack is stored while the job's pointer is created and its
group formed; when both are done the coordinator is handed the job, and once it has committed that,
the submission is acknowledged. Every step may be repeated, at this node or another, and leads to
the same job. What has ended is read from the archive.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from peerdisco.coordination.archive import Archive
from peerdisco.coordination.asking import Asker, Route
from peerdisco.coordination.background import Spawn, background, both
from peerdisco.coordination.config import CoordinationConfig
from peerdisco.coordination.core import abandoned
from peerdisco.coordination.errors import JobOver, JobRefused, JobUnreachable, NoSuchJob
from peerdisco.coordination.host import Host
from peerdisco.coordination.messages import (
    Form,
    JobHandle,
    JobPointer,
    JobRequest,
    JobStatus,
    JobSummaries,
    JobSummary,
    PointerState,
    Reply,
    ReplyCode,
    Start,
    StatusRequest,
)
from peerdisco.coordination.pointers import JobPointers
from peerdisco.coordination.ports import Ports
from peerdisco.coordination.upkeep import choose_voters
from peerdisco.coordination.view import job_summary
from peerdisco.messages import BadMessage, decode, encode

logger = logging.getLogger(__name__)

LIST_MAX = 1000
LIST_CALLS_MAX = 16
SUMMARIES_CACHED_MAX = 10_000


@dataclass(frozen=True, slots=True)
class JobList:
    """What a node can tell of all jobs.

    Attributes:
        jobs: Newest first.
        whole: Whether the archive could be read: else ended jobs may be lacking.
    """

    jobs: Sequence[JobSummary]
    whole: bool


class Directory:
    """Submits, finds, watches and removes jobs.

    Methods raise NoSuchJob for unknown names and JobUnreachable when nobody who knows answers.
    """

    def __init__(self, ports: Ports, host: Host, config: CoordinationConfig) -> None:
        self._ports = ports
        self._host = host
        self._config = config
        self._asker = Asker(ports, config)
        self._pointers = JobPointers(ports.registers)
        self._archive = Archive(ports.blobs, ports.tags)
        self._summaries: OrderedDict[str, JobSummary] = OrderedDict()
        self._spawn: Spawn | None = None

    async def run(self) -> None:
        """Carry what outlives a call, until cancelled."""
        async with background() as spawn:
            self._spawn = spawn
            await asyncio.get_running_loop().create_future()

    # Submission.

    async def submit(self, pack: bytes) -> JobHandle:
        """Accept a job; it survives from when this returns.

        Raises JobRefused when the pack is not one, or when its name is taken by another pack.
        """
        try:
            spec = self._ports.read_spec(pack)
        except ValueError as error:
            raise JobRefused(str(error)) from None
        try:
            async with asyncio.timeout(self._config.submit_timeout_s):
                stored, pointer = await both(
                    self._ports.blobs.put_bytes(pack, owner=spec.name),
                    self._formed(spec.name, hashlib.sha256(pack).digest()),
                )
                if pointer.state is PointerState.DONE:
                    return await self._taken_before(spec.name)
                route = Route(pointer.voters[0], pointer.voters)
                start = encode(Start(spec.name, spec, stored.id))
                await self._ask(spec.name, "job/start", start, route)
        except JobOver:
            return await self._taken_before(spec.name)
        except self._ports.failures.storage as error:
            raise JobUnreachable(f"job {spec.name!r} may not be accepted: {error}") from None
        return JobHandle(spec.name, route.leader, route.voters)

    async def _taken_before(self, name: str) -> JobHandle:
        """The handle of a job that has ended already, unless it was given up before it was taken.

        Nobody has ever been told then that it was accepted.
        """
        try:
            status = await self._archived(name)
        except NoSuchJob:
            raise JobRefused(f"job {name!r} was purged") from None
        if status.error == abandoned():
            raise JobRefused(
                f"job {name!r} was given up: its submission took longer than "
                f"{self._config.abandoned_s:.0f} s; submit it again under another name"
            )
        return JobHandle(name)

    async def _formed(self, name: str, digest: bytes) -> JobPointer:
        """The job's pointer and, while the job is active, its group."""
        alive, known = self._ports.members.alive(), self._ports.members.known()
        voters = choose_voters(self._ports.me, alive, known, self._config.voters, self._ports.rng)
        ours = JobPointer(PointerState.ACTIVE, voters, digest)
        pointer = await self._pointers.create(name, ours)
        if pointer.digest != digest:
            raise JobRefused(f"there is another job named {name!r}")
        if pointer.state is PointerState.PURGED:
            raise JobRefused(f"job {name!r} was purged")
        pause = self._config.pause_min_s
        while pointer.state is PointerState.ACTIVE and not await self._form(name, pointer.voters):
            await asyncio.sleep(pause)
            pause = min(2 * pause, self._config.pause_max_s)
            pointer = await self._pointers.read(name) or pointer
        return pointer

    async def _form(self, name: str, voters: tuple[str, ...]) -> bool:
        """Let the voters form the group; whether a majority has.

        The first voter comes last and stands for election at once. If it does not answer, the
        others must be a majority without it, and elect one of themselves a little later.
        """
        enough = len(voters) // 2
        formed = await self._form_followers(name, voters, enough)
        if await self._form_on(voters[0], Form(name, voters, campaign=True)):
            return formed >= enough
        return await self._form_followers(name, voters, enough + 1) > enough

    async def _form_followers(self, name: str, voters: tuple[str, ...], enough: int) -> int:
        """Ask all but the first; how many had joined when enough had, or all had answered."""
        followers = voters[1:]
        if not followers:
            return 0
        assert self._spawn is not None
        settled = asyncio.Event()
        answers: list[bool] = []

        async def form(node: str) -> None:
            answers.append(await self._form_on(node, Form(name, voters, campaign=False)))
            if sum(answers) >= enough or len(answers) == len(followers):
                settled.set()

        for node in followers:
            self._spawn(form(node))
        await settled.wait()
        return sum(answers)

    async def _form_on(self, node: str, form: Form) -> bool:
        timeout = self._config.call_timeout_s
        try:
            answer = await self._ports.rpc.call(node, "job/form", encode(form), timeout=timeout)
            return decode(answer, Reply).code is ReplyCode.OK
        except (OSError, BadMessage) as error:
            logger.info("event=form_failed job=%s node=%s error=%s", form.job, node, error)
            return False

    # Watching.

    async def status(self, name: str) -> JobStatus:
        """The job as it stands now."""
        return await self.wait(name, since=-1, timeout_s=0.0)

    async def wait(self, name: str, *, since: int, timeout_s: float) -> JobStatus:
        """The job once its version is above `since` or it has ended, or after so many seconds.

        A change of coordinator in the meantime takes longer, but within the room's limits.
        """
        request = encode(StatusRequest(name, since, timeout_s))
        try:
            answer = await self._ask(name, "job/status", request, self._route(name), timeout_s)
        except JobOver:
            return await self._archived(name)
        return decode(answer, JobStatus)

    async def results(self, name: str) -> tuple[tuple[str, ...], ...]:
        """What a job left behind: replica lists of URLs; empty until it is ready."""
        return (await self.status(name)).results

    async def list(self, prefix: str = "") -> JobList:
        """Jobs whose names begin with the prefix, newest first: live ones and archived ones."""
        live, (archived, whole) = await both(self._live(), self._ended(prefix))
        found = {summary.name: summary for summary in (*archived, *live)}
        chosen = [found[name] for name in found if name.startswith(prefix)]
        chosen.sort(key=lambda summary: (-summary.submitted, summary.name))
        return JobList(chosen, whole)

    async def _archived(self, name: str) -> JobStatus:
        try:
            return (await self._archive.read(name)).status
        except LookupError:
            raise NoSuchJob(name) from None
        except self._ports.failures.storage as error:
            raise JobUnreachable(f"the archive cannot be read: {error}") from None

    async def _live(self) -> Sequence[JobSummary]:
        """What all nodes that answer coordinate."""
        timeout = self._config.call_timeout_s
        summaries: dict[str, tuple[JobSummary, ...]] = {}

        async def ask(node: str) -> None:
            try:
                answer = await self._ports.rpc.call(node, "job/list", b"", timeout=timeout)
                summaries[node] = decode(answer, JobSummaries).jobs
            except (OSError, BadMessage) as error:
                logger.debug("event=list_failed node=%s error=%s", node, error)

        nodes = self._ports.members.alive()
        await _each(nodes, ask)
        return [job for node in nodes for job in summaries.get(node, ())]

    async def _ended(self, prefix: str) -> tuple[Sequence[JobSummary], bool]:
        """Archived jobs that can be read now, and whether those are all."""
        try:
            names, whole = await self._archive.names(prefix, LIST_MAX)
        except self._ports.failures.storage as error:
            logger.info("event=archive_unreadable error=%s", error)
            return [], False
        await _each([name for name in names if name not in self._summaries], self._summarise)
        read = [self._summaries[name] for name in names if name in self._summaries]
        return read, whole and len(read) == len(names)

    async def _summarise(self, name: str) -> None:
        try:
            record = await self._archive.read(name)
        except (LookupError, BadMessage) as error:
            logger.warning("event=record_missing job=%s error=%s", name, error)
            return
        except self._ports.failures.storage as error:
            logger.debug("event=record_unreadable job=%s error=%s", name, error)
            return
        self._summaries[name] = job_summary(record.status)
        if len(self._summaries) > SUMMARIES_CACHED_MAX:
            self._summaries.popitem(last=False)

    # Ending.

    async def kill(self, name: str) -> None:
        """Stop a job; one that has ended stays as it is."""
        try:
            await self._ask(name, "job/kill", encode(JobRequest(name)), self._route(name))
        except JobOver:
            pass

    async def purge(self, name: str) -> None:
        """Kill a job and forget it, with its temporary inputs; its results tag stays.

        An unknown job is no error: it is what a purge leaves behind.
        """
        try:
            await self.kill(name)
            await self._until_over(name)
        except NoSuchJob:
            return
        try:
            await self._archive.delete(name)
            await self._pointers.finish(name, PointerState.PURGED)
        except self._ports.failures.storage as error:
            raise JobUnreachable(f"job {name!r} is not fully purged: {error}") from None
        self._summaries.pop(name, None)

    async def _until_over(self, name: str) -> None:
        """Wait until a job that has ended is archived."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._config.submit_timeout_s
        pause = self._config.pause_min_s
        request = encode(StatusRequest(name))
        while loop.time() < deadline:
            try:
                await self._ask(name, "job/status", request, self._route(name))
            except JobOver:
                return
            await asyncio.sleep(pause)
            pause = min(2 * pause, self._config.pause_max_s)
        raise JobUnreachable(f"job {name!r} has ended but is not archived yet")

    # Helpers.

    def _route(self, name: str) -> Route:
        known = self._host.route(name)
        return Route() if known is None else Route(*known)

    async def _ask(
        self, name: str, method: str, request: bytes, route: Route, wait_s: float = 0.0
    ) -> bytes:
        return await self._asker.ask(
            name,
            method,
            lambda: request,
            route,
            patience_s=wait_s + self._config.ask_timeout_s,
            call_s=wait_s + self._config.commit_timeout_s,
        )


async def _each(items: Sequence[str], work: Callable[[str], Awaitable[None]]) -> None:
    """Do some work for each item, a few at a time."""
    turns = asyncio.Semaphore(LIST_CALLS_MAX)

    async def one(item: str) -> None:
        async with turns:
            await work(item)

    async with asyncio.TaskGroup() as group:
        for item in items:
            group.create_task(one(item))
