"""Finds whoever leads a job now, and asks it.

First the last known leader, then the voters, then the job's pointer, round after round with growing
pauses until a deadline. The question is encoded anew for every try, so it is never older than its
answer. The pointer is read when a whole round failed: it may name new voters, or say that the job
is over.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from peerdisco.coordination.config import CoordinationConfig
from peerdisco.coordination.errors import JobOver, JobRefused, JobUnreachable, NoSuchJob
from peerdisco.coordination.messages import PointerState, Reply, ReplyCode
from peerdisco.coordination.pointers import JobPointers
from peerdisco.coordination.ports import Ports
from peerdisco.messages import BadMessage, decode

logger = logging.getLogger(__name__)

HOPS_MAX = 3
"""Redirections followed within one round."""


@dataclass(slots=True)
class Route:
    """Where a job's coordinator was last seen, and who else may know."""

    leader: str = ""
    voters: tuple[str, ...] = ()

    def targets(self) -> list[str]:
        """Whom to ask, best first, each once."""
        return [node for node in dict.fromkeys((self.leader, *self.voters)) if node]


class Asker:
    """Asks coordinators. `route` is corrected as answers come in."""

    def __init__(self, ports: Ports, config: CoordinationConfig) -> None:
        self._ports = ports
        self._config = config
        self._pointers = JobPointers(ports.registers)

    async def ask(
        self,
        job: str,
        method: str,
        question: Callable[[], bytes],
        route: Route,
        *,
        patience_s: float,
        call_s: float,
    ) -> bytes:
        """The coordinator's answer.

        Args:
            job: Name of the job.
            method: Of the call.
            question: Encodes the request, for each try.
            route: Where to begin.
            patience_s: For all of it.
            call_s: For one try.

        Raises:
            JobOver: The job has ended and is archived.
            NoSuchJob: It has no pointer, or was purged.
            JobRefused: The coordinator said no.
            JobUnreachable: Nobody answered in time; the call may have had its effect.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience_s
        pause = self._config.pause_min_s
        while True:
            if not route.voters:
                await self._look_up(job, route)
            answer = await self._round(method, question, route, call_s)
            if answer is not None:
                return answer
            await self._look_up(job, route)
            if loop.time() + pause > deadline:
                raise JobUnreachable(f"no coordinator of job {job!r} answers")
            await asyncio.sleep(pause)
            pause = min(2 * pause, self._config.pause_max_s)

    async def _round(
        self, method: str, question: Callable[[], bytes], route: Route, call_s: float
    ) -> bytes | None:
        """One try at everybody that may lead."""
        alive = self._ports.members.alive()
        targets = sorted(route.targets(), key=lambda node: node not in alive)
        hops = 0
        while targets:
            target = targets.pop(0)
            reply = await self._call(target, method, question(), call_s)
            if reply is None:
                continue
            if reply.code is ReplyCode.OK:
                route.leader, route.voters = target, reply.voters or route.voters
                return reply.body
            if reply.code is ReplyCode.REFUSED:
                raise JobRefused(reply.reason)
            if reply.leader and reply.leader != target and hops < HOPS_MAX:
                hops += 1
                route.leader, route.voters = reply.leader, reply.voters
                targets = [reply.leader, *(node for node in targets if node != reply.leader)]
        route.leader = ""
        return None

    async def _call(self, target: str, method: str, body: bytes, call_s: float) -> Reply | None:
        try:
            return decode(await self._ports.rpc.call(target, method, body, timeout=call_s), Reply)
        except (OSError, BadMessage) as error:
            logger.debug("event=no_answer method=%s node=%s error=%s", method, target, error)
            return None

    async def _look_up(self, job: str, route: Route) -> None:
        """Correct the voters by the pointer, if it can be read."""
        try:
            pointer = await self._pointers.read(job)
        except self._ports.failures.storage as error:
            logger.debug("event=pointer_unreadable job=%s error=%s", job, error)
            return
        if pointer is None or pointer.state is PointerState.PURGED:
            raise NoSuchJob(job)
        if pointer.state is PointerState.DONE:
            raise JobOver(job)
        route.voters = pointer.voters
