"""A simulated machine: an address, clocks, disks that outlive its processes, and one process.

`boot` starts a process with an event loop of its own. `kill` is `kill -9`: the kernel lives on,
resets the connections and keeps its page cache. `cut_power` is silence, and what was not synced is
at the mercy of the disk. Either way the dead process's tasks stay referenced until the world ends:
dropping them would run `finally` blocks, which no crash ever does.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from peerdisco_sim.addresses import node_ip
from peerdisco_sim.failures import describe
from peerdisco_sim.loop import NodeLoop
from peerdisco_sim.sockets import Ports
from peerdisco_sim.streams import Stream

if TYPE_CHECKING:
    from peerdisco_sim.tcp import End
    from peerdisco_sim.world import World

T = TypeVar("T")
_UPTIME_S_MAX = 1_000_000.0


class Device(Protocol):
    """A part of the machine that outlives processes: a disk, stores, the process table."""

    def process_died(self) -> None:
        """The daemon is gone; the kernel lives."""

    def power_failed(self) -> None:
        """Everything volatile is gone."""


class SimNode:
    """One machine of the world.

    Attributes:
        name: Host name, unique in the world.
        number: From 1, in order of creation.
        ip: Its address.
        boot_number: How many processes were started here.
        kernel_boot: How often the machine was switched on, from 1.
        loop: The loop of the newest process, None before the first.
        main: The main task of the newest process.
        wall_skew_s: How far its calendar is ahead of the world's.
        clock_rate: How fast its monotonic clock runs.
        devices: What survives the process, by kind.
    """

    def __init__(self, world: World, name: str, *, drift_ppm: float = 0.0, skew_s: float = 0.0):
        self.world = world
        self.name = name
        self.number = len(world.nodes) + 1
        self.ip = node_ip(self.number)
        self.boot_number = 0
        self.kernel_boot = 1
        self.is_powered = True
        self.loop: NodeLoop | None = None
        self.main: asyncio.Task[Any] | None = None
        self.wall_skew_s = skew_s
        self.clock_rate = 1.0 + drift_ppm * 1e-6
        self.clock_offset = world.stream(name, "uptime").uniform(0.0, _UPTIME_S_MAX)
        self.segment_draws = world.stream(name, "segments")
        self.udp_ports = Ports()
        self.tcp_ports = Ports()
        self.ends: dict[End, None] = {}
        self.devices: dict[str, Device] = {}
        self._streams_of_boot: dict[str, Stream] = {}
        world.nodes[name] = world.network.hosts[self.ip] = self

    def __repr__(self) -> str:
        return f"<SimNode {self.name} {self.ip}>"

    @property
    def is_running(self) -> bool:
        """Whether a process runs here."""
        return self.loop is not None and not self.loop.dead

    # -- clocks and randomness ----------------------------------------------------------------

    def monotonic(self) -> float:
        """This machine's monotonic clock."""
        return self.world.now * self.clock_rate + self.clock_offset

    def world_time(self, local: float) -> float:
        """When, in world time, the monotonic clock will show `local`."""
        return (local - self.clock_offset) / self.clock_rate

    def wall_time(self) -> float:
        """This machine's calendar, in seconds since the epoch."""
        return self.world.epoch + self.world.now + self.wall_skew_s

    def stream(self, name: str) -> Stream:
        """The random stream `seed/node/boot/name`; the same object when asked again."""
        key = f"{self.boot_number}/{name}"
        found = self._streams_of_boot.get(key)
        if found is None:
            found = self._streams_of_boot[key] = self.world.stream(
                self.name, self.boot_number, name
            )
        return found

    @property
    def ambient(self) -> Stream:
        """What libraries get when they ask the operating system for randomness."""
        return self.stream("ambient")

    # -- processes ----------------------------------------------------------------------------

    def boot(self, main: Callable[[], Coroutine[Any, Any, T]]) -> asyncio.Task[T]:
        """Start a process; its end, with or without an exception, ends everything it has open.

        An exception that leaves `main` is a failure of the world.
        """
        task = self._start_process(main)
        task.add_done_callback(self._main_ended)
        return task

    def _start_process(self, main: Callable[[], Coroutine[Any, Any, T]]) -> asyncio.Task[T]:
        assert not self.is_running, f"{self.name} runs already"
        if not self.is_powered:
            self.is_powered = True
            self.kernel_boot += 1
        self.boot_number += 1
        self._streams_of_boot.clear()
        self.loop = NodeLoop(self)
        self.main = task = self.spawn(main())
        return task

    def run(self, function: Callable[[], Coroutine[Any, Any, T]]) -> asyncio.Task[T]:
        """Like `boot`, for a client: its result or exception is for whoever awaits the task."""
        return self._start_process(function)

    def spawn(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a task in the running process, from outside."""
        assert self.loop is not None
        assert not self.loop.dead, f"{self.name} is down"
        return contextvars.Context().run(self.loop.create_task, coroutine)

    def _main_ended(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled():
            error = task.exception()
            if error is not None:
                context = {"message": "main coroutine failed", "exception": error}
                self.world.fail("main failed", describe(context), self.name)
        if task.get_loop() is self.loop and not self.world.closing:
            self.kill()

    def signal(self, number: int) -> None:
        """Deliver a signal for which the process installed a handler."""
        assert self.loop is not None
        callback, arguments = self.loop.signal_handlers[number]
        self.loop.call_soon(callback, *arguments)

    # -- trouble ------------------------------------------------------------------------------

    def pause(self, seconds: float) -> None:
        """Give the process no CPU for a while, as SIGSTOP or a long collection would."""
        if self.loop is not None:
            self.loop.busy_until = max(self.loop.busy_until, self.world.now + seconds)

    def slow_down(self, seconds_per_step: float) -> None:
        """Make every step of the process cost CPU time; 0 ends it."""
        if self.loop is not None:
            self.loop.cost_s = seconds_per_step

    def kill(self) -> None:
        """End the process at once, as `kill -9` does. Idempotent."""
        if not self.is_running:
            return
        self._bury()
        for end in list(self.ends):
            end.reset()
        for device in self.devices.values():
            device.process_died()

    def cut_power(self) -> None:
        """Switch the machine off at once. Idempotent."""
        if not self.is_powered:
            return
        self._bury()
        self.is_powered = False
        for end in list(self.ends):
            end.vanish()
        for device in self.devices.values():
            device.process_died()
            device.power_failed()

    def _bury(self) -> None:
        loop = self.loop
        if loop is None or loop.dead:
            return
        self.world.graveyard.append((loop, sorted(asyncio.all_tasks(loop), key=hash)))
        loop.dead = True
        self.udp_ports.clear()
        self.tcp_ports.clear()
