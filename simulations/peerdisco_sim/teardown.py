"""The end of a world: every task, also those of crashed nodes, is brought to an end quietly.

Left alone, suspended coroutines would be closed by the garbage collector at some later time, with
their `finally` blocks complaining into somebody else's test. So dead loops are revived, every task
is cancelled, and the world runs on for a bounded while. A revived loop has lost its timers, so a
`finally` block may wait for ever: each further round of cancelling ends one such wait. Nothing is
judged or recorded any more.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from peerdisco_sim.loop import NodeLoop
    from peerdisco_sim.world import World

_ROUNDS_S = (120.0, 120.0, *(5.0 for _ in range(30)))
_CLOSES_MAX = 10


def tear_down(world: World, run: Callable[[float], None]) -> None:
    """Cancel everything and let it finish; what refuses is closed by force."""
    loops = [node.loop for node in world.nodes.values() if node.loop is not None]
    buried = [grave for grave in world.graveyard if isinstance(grave, tuple)]
    loops += [loop for loop, _ in buried if loop not in loops]
    for loop in loops:
        loop.dead = False
        loop.busy_until = loop.cost_s = 0.0
    for seconds in _ROUNDS_S:
        tasks = _tasks(world, loops)
        if not tasks and not gc.collect():
            break
        for task in tasks:
            task.cancel()
        run(world.now + seconds)
    for task in _tasks(world, loops):
        _close(task)
    for loop in loops:
        loop.dead = True


def _tasks(world: World, loops: list[NodeLoop]) -> list[asyncio.Task[Any]]:
    """Those that are not done, loop by loop, the oldest first.

    Last come those of processes that were started since the end began, as by a scheduled restart.
    """
    rank: dict[object, int] = {loop: number for number, loop in enumerate(loops)}
    left = [
        (rank.get(task.get_loop(), len(rank)), hash(task), task)
        for task in world.tasks
        if not task.done()
    ]
    return [task for _, _, task in sorted(left)]


def _close(task: asyncio.Task[Any]) -> None:
    """Close the coroutine and all that it awaits, again and again while closing makes it wait."""
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # private to asyncio
    chain: list[Coroutine[Any, Any, Any]] = []
    link: Any = task.get_coro()
    while link is not None:
        if isinstance(link, Coroutine | Generator):
            chain.append(link)  # type: ignore[arg-type]  # both can be closed
        link = getattr(link, "cr_await", None) or getattr(link, "gi_yieldfrom", None)
    for coroutine in reversed(chain):
        for _ in range(_CLOSES_MAX):
            with suppress(BaseException):
                coroutine.close()
                break
