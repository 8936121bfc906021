"""`Coordinator`: drives a job while this node leads its group.

It feeds the calls that arrive to its `CoordinatorCore`, commits what the core decides, and answers
once that is committed: everything that arrives during a commit goes into the next one. Beside that
it resolves the job's inputs, sends offers and keeps the group at its size (`upkeep.py`). When the
job has ended it archives it. It ends when the job is archived or when the node does not lead any
more, and leaves nothing behind: its successor starts from the log.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from peerdisco.coordination.archive import Archive
from peerdisco.coordination.background import Bell, Spawn, background
from peerdisco.coordination.config import CoordinationConfig
from peerdisco.coordination.core import Answer, CoordinatorCore, abandoned
from peerdisco.coordination.facts import CoordinatorElected, JobPhase
from peerdisco.coordination.inputs import (
    Unresolvable,
    locator,
    named_inputs,
    names_tag,
    places,
    resolve,
)
from peerdisco.coordination.messages import (
    Exchange,
    ExchangeAnswer,
    JobRecord,
    JobStatus,
    Offer,
    PointerState,
)
from peerdisco.coordination.pointers import JobPointers
from peerdisco.coordination.ports import Group, Ports
from peerdisco.coordination.replica import JobReplica, command
from peerdisco.coordination.state import JobState
from peerdisco.coordination.upkeep import VoterUpkeep
from peerdisco.coordination.view import job_status
from peerdisco.messages import ErrorKind, Input, JobSpec, TaskError, encode

logger = logging.getLogger(__name__)

FAILED = float("-inf")
"""Instead of a time: the turn's facts may or may not be committed, so its draft is worthless."""


class Deposed(Exception):
    """This node does not lead the job any more; what was asked for may have happened."""


@dataclass(slots=True)
class _Asking:
    """A node whose exchange waits for its answer."""

    session: str
    number: int
    answer: asyncio.Future[ExchangeAnswer]


class Coordinator:
    """Leads one job. Its calls may be used as soon as it exists and raise Deposed at its end."""

    def __init__(
        self, job: str, ports: Ports, group: Group, replica: JobReplica, config: CoordinationConfig
    ) -> None:
        self._job = job
        self._ports = ports
        self._group = group
        self._replica = replica
        self._config = config
        self._locate = locator(ports.blobs.home)
        self._pointers = JobPointers(ports.registers)
        self._archive = Archive(ports.blobs, ports.tags)
        self._core: CoordinatorCore | None = None
        self._work = asyncio.Event()
        self._changed = Bell()
        self._over = asyncio.Event()
        self._asking: dict[str, _Asking] = {}
        self._commits: list[asyncio.Future[None]] = []
        self._closed = False

    # Calls.

    async def start(self, spec: JobSpec, pack: str) -> None:
        """Take the job over; returns when that is committed. Raises Deposed."""
        core = await self._ready()
        if not core.submitted:
            core.start(spec, pack, self._ports.wall_time())
            if not any(names_tag(urls) for urls in spec.inputs):
                self._resolved(core, named_inputs(spec))
            self._changed.ring()
        await self._committed()

    async def kill(self) -> None:
        """End the job as killed; returns when that is committed. Raises Deposed."""
        core = await self._ready()
        core.end(JobPhase.KILLED, None, self._ports.wall_time())
        await self._committed()

    async def exchange(self, node: str, request: Exchange) -> ExchangeAnswer:
        """Take a node's reports and give it work; both are committed. Raises Deposed."""
        core = await self._ready()
        if not core.exchange(node, request, asyncio.get_running_loop().time()):
            return ExchangeAnswer()
        answer: asyncio.Future[ExchangeAnswer] = asyncio.get_running_loop().create_future()
        older = self._asking.get(node)
        if older is not None and not older.answer.done():
            older.answer.set_result(ExchangeAnswer())
        self._asking[node] = _Asking(request.session, request.number, answer)
        self._work.set()
        return await answer

    async def status(self, since: int, timeout_s: float) -> JobStatus:
        """The committed status, once it is newer than `since` or after so many seconds.

        Raises Deposed.
        """
        timeout_s = min(timeout_s, self._config.status_wait_max_s)
        deadline = asyncio.get_running_loop().time() + timeout_s
        await self._until(lambda: self._replica.state.version > since, deadline)
        # Let changes gather, so that a large job does not describe itself at every commit.
        pace = asyncio.get_running_loop().time() + self._config.status_pace_s
        await self._until(lambda: self._replica.state.ended, min(pace, deadline))
        if self._over.is_set() and not self._replica.state.ended:
            raise Deposed
        return self.view()

    async def _until(self, condition: Callable[[], bool], deadline: float) -> None:
        """Return when the condition on the replica holds, at the deadline, or when deposed."""
        loop = asyncio.get_running_loop()
        while not condition() and not self._over.is_set():
            remaining = deadline - loop.time()
            if remaining <= 0 or not await self._changed.wait(remaining):
                return

    def view(self) -> JobStatus:
        """The committed status now."""
        group = self._group
        return job_status(
            self._job,
            self._replica.state,
            coordinator=self._ports.me,
            term=group.term,
            voters=group.voters,
        )

    # From the outside.

    def state_changed(self) -> None:
        """The replica applied an entry."""
        self._changed.ring()

    def members_changed(self) -> None:
        """Somebody joined, is suspected, died or left."""
        self._work.set()

    def depose(self) -> None:
        """The group has another leader, or none."""
        self._over.set()
        self._work.set()
        self._changed.ring()

    # The loop.

    async def run(self) -> bool:
        """Lead. True when the job has ended and its pointer says so, False when deposed."""
        try:
            async with background() as spawn:
                return await self._lead(spawn)
        finally:
            self._release()

    async def _lead(self, spawn: Spawn) -> bool:
        """Coordinate until the job has ended; False when that is somebody else's task now."""
        if not await self._begin():
            return False
        now = asyncio.get_running_loop().time()
        draft = JobState.restored(self._replica.state.snapshot())
        core = CoordinatorCore(self._job, draft, self._locate, self._config, now)
        self._core = core
        self._changed.ring()
        spawn(VoterUpkeep(self._job, self._ports, self._group, self._config).run())
        spawn(self._resolve(core))
        spawn(self._bury_abandoned(core))
        logger.info("event=coordinating job=%s term=%d", self._job, self._group.term)
        return await self._turns(core, spawn)

    async def _begin(self) -> bool:
        """Commit that this node coordinates now; False when that failed.

        The log may end with facts that an earlier coordinator, on this node too, gave up waiting
        for. Once this entry is applied so are those, and nobody else adds any: a draft that is
        made now misses none.
        """
        elected = CoordinatorElected(self._ports.me, self._group.term, self._ports.wall_time())
        try:
            await self._group.propose(command([elected]), timeout=self._config.commit_timeout_s)
        except self._ports.failures.election as error:
            logger.info("event=not_coordinating job=%s error=%s", self._job, error)
            return False
        return True

    async def _turns(self, core: CoordinatorCore, spawn: Spawn) -> bool:
        """Turn after turn. Calls are still answered while an ended job is archived."""
        closing: asyncio.Future[None] | None = None
        while not self._over.is_set():
            self._work.clear()
            again_at = await self._turn(core, spawn)
            if again_at == FAILED:
                return False
            if closing is None and self._replica.state.ended:
                closing = spawn(self._close())
            if self._closed:
                return True
            await self._wait(again_at)
        return self._closed

    async def _turn(self, core: CoordinatorCore, spawn: Spawn) -> float | None:
        """Decide, offer, commit, answer. When the next turn is due; FAILED if a commit failed."""
        commits, self._commits = self._commits, []
        now = asyncio.get_running_loop().time()
        turn = core.turn(self._ports.members.alive(), now, self._ports.wall_time())
        for node in turn.offers:
            # Before the commit: who answers an offer is served by the turn after it anyway.
            spawn(self._offer(node, core.submitted_at))
        if turn.facts:
            entry = command(turn.facts)
            try:
                await self._group.propose(entry, timeout=self._config.commit_timeout_s)
            except self._ports.failures.election as error:
                logger.info("event=commit_failed job=%s error=%s", self._job, error)
                self._commits.extend(commits)
                return FAILED
        for committed in commits:
            _settle(committed)
        for answer in turn.answers:
            self._answer(answer)
        return turn.again_at

    async def _wait(self, until: float | None) -> None:
        if until is None:
            await self._work.wait()
            return
        try:
            async with asyncio.timeout_at(until):
                await self._work.wait()
        except TimeoutError:
            pass

    def _answer(self, answer: Answer) -> None:
        asking = self._asking.get(answer.node)
        if asking is None or (asking.session, asking.number) != (answer.session, answer.number):
            return
        del self._asking[answer.node]
        if not asking.answer.done():
            asking.answer.set_result(answer.answer)

    async def _ready(self) -> CoordinatorCore:
        """The core, once the log is known to be applied. Raises Deposed."""
        while self._core is None and not self._over.is_set():
            await self._changed.wait(self._config.commit_timeout_s)
        if self._core is None or self._over.is_set():
            raise Deposed
        return self._core

    async def _committed(self) -> None:
        """Return when what was put into the core before is committed. Raises Deposed."""
        committed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._commits.append(committed)
        self._work.set()
        await committed

    def _release(self) -> None:
        """Tell all who wait that this coordinator is no more."""
        self.depose()
        for commit in self._commits:
            if not commit.done():
                commit.set_exception(Deposed())
        for asking in self._asking.values():
            if not asking.answer.done():
                asking.answer.set_exception(Deposed())
        self._commits.clear()
        self._asking.clear()

    async def _offer(self, node: str, submitted: float) -> None:
        offer = Offer(self._job, self._ports.me, self._group.voters, submitted)
        timeout = self._config.call_timeout_s
        try:
            await self._ports.rpc.call(node, "job/offer", encode(offer), timeout=timeout)
        except OSError as error:
            logger.debug("event=offer_failed job=%s node=%s error=%s", self._job, node, error)

    # Inputs.

    async def _resolve(self, core: CoordinatorCore) -> None:
        """Find out what the job reads, as soon as it is known and while its tags can be read."""
        while (spec := core.wants_inputs) is None:
            if core.submitted:
                return
            await self._changed.wait(self._config.upkeep_interval_s)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._config.resolve_timeout_s
        pause = self._config.pause_min_s
        while True:
            try:
                inputs = await resolve(
                    named_inputs(spec), self._ports.tags, self._ports.failures.storage
                )
            except Unresolvable as unresolvable:
                self._dead(core, unresolvable.error)
                return
            except self._ports.failures.storage as error:
                if loop.time() >= deadline:
                    self._dead(core, TaskError(ErrorKind.INPUT, f"reading tags failed: {error}"))
                    return
                logger.info("event=tags_unavailable job=%s error=%s", self._job, error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, self._config.pause_max_s)
            else:
                self._resolved(core, inputs)
                return

    def _resolved(self, core: CoordinatorCore, inputs: list[Input]) -> None:
        core.resolved(inputs, places(inputs, self._locate), self._ports.wall_time())
        self._work.set()

    def _dead(self, core: CoordinatorCore, error: TaskError) -> None:
        core.end(JobPhase.DEAD, error, self._ports.wall_time())
        self._work.set()

    async def _bury_abandoned(self, core: CoordinatorCore) -> None:
        """End a job whose submitter died before it could hand the job over."""
        await asyncio.sleep(self._config.abandoned_s)
        if not core.submitted:
            self._dead(core, abandoned())

    # The end.

    async def _close(self) -> None:
        """Archive the job and say so in its pointer, however long DDFS takes to let us."""
        state = self._replica.state
        record = JobRecord(self.view(), state.spec, state.pack)
        logger.info("event=job_ended job=%s phase=%s", self._job, state.phase)
        while not self._closed:
            try:
                await self._archive.write(record)
                await self._pointers.finish(self._job, PointerState.DONE)
                self._closed = True
            except self._ports.failures.storage as error:
                logger.warning("event=archive_failed job=%s error=%s", self._job, error)
                await asyncio.sleep(self._config.archive_pause_s)
        self._work.set()


def _settle(committed: asyncio.Future[None]) -> None:
    if not committed.done():
        committed.set_result(None)
