"""A node that finds no coordinator asks again at once, for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from peerdisco.coordination.asking import Asker, Route
from peerdisco_sim.planted.bug import Bug, asked_for, put

PAUSE_S = 0.001


def plant() -> None:
    """No growing pauses, no patience."""

    async def ask(
        self: Asker,
        job: str,
        method: str,
        question: Callable[[], bytes],
        route: Route,
        *,
        patience_s: float,
        call_s: float,
    ) -> bytes:
        del patience_s
        while True:
            if not route.voters:
                await self._look_up(job, route)
            answer = await self._round(method, question, route, call_s)
            if answer is not None:
                return answer
            await self._look_up(job, route)
            await asyncio.sleep(PAUSE_S)

    put(Asker, "ask", ask)


BUG = Bug(
    "retry-storm",
    "nodes that find no coordinator ask again without a pause",
    ("B8 too many calls", "M6", "N5", "livelock"),
    plant,
    asked_for("small_jobs"),
)
