"""`Host`: the groups of jobs on this node, and the coordinators of those that it leads.

It joins a group when asked (`job/form`), leads when elected, forgets a job when told or when the
job's pointer says that it is over (`job/over`, and a sweep for those that were not told), and after
a restart reads each pointer before it lets a group take part again. Calls that only a coordinator
can serve are answered here too: by it, or with where to look.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from peerdisco.coordination.background import Bell, Spawn, background
from peerdisco.coordination.config import CoordinationConfig
from peerdisco.coordination.coordinator import Coordinator, Deposed
from peerdisco.coordination.messages import (
    Exchange,
    Form,
    JobRequest,
    JobSummaries,
    PointerState,
    Reply,
    ReplyCode,
    Start,
    StatusRequest,
)
from peerdisco.coordination.pointers import PREFIX, JobPointers
from peerdisco.coordination.ports import Group, Ports
from peerdisco.coordination.replica import JobReplica
from peerdisco.coordination.view import job_summary
from peerdisco.messages import decode, encode

logger = logging.getLogger(__name__)

OVER_REMEMBERED_MAX = 4096
"""Jobs that are over and whose late messages must not bring them back."""


class _Place(enum.Enum):
    """What a node is to a job: a voter of its group, a stranger to it, or the job is over."""

    VOTER = enum.auto()
    STRANGER = enum.auto()
    OVER = enum.auto()


@dataclass(slots=True)
class _Hosted:
    """A group on this node. `moved` rings when its leader or its coordinator changes."""

    job: str
    group: Group
    replica: JobReplica
    moved: Bell = field(default_factory=Bell)
    coordinator: Coordinator | None = None
    task: asyncio.Future[None] | None = None
    leaderless_since: float | None = None


class Host:
    """All groups of jobs on this node. `on_over` is called when a job is known to be over."""

    def __init__(self, ports: Ports, config: CoordinationConfig) -> None:
        self._ports = ports
        self._config = config
        self._pointers = JobPointers(ports.registers)
        self._hosted: dict[str, _Hosted] = {}
        self._forming: dict[str, asyncio.Lock] = {}
        self._over: OrderedDict[str, None] = OrderedDict()
        self._spawn: Spawn | None = None
        self.on_over: Callable[[str], None] = lambda _job: None

    async def run(self) -> None:
        """Host groups until cancelled."""
        async with background() as spawn:
            self._spawn = spawn
            self._serve_calls()
            self._ports.members.subscribe(lambda _change: self._members_changed())
            spawn(self._reopen())
            await self._sweep()

    def route(self, job: str) -> tuple[str, tuple[str, ...]] | None:
        """Leader and voters of a group on this node, if it has the group."""
        hosted = self._hosted.get(job)
        return None if hosted is None else (hosted.group.leader or "", hosted.group.voters)

    # Groups come and go.

    async def form(self, request: Form) -> Reply:
        """Join a group, unless it is there already or over."""
        job = request.job
        if job in self._over:
            return Reply(ReplyCode.UNKNOWN)
        try:
            async with self._forming.setdefault(job, asyncio.Lock()):
                await self._join(request)
        finally:
            self._forming.pop(job, None)
        if job in self._over:  # it ended while its group was being formed here
            await self._leave(job)
            return Reply(ReplyCode.UNKNOWN)
        return Reply(ReplyCode.OK)

    async def _join(self, request: Form) -> None:
        job = request.job
        known = self._hosted.get(job)
        if known is not None and (known.group.superseded or known.group.era < request.era):
            await self._leave(job)
        if job not in self._hosted:
            replica = JobReplica()
            group = await self._ports.groups.create(
                PREFIX + job,
                request.voters,
                replica,
                campaign=request.campaign,
                era=request.era,
                floor=request.floor,
            )
            if job not in self._hosted:
                self._host(job, group, replica)

    def _host(self, job: str, group: Group, replica: JobReplica) -> None:
        assert self._spawn is not None
        hosted = self._hosted[job] = _Hosted(job, group, replica)
        group.subscribe(lambda _change: self._leader_changed(hosted))
        replica.on_change = lambda: self._state_changed(hosted)
        hosted.task = self._spawn(self._lead(hosted))

    async def over(self, job: str) -> None:
        """Forget a job: its group here, and through `on_over` its attempts and segments."""
        self._over[job] = None
        if len(self._over) > OVER_REMEMBERED_MAX:
            self._over.popitem(last=False)
        await self._leave(job)
        self.on_over(job)

    async def _leave(self, job: str) -> None:
        """Forget a group, not the job: somebody else may go on with it."""
        hosted = self._hosted.pop(job, None)
        if hosted is not None:
            if hosted.task is not None and hosted.task is not asyncio.current_task():
                hosted.task.cancel()
            await self._ports.groups.dissolve(PREFIX + job)

    async def _reopen(self) -> None:
        """Go on with the groups in the store, each once its pointer says that it still is one."""
        names = [name for name in self._ports.groups.names() if name.startswith(PREFIX)]
        pause = self._config.pause_min_s
        while names:
            names = [name for name in names if not await self._reopened(name)]
            if names:
                await asyncio.sleep(pause)
                pause = min(2 * pause, self._config.pause_max_s)

    async def _reopened(self, name: str) -> bool:
        """Whether a group of the store is settled: opened again, or dissolved."""
        job = name.removeprefix(PREFIX)
        if job in self._hosted:
            return True
        try:
            place = await self._place(job)
        except self._ports.failures.storage:
            return False
        if job in self._hosted:
            return True
        if place is _Place.VOTER:
            replica = JobReplica()
            self._host(job, self._ports.groups.open(name, replica), replica)
        else:
            await self._ports.groups.dissolve(name)
        return True

    async def _place(self, job: str) -> _Place:
        """What this node is to a job, by its pointer."""
        pointer = await self._pointers.read(job)
        if pointer is None or pointer.state is not PointerState.ACTIVE:
            return _Place.OVER
        return _Place.VOTER if self._ports.me in pointer.voters else _Place.STRANGER

    async def _sweep(self) -> None:
        """Forget groups that have had no leader for long because they are over, or moved away."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._config.sweep_interval_s)
            for hosted in list(self._hosted.values()):
                # A voter gives up a leader that it does not hear; who is none believes for ever.
                if hosted.group.leader is not None and self._ports.me in hosted.group.voters:
                    hosted.leaderless_since = None
                elif hosted.leaderless_since is None:
                    hosted.leaderless_since = loop.time()
                else:
                    await self._check(hosted)

    async def _check(self, hosted: _Hosted) -> None:
        try:
            place = await self._place(hosted.job)
            if place is _Place.VOTER and hosted.group.leader is None:
                await self._complete(hosted)
        except self._ports.failures.storage as error:
            logger.debug("event=pointer_unreadable job=%s error=%s", hosted.job, error)
            return
        if place is _Place.OVER:
            await self.over(hosted.job)
        elif place is _Place.STRANGER and hosted.group.leader is None:
            await self._leave(hosted.job)

    async def _complete(self, hosted: _Hosted) -> None:
        """Let the other voters join a group that cannot elect.

        Its founder may have asked a bare majority, of which one is gone for good. Only while the
        pointer names all voters of the group, and never left one out: then whoever has not joined
        has never voted in it. That a change of voters is under way does not matter: half of one
        may be all that the founder got done.
        """
        pointer = await self._pointers.read(hosted.job)
        group = hosted.group
        if pointer is None or pointer.removals:
            return
        if any(node not in pointer.voters for node in group.voters):
            return
        founders = await self._pointers.founders(hosted.job)
        form = Form(hosted.job, founders, campaign=False, era=group.era, floor=group.known_commit)
        for node in group.voters:
            if node != self._ports.me and group.leader is None:
                await self._tell(node, "job/form", encode(form))

    # Leading.

    async def _lead(self, hosted: _Hosted) -> None:
        """Run a coordinator whenever this node leads the group, until the job is closed."""
        closed = False
        while not closed:
            while not hosted.group.is_leader:
                await hosted.moved.wait(self._config.sweep_interval_s)
            coordinator = Coordinator(
                hosted.job, self._ports, hosted.group, hosted.replica, self._config
            )
            hosted.coordinator = coordinator
            hosted.moved.ring()
            try:
                closed = await coordinator.run()
            finally:
                hosted.coordinator = None
            if not closed:
                await asyncio.sleep(self._config.pause_min_s)
        await self._tell_over(hosted)

    async def _tell_over(self, hosted: _Hosted) -> None:
        """The job is archived: let everybody forget it. Who does not hear it finds out later."""
        request = encode(JobRequest(hosted.job))
        others = dict.fromkeys([*self._ports.members.alive(), *hosted.group.voters])
        others.pop(self._ports.me, None)
        await self.over(hosted.job)
        async with asyncio.TaskGroup() as group:
            for node in others:
                group.create_task(self._tell(node, "job/over", request))

    async def _tell(self, node: str, method: str, request: bytes) -> None:
        timeout = self._config.call_timeout_s
        try:
            await self._ports.rpc.call(node, method, request, timeout=timeout)
        except OSError as error:
            logger.debug("event=not_told method=%s node=%s error=%s", method, node, error)

    def _leader_changed(self, hosted: _Hosted) -> None:
        if hosted.coordinator is not None and not hosted.group.is_leader:
            hosted.coordinator.depose()
        hosted.moved.ring()

    def _state_changed(self, hosted: _Hosted) -> None:
        if hosted.coordinator is not None:
            hosted.coordinator.state_changed()

    def _members_changed(self) -> None:
        for hosted in self._hosted.values():
            if hosted.coordinator is not None:
                hosted.coordinator.members_changed()

    # Calls.

    def _serve_calls(self) -> None:
        rpc = self._ports.rpc
        rpc.serve("job/form", self._serve_form)
        rpc.serve("job/over", self._serve_over)
        rpc.serve("job/list", self._serve_list)
        rpc.serve("job/start", self._serve_start)
        rpc.serve("job/kill", self._serve_kill)
        rpc.serve("job/status", self._serve_status)
        rpc.serve("job/exchange", self._serve_exchange)

    async def _serve_form(self, _peer: str, body: bytes) -> bytes:
        return encode(await self.form(decode(body, Form)))

    async def _serve_over(self, _peer: str, body: bytes) -> bytes:
        await self.over(decode(body, JobRequest).job)
        return encode(Reply(ReplyCode.OK))

    async def _serve_list(self, _peer: str, _body: bytes) -> bytes:
        leading = [hosted.coordinator for hosted in self._hosted.values() if hosted.coordinator]
        return encode(JobSummaries(tuple(job_summary(each.view()) for each in leading)))

    async def _serve_start(self, _peer: str, body: bytes) -> bytes:
        request = decode(body, Start)

        async def start(coordinator: Coordinator) -> bytes:
            await coordinator.start(request.spec, request.pack)
            return b""

        return await self._coordinated(request.job, start)

    async def _serve_kill(self, _peer: str, body: bytes) -> bytes:
        async def kill(coordinator: Coordinator) -> bytes:
            await coordinator.kill()
            return b""

        return await self._coordinated(decode(body, JobRequest).job, kill)

    async def _serve_status(self, _peer: str, body: bytes) -> bytes:
        request = decode(body, StatusRequest)

        async def status(coordinator: Coordinator) -> bytes:
            return encode(await coordinator.status(request.since, request.timeout_s))

        return await self._coordinated(request.job, status)

    async def _serve_exchange(self, peer: str, body: bytes) -> bytes:
        request = decode(body, Exchange)

        async def exchange(coordinator: Coordinator) -> bytes:
            return encode(await coordinator.exchange(peer, request))

        return await self._coordinated(request.job, exchange)

    async def _coordinated(
        self, job: str, serve: Callable[[Coordinator], Awaitable[bytes]]
    ) -> bytes:
        """Let the job's coordinator serve a call if it is here; else say where to look."""
        hosted = self._hosted.get(job)
        if hosted is None:
            return encode(Reply(ReplyCode.UNKNOWN))
        await self._settled(hosted)
        if hosted.coordinator is not None:
            try:
                body = await serve(hosted.coordinator)
                return encode(Reply(ReplyCode.OK, body, self._ports.me, hosted.group.voters))
            except Deposed:
                pass
        leader = hosted.group.leader or ""
        return encode(Reply(ReplyCode.NOT_LEADER, b"", leader, hosted.group.voters))

    async def _settled(self, hosted: _Hosted) -> None:
        """Wait a little for an election that is going on."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._config.settle_s
        while hosted.coordinator is None and hosted.group.leader in (None, self._ports.me):
            remaining = deadline - loop.time()
            if remaining <= 0 or not await hosted.moved.wait(remaining):
                return
