"""Keeps a job's group at its size: dead voters are replaced, and one voter grows to three.

A voter that could not be asked when the group was formed is asked again while it is alive: until
it has joined, the group survives one failure less than its size says.

The order makes it safe to stop anywhere: the new voter is asked to join first, then the pointer
names the new voters beside the old ones, then the group changes by joint consensus, and then the
pointer names the new ones only. A voter that was replaced while it was away reads the pointer when
it wakes, and forgets the group. Whoever leads next finishes what was left half done.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence

from peerdisco.coordination.config import CoordinationConfig
from peerdisco.coordination.messages import Form, Reply, ReplyCode
from peerdisco.coordination.pointers import JobPointers
from peerdisco.coordination.ports import Group, Ports
from peerdisco.messages import BadMessage, decode, encode

logger = logging.getLogger(__name__)


def choose_voters(
    me: str, alive: Sequence[str], known: Sequence[str], size: int, rng: random.Random
) -> tuple[str, ...]:
    """Voters for a new group, oneself first: `size` of them, or 1 in a smaller cluster.

    A cluster is not smaller because some of it seem dead at the moment: they are named as well, and
    the group forms as soon as a majority can be reached. With one voter instead, the job would be
    lost with one node, and could not even begin elsewhere while nobody reaches that one.
    """
    others = [node for node in alive if node != me]
    away = [node for node in known if node != me and node not in others]
    if 1 + len(others) + len(away) < size:
        return (me,)
    chosen = rng.sample(others, min(len(others), size - 1))
    return (me, *chosen, *rng.sample(away, size - 1 - len(chosen)))


def plan_voters(
    me: str,
    voters: Sequence[str],
    missing: Sequence[str],
    alive: Sequence[str],
    size: int,
    rng: random.Random,
) -> tuple[str, ...] | None:
    """The voters that a group should have, or None when it is well, or cannot be helped.

    `missing` are the voters that count as dead. Nobody leaves unless somebody takes the place.
    """
    target = size if len(alive) >= size else len(voters)
    kept = [node for node in voters if node not in missing]
    candidates = [node for node in alive if node not in voters]
    wanted = max(target, len(voters)) - len(kept)
    chosen = rng.sample(candidates, min(wanted, len(candidates)))
    filled = [*kept, *chosen]
    if not chosen or len(filled) < len(voters) or me not in filled:
        return None
    if len(filled) % 2 == 0:
        return None
    return (me, *(node for node in filled if node != me))


class VoterUpkeep:
    """Runs on the leader, beside the coordinator."""

    def __init__(self, job: str, ports: Ports, group: Group, config: CoordinationConfig) -> None:
        self._job = job
        self._ports = ports
        self._group = group
        self._config = config
        self._pointers = JobPointers(ports.registers)
        self._missing_since: dict[str, float] = {}
        self._joined: dict[str, None] = {}
        self._settled = False

    async def run(self) -> None:
        """Look after the group until cancelled."""
        while True:
            await asyncio.sleep(self._config.upkeep_interval_s)
            alive = self._ports.members.alive()
            voters = plan_voters(
                self._ports.me,
                self._group.voters,
                self._missing(alive, asyncio.get_running_loop().time()),
                alive,
                self._config.voters,
                self._ports.rng,
            )
            if voters is None and not self._settled and await self._is_pointer_behind():
                voters = self._group.voters
            if voters is not None:
                self._settled = await self._change(voters)
            await self._complete(alive)

    async def _complete(self, alive: Sequence[str]) -> None:
        """Let the voters join that may not have heard of the group yet; each answers once."""
        for node in self._group.voters:
            if node == self._ports.me or node in self._joined or node not in alive:
                continue
            try:
                founders = await self._pointers.founders(self._job)
                if await self._form(node, founders):
                    self._joined[node] = None
            except self._ports.failures.any as error:
                logger.info("event=form_failed job=%s node=%s error=%s", self._job, node, error)

    def _missing(self, alive: Sequence[str], now: float) -> list[str]:
        """Voters that have not been alive for a while."""
        since = self._missing_since
        self._missing_since = {
            node: since.get(node, now) for node in self._group.voters if node not in alive
        }
        patience = self._config.voter_missing_s
        return [node for node, at in self._missing_since.items() if now - at >= patience]

    async def _is_pointer_behind(self) -> bool:
        """Whether the pointer names others than the group's voters, as after half a change."""
        try:
            pointer = await self._pointers.read(self._job)
        except self._ports.failures.any as error:
            logger.debug("event=pointer_unreadable job=%s error=%s", self._job, error)
            return False
        self._settled = pointer is None or {*pointer.voters} == {*self._group.voters}
        return not self._settled

    async def _change(self, voters: tuple[str, ...]) -> bool:
        """Replace the voters; whether group and pointer agree on them in the end.

        Meanwhile the pointer names the old ones too: one of them that restarts before the change
        is committed must not take itself for a stranger, since the group still needs it.
        """
        logger.info("event=change_voters job=%s voters=%s", self._job, ",".join(voters))
        everybody = tuple(dict.fromkeys((*voters, *self._group.voters)))
        try:
            for node in voters:
                if node not in self._group.voters and not await self._form(node):
                    return False
            if not await self._pointers.move(self._job, everybody):
                return False
            await self._group.change_voters(voters, timeout=self._config.commit_timeout_s)
            return await self._pointers.move(self._job, voters)
        except self._ports.failures.any as error:
            logger.info("event=change_voters_failed job=%s error=%s", self._job, error)
            return False

    async def _form(self, node: str, voters: tuple[str, ...] = ()) -> bool:
        """Let a node join; it learns the voters from the group's log, unless they never changed."""
        group = self._group
        form = Form(self._job, voters, campaign=False, era=group.era, floor=group.known_commit)
        timeout = self._config.call_timeout_s
        answer = await self._ports.rpc.call(node, "job/form", encode(form), timeout=timeout)
        try:
            return decode(answer, Reply).code is ReplyCode.OK
        except BadMessage:
            return False
