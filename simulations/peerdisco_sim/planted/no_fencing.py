"""A coordinator hands out work before that is committed: a deposed one still gives orders."""

from __future__ import annotations

import asyncio

from peerdisco.coordination.coordinator import FAILED, Coordinator, _settle
from peerdisco.coordination.core import CoordinatorCore
from peerdisco.coordination.replica import command
from peerdisco_sim.planted.bug import Bug, asked_for, put


def plant() -> None:
    """Answer first, commit afterwards."""

    async def turn(self: Coordinator, core: CoordinatorCore, spawn: object) -> float | None:
        assert callable(spawn)
        commits, self._commits = self._commits, []
        now = asyncio.get_running_loop().time()
        turn = core.turn(self._ports.members.alive(), now, self._ports.wall_time())
        for node in turn.offers:
            spawn(self._offer(node, core.submitted_at))
        for answer in turn.answers:
            self._answer(answer)
        if turn.facts:
            entry = command(turn.facts)
            try:
                await self._group.propose(entry, timeout=self._config.commit_timeout_s)
            except self._ports.failures.election:
                self._commits.extend(commits)
                return FAILED
        for committed in commits:
            _settle(committed)
        return turn.again_at

    put(Coordinator, "_turn", turn)


BUG = Bug(
    "no-fencing",
    "a coordinator gives orders that its group has not committed",
    ("F1",),
    plant,
    asked_for("small_jobs", "wordcount"),
)
