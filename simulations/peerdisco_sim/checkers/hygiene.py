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

EXPECTED_ERRORS = re.compile(r"event=corrupt_copy|: 400, message:")
"""What may be logged as an error: a fault calls for it, or a stranger sent what is no HTTP, which
the daemon's own set-up keeps out of the log (`startup._is_about_us`)."""

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
        # Those that were told to end get their turn from `asyncio.run` on a real machine.
        tasks = [t for t in asyncio.all_tasks() if t is not me and not t.cancelling()]
        # What aiohttp has not ended within its patience is ended by `asyncio.run`, too.
        ours = [t for t in tasks if not describe(t).startswith("RequestHandler.")]
        is_quiet = len(ours) == len(tasks)
        tasks = ours
        if tasks:
            self._arena.fail("N2 tasks left", f"{len(tasks)}: {describe(tasks[0])}", name)
        bound = [*machine.udp_ports._bound, *machine.tcp_ports._bound]
        ports = [address for address in bound if address[1] in (PEER_PORT, HTTP_PORT)]
        if ports:
            self._arena.fail("N2 ports left", f"{ports}", name)
        timers = [
            handle
            for _, _, function, handle in self._arena.world._heap
            if function is None and handle._loop is loop and not handle._cancelled
        ]
        if timers and is_quiet:
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
    names = []
    inner: object = task.get_coro()
    while inner is not None:
        names.append(getattr(inner, "__qualname__", type(inner).__name__))
        inner = getattr(inner, "cr_await", None)
    return " > ".join(names)
