"""`Agent`: gives this node's free slots to the jobs that it has been offered.

For each job it knows, a *courier* exchanges with the job's coordinator: how attempts ended, which
still run, how many it can take. There is one exchange per job at a time, so what a coordinator
assigned and the next exchange does not mention is known to be lost. Attempts outlive their
coordinator: they run on, and the courier finds whoever leads now.

Slots are bound late: a slot belongs to no job until an assignment for it arrives, and the policy
decides which job may ask for it. The agent does not know what an attempt does (`execution`).
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import OrderedDict
from dataclasses import dataclass, field

from peerdisco.coordination.asking import Asker, Route
from peerdisco.coordination.background import Spawn, background
from peerdisco.coordination.config import CoordinationConfig, Policy
from peerdisco.coordination.errors import JobOver, JobRefused, JobUnreachable, NoSuchJob
from peerdisco.coordination.messages import (
    Exchange,
    ExchangeAnswer,
    Offer,
    PointerState,
    Report,
)
from peerdisco.coordination.pointers import JobPointers
from peerdisco.coordination.ports import Ports
from peerdisco.messages import (
    Assignment,
    BadMessage,
    ErrorKind,
    Failed,
    Outcome,
    TaskError,
    decode,
    encode,
)

logger = logging.getLogger(__name__)

JOBS_MAX = 1000
"""Jobs known at a time; offers of more are ignored until one is over."""
OVER_REMEMBERED_MAX = 1000


@dataclass(slots=True)
class _Job:
    """A job as this node knows it.

    Attributes:
        route: To its coordinator.
        submitted: Wall time of its submission.
        running: Tasks of its attempts on this node.
        reports: Outcomes that no coordinator has acknowledged.
        has_work: Whether its coordinator may have something for another slot.
        poked: Whether an exchange is due even if there is nothing to say or to ask.
        asking: Slots that the exchange on its way has asked for.
        heard_at: Time of the last answer.
        wake: Something above changed.
        call: The exchange on its way.
    """

    name: str
    route: Route
    submitted: float
    heard_at: float
    running: dict[int, asyncio.Future[None]] = field(default_factory=dict)
    reports: dict[int, Outcome] = field(default_factory=dict)
    has_work: bool = True
    poked: bool = True
    asking: int = 0
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    call: asyncio.Future[None] | None = None
    courier: asyncio.Future[None] | None = None


class Agent:
    """Pulls work for one node."""

    def __init__(self, ports: Ports, config: CoordinationConfig) -> None:
        self._ports = ports
        self._config = config
        self._asker = Asker(ports, config)
        self._pointers = JobPointers(ports.registers)
        self._session = _session(ports.rng)
        self._number = 0
        self._jobs: dict[str, _Job] = {}
        self._over: OrderedDict[str, None] = OrderedDict()
        self._spawn: Spawn | None = None

    async def run(self) -> None:
        """Take offers and run attempts until cancelled."""
        async with background() as spawn:
            self._spawn = spawn
            self._ports.rpc.serve("job/offer", self._serve_offer)
            await self._sweep()

    def running(self) -> int:
        """Attempts that run on this node now."""
        return sum(len(job.running) for job in self._jobs.values())

    def over(self, name: str) -> None:
        """A job is over: stop its attempts and delete what they left."""
        job = self._jobs.pop(name, None)
        self._over[name] = None
        if len(self._over) > OVER_REMEMBERED_MAX:
            self._over.popitem(last=False)
        if job is not None:
            for task in list(job.running.values()):
                task.cancel()
            if job.courier is not None:
                job.courier.cancel()
            self._kick()
        if self._spawn is not None:
            self._spawn(self._ports.execution.forget(name))

    # Offers.

    async def _serve_offer(self, _peer: str, body: bytes) -> bytes:
        self._offered(decode(body, Offer))
        return b""

    def _offered(self, offer: Offer) -> None:
        assert self._spawn is not None
        if offer.job in self._over:
            return
        job = self._jobs.get(offer.job)
        if job is None:
            if len(self._jobs) >= JOBS_MAX:
                return
            now = asyncio.get_running_loop().time()
            route = Route(offer.leader, offer.voters)
            job = self._jobs[offer.job] = _Job(offer.job, route, offer.submitted, now)
            job.courier = self._spawn(self._courier(job))
        elif job.route.leader != offer.leader:
            # Whatever is on its way to the old leader will not be answered, or too late.
            job.route.leader, job.route.voters = offer.leader, offer.voters
            if job.call is not None:
                job.call.cancel()
        job.has_work = job.poked = True
        self._kick()

    async def _sweep(self) -> None:
        """Delete what jobs left here whose end this node was not told of."""
        execution = self._ports.execution
        while True:
            await asyncio.sleep(self._config.garbage_interval_s)
            for name in await execution.jobs():
                if name in self._jobs:
                    continue
                try:
                    pointer = await self._pointers.read(name)
                except self._ports.failures.storage as error:
                    logger.debug("event=pointer_unreadable job=%s error=%s", name, error)
                    continue
                if pointer is None or pointer.state is not PointerState.ACTIVE:
                    await execution.forget(name)

    # Slots.

    def _kick(self) -> None:
        """Something about slots changed: let every courier look whether it is its turn."""
        for job in self._jobs.values():
            job.wake.set()

    def _share(self, job: _Job) -> int:
        """How many slots a job may ask for now."""
        taken = sum(len(each.running) + each.asking for each in self._jobs.values())
        free = self._ports.execution.slots - taken
        if free <= 0:
            return 0
        hungry = [each for each in self._jobs.values() if each is job or each.has_work]
        waiting = [each for each in hungry if each is job or not each.asking]
        best = min(waiting, key=self._rank)
        if self._config.policy is Policy.FIFO:
            return free if best is job else 0
        return -(-free // len(waiting)) if best is job else free // len(waiting)

    def _rank(self, job: _Job) -> tuple[int, float, str]:
        """Jobs in the order of the policy: the smallest is next."""
        mine = len(job.running) if self._config.policy is Policy.FAIR else 0
        return (mine, job.submitted, job.name)

    # The courier.

    async def _courier(self, job: _Job) -> None:
        """Exchange with the job's coordinator whenever there is a reason, until it is over."""
        loop = asyncio.get_running_loop()
        while True:
            slots = await self._reason(job)
            job.asking, job.poked = slots, False
            assert self._spawn is not None
            call = job.call = self._spawn(self._exchange(job, slots))
            try:
                await asyncio.wait([call])
            finally:
                call.cancel()
                job.asking, job.call = 0, None
            if loop.time() - job.heard_at > self._config.give_up_s:
                self.over(job.name)

    async def _reason(self, job: _Job) -> int:
        """Wait for a reason to exchange; the number of slots to ask for."""
        loop = asyncio.get_running_loop()
        while True:
            job.wake.clear()
            slots = self._share(job)
            if job.reports or job.poked or (job.has_work and slots > 0):
                return slots
            interval = self._config.keepalive_s if job.running else self._config.idle_check_s
            try:
                async with asyncio.timeout_at(job.heard_at + interval):
                    await job.wake.wait()
            except TimeoutError:
                if loop.time() >= job.heard_at + interval:
                    return self._share(job)

    async def _exchange(self, job: _Job, slots: int) -> None:
        sent: dict[int, Outcome] = {}

        def question() -> bytes:
            self._number += 1
            sent.clear()
            sent.update(job.reports)
            reports = tuple(Report(number, outcome) for number, outcome in sent.items())
            running = tuple(job.running)
            return encode(Exchange(job.name, self._session, self._number, slots, running, reports))

        try:
            body = await self._asker.ask(
                job.name,
                "job/exchange",
                question,
                job.route,
                patience_s=self._config.ask_timeout_s,
                call_s=2 * self._config.commit_timeout_s,
            )
            answer = decode(body, ExchangeAnswer)
        except (JobOver, NoSuchJob):
            self.over(job.name)
            return
        except (JobUnreachable, JobRefused, BadMessage) as error:
            logger.info("event=coordinator_unreachable job=%s error=%s", job.name, error)
            await asyncio.sleep(self._config.pause_max_s)
            job.poked = True
            return
        self._answered(job, slots, sent, answer)

    def _answered(
        self, job: _Job, slots: int, sent: dict[int, Outcome], answer: ExchangeAnswer
    ) -> None:
        job.heard_at = asyncio.get_running_loop().time()
        for number in sent:
            job.reports.pop(number, None)
        if answer.over:
            self.over(job.name)
            return
        for number in answer.unwanted:
            if number in job.running:
                job.running[number].cancel()
        if slots:
            job.has_work = len(answer.assignments) == slots or job.poked
        job.asking = 0
        assert self._spawn is not None
        for assignment in answer.assignments:
            if assignment.attempt not in job.running:
                job.running[assignment.attempt] = self._spawn(self._run(job, assignment))
        self._kick()

    async def _run(self, job: _Job, assignment: Assignment) -> None:
        """Run one attempt. Its report takes the attempt's place in the same step of the loop."""
        number = assignment.attempt
        outcome: Outcome | None = None
        try:
            outcome = await self._ports.execution.run(assignment)
        except Exception as error:
            # A bug in execution must cost an attempt, not the node.
            logger.exception("event=attempt_broke job=%s attempt=%d", job.name, number)
            outcome = Failed(TaskError(ErrorKind.NODE, f"{type(error).__name__}: {error}"))
        finally:
            job.running.pop(number, None)
            if outcome is not None:
                job.reports[number] = outcome
            self._kick()


def _session(rng: random.Random) -> str:
    """A name for this run of the node."""
    return f"{rng.getrandbits(64):016x}"
