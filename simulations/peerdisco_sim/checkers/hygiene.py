"""How nodes behave as programs: what they log, what they leave behind, how much they hoard.

N1  no node logs an error or an exception; unhandled ones the engine reports itself
N2  a node that was told to stop leaves no task, no socket and no timer
N5  heaps and queues stay bounded
N7  no request of a client ends in a 500 (the client reports that)
"""

from __future__ import annotations

import asyncio
import re

from peerdisco_sim.arena import Arena
from peerdisco_sim.daemon import HTTP_PORT, PEER_PORT
from peerdisco_sim.disk import SimDisk
from peerdisco_sim.recorder import TimedEvent

EXPECTED_ERRORS = re.compile(
    r"event=corrupt_copy|: 400, message:|^Unhandled exception: InvalidStateError"
)
"""What may be logged as an error: a fault calls for it, or a stranger sent what is no HTTP, or
aiohttp's server stumbles over its own end; the last two are kept out of the log by the daemon's
own set-up (`startup._is_about_us`)."""

HEAP_MAX = 200_000
INTERVAL_S = 1.0
TRAFFIC_WAITING_MAX = 20_000


class HygieneChecker:
    """N1, N2 and N5 of the list in `__init__.py`."""

    name = "hygiene"

    def begin(self, arena: Arena) -> None:
        """See Checker."""
        self._arena = arena
        arena.recorder.subscribe(self._happened)
        arena.world.after(INTERVAL_S, self._look)

    def at_rest(self) -> None:
        """Nothing: these hold at all times."""

    def _happened(self, event: TimedEvent) -> None:
        if event.kind == "down" and event.detail == "stopped":
            self._stopped(event.node)
        is_error = event.kind == "log" and event.data.get("level") in ("ERROR", "CRITICAL")
        if is_error and not EXPECTED_ERRORS.search(event.detail) and not self._is_disk(event):
            self._arena.fail("N1 logged an error", event.detail, event.node)

    def _is_disk(self, event: TimedEvent) -> bool:
        """Whether a node speaks of its disk, which did fail."""
        machine = self._arena.world.nodes.get(event.node)
        disk = machine.devices.get("disk") if machine is not None else None
        return isinstance(disk, SimDisk) and disk.errors > 0 and "Errno" in event.detail

    def _stopped(self, name: str) -> None:
        """N2: called in the last step of a daemon that was asked to stop."""
        machine = self._arena.cluster.node(name)
        loop = asyncio.get_running_loop()
        me = asyncio.current_task()
        # What was told to end, and what aiohttp has not ended within its patience, gets its turn
        # from `asyncio.run` on a real machine, and so do their children, whom they will tell.
        tasks = [task for task in asyncio.all_tasks() if task is not me]
        handlers = [task for task in tasks if describe(task).startswith("RequestHandler.")]
        ending = dict.fromkeys([*handlers, *(task for task in tasks if task.cancelling())])
        waiting = list(ending)
        while waiting:
            children = [task for task in children_of(waiting.pop()) if task not in ending]
            ending.update(dict.fromkeys(children))
            waiting += children
        tasks = [task for task in tasks if task not in ending]
        if tasks:
            # A set has no order that a replay could rely on.
            self._arena.fail("N2 tasks left", f"{len(tasks)}: {min(map(describe, tasks))}", name)
        bound = [*machine.udp_ports._bound, *machine.tcp_ports._bound]
        ports = [address for address in bound if address[1] in (PEER_PORT, HTTP_PORT)]
        if ports:
            self._arena.fail("N2 ports left", f"{ports}", name)
        timers = [
            handle
            for _, _, function, handle in self._arena.world._heap
            if function is None and handle._loop is loop and not handle._cancelled
        ]
        if timers and not handlers:
            self._arena.fail("N2 timers left", f"{len(timers)}: {timers[0]!r}", name)

    def _look(self) -> None:
        """N5, once a virtual second."""
        arena, world = self._arena, self._arena.world
        if len(world._heap) > HEAP_MAX:
            arena.fail("N5 heap", f"{len(world._heap)} events wait")
        for name in arena.cluster.names:
            node = arena.node(name)
            if node is None:
                continue
            queues = {
                "frames": (len(node.groups._inbox), node.groups._config.inbox_frames_max),
                "rumours": (len(node.membership._core._queue), TRAFFIC_WAITING_MAX),
            }
            for what, (length, limit) in queues.items():
                if length > limit:
                    arena.fail("N5 queue", f"{length} {what} wait, {limit} may", name)
        world.after(INTERVAL_S, self._look)


def describe(task: asyncio.Task[object]) -> str:
    """A task by the coroutines that it is in, outermost first."""
    return " > ".join(getattr(each, "__qualname__", type(each).__name__) for each in _stack(task))


def children_of(task: asyncio.Task[object]) -> list[asyncio.Task[object]]:
    """The tasks that it has begun in the groups that it is in the middle of, and waits for."""
    frames = [frame for each in _stack(task) if (frame := getattr(each, "cr_frame", None))]
    groups = [
        value
        for frame in frames
        for value in frame.f_locals.values()
        if isinstance(value, asyncio.TaskGroup)
    ]
    return [child for group in groups for child in group._tasks]


def _stack(task: asyncio.Task[object]) -> list[object]:
    """The coroutines that a task is in, and last what it waits for."""
    found = []
    inner: object = task.get_coro()
    while inner is not None:
        found.append(inner)
        inner = getattr(inner, "cr_await", None)
    return found
