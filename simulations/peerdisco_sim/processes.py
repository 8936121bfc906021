"""Worker processes inside the world: the real worker's code, run in process, in virtual time.

A worker is a `Service`: one request frame in, response frames out, synchronously. Each response
leaves after a modelled cost: a base, plus so much per byte of the request and of the files that
were read and written for it. A worker can be killed, told to hang, or crash, and it dies with its
node's daemon. Between response and pipe nothing is lost: what was written before a kill can still
be read, as from a real pipe.
"""

from __future__ import annotations

import asyncio
import collections
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from peerdisco_sim.files import SimFiles

if TYPE_CHECKING:
    from peerdisco_sim.disk import SimDisk
    from peerdisco_sim.node import SimNode

_OUTBOX_FRAMES_MAX = 16
_INBOX_BYTES_MAX = 64 * 1024
_LOG_LINES_MAX = 200
_FIRST_PID = 1000


class WorkerService(Protocol):
    """What runs inside a worker (`peerdisco.worker.service.Service`)."""

    def handle(self, frame: bytes) -> Iterator[bytes]:
        """Answer a request frame, one response frame after the other."""


ServiceFactory = Callable[[SimFiles], WorkerService]


@dataclass(frozen=True, slots=True)
class WorkerCosts:
    """How long a worker takes, in virtual seconds.

    Attributes:
        start_s: From start to ready.
        frame_s: Per response frame.
        byte_s: Per byte of the request and of the files read and written.
        jitter: Each duration is multiplied by a factor between 1 and 1 + jitter.
    """

    start_s: float = 0.15
    frame_s: float = 0.002
    byte_s: float = 1 / 50e6
    jitter: float = 0.5


@dataclass(slots=True)
class WorkerFaults:
    """What goes wrong in the workers of a node, drawn before each response frame.

    Attributes:
        hang: Probability that the worker stops answering for ever.
        crash: Probability that it dies with a segmentation fault.
        slowness: Factor on every duration.
    """

    hang: float = 0.0
    crash: float = 0.0
    slowness: float = 1.0


class SimProcesses:
    """See `peerdisco.machine.Processes`."""

    def __init__(
        self,
        node: SimNode,
        disk: SimDisk,
        service: ServiceFactory,
        costs: WorkerCosts | None = None,
    ) -> None:
        self.node = node
        self.costs = costs or WorkerCosts()
        self.faults = WorkerFaults()
        self.running: dict[int, SimProcess] = {}
        """By process id; nemeses choose their victims here."""
        self._disk = disk
        self._service = service
        self._draws = node.world.stream(node.name, "workers")
        self._next_pid = _FIRST_PID

    async def start_worker(self) -> SimProcess:
        """See Processes."""
        await asyncio.sleep(self._jittered(self.costs.start_s))
        self._next_pid += 1
        process = SimProcess(self, self._next_pid, SimFiles(self._disk), self._service)
        self.running[process.pid] = process
        return process

    def duration(self, size: int) -> float:
        """How long a response takes for which that many bytes were handled."""
        return self._jittered(self.costs.frame_s + size * self.costs.byte_s)

    def fate(self) -> str:
        """`run`, `hang` or `crash`: what the next response meets."""
        if self.faults.hang and self._draws.random() < self.faults.hang:
            return "hang"
        if self.faults.crash and self._draws.random() < self.faults.crash:
            return "crash"
        return "run"

    def process_died(self) -> None:
        """Workers see their standard input close and end with the daemon."""
        for process in list(self.running.values()):
            process.kill()

    def power_failed(self) -> None:
        """Nothing is left of them anyway."""

    def _jittered(self, seconds: float) -> float:
        factor = 1.0 + self.costs.jitter * self._draws.random()
        return seconds * factor * self.faults.slowness


class SimProcess:
    """See `peerdisco.machine.Process`."""

    def __init__(
        self, processes: SimProcesses, pid: int, files: SimFiles, factory: ServiceFactory
    ) -> None:
        loop = asyncio.get_running_loop()
        self._processes = processes
        self._world = processes.node.world
        self._pid = pid
        self._files = files
        self._factory = factory
        self._service: WorkerService | None = None
        self._inbox: collections.deque[bytes] = collections.deque()
        self._outbox: collections.deque[bytes] = collections.deque()
        self._responses: Iterator[bytes] | None = None
        self._request_bytes = 0
        self._computing = False
        self._hanging = False
        self._status: asyncio.Future[int] = loop.create_future()
        self._changed = asyncio.Event()
        self._log: collections.deque[str] = collections.deque(maxlen=_LOG_LINES_MAX)

    # -- the interface ------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        """See Process."""
        return self._pid

    async def send(self, frame: bytes) -> None:
        """See Process."""
        self._check_alive()
        self._inbox.append(bytes(frame))
        self._continue()
        while sum(map(len, self._inbox)) > _INBOX_BYTES_MAX and not self._status.done():
            await self._wait_for_change()
        self._check_alive()

    async def receive(self) -> bytes | None:
        """See Process."""
        while not self._outbox and not self._status.done():
            await self._wait_for_change()
        if not self._outbox:
            return None
        frame = self._outbox.popleft()
        self._continue()
        return frame

    def kill(self) -> None:
        """See Process."""
        self._end(-signal.SIGKILL)

    async def wait(self) -> int:
        """See Process."""
        return await asyncio.shield(self._status)

    def log_tail(self) -> str:
        """See Process."""
        return "\n".join(self._log)

    # -- trouble ------------------------------------------------------------------------------

    def hang(self) -> None:
        """Stop answering, without ending."""
        self._hanging = True

    def crash(self, status: int = -signal.SIGSEGV) -> None:
        """End by itself."""
        self._log.append(f"worker {self._pid} ended with status {status}")
        self._end(status)

    # -- computing ----------------------------------------------------------------------------

    def _continue(self) -> None:
        """Compute the next response if there is one to compute and room for it."""
        if self._computing or self._status.done() or self._hanging:
            return
        if len(self._outbox) >= _OUTBOX_FRAMES_MAX or not (self._responses or self._inbox):
            return
        self._computing = True
        self._world.push(self._world.now, self._compute, None)

    def _compute(self, _: None) -> None:
        """Let the worker's code run until its next response; it leaves when its time is over."""
        if self._status.done() or self._hanging:
            return
        before = self._files.traffic_bytes
        with self._world.acting(self._processes.node):
            try:
                if self._service is None:
                    self._service = self._factory(self._files)
                if self._responses is None:
                    frame = self._inbox.popleft()
                    self._request_bytes = len(frame)
                    self._responses = iter(self._service.handle(frame))
                response = next(self._responses, None)
            except Exception as error:
                self._log.extend("".join(traceback.format_exception(error)).splitlines())
                self._end(1)
                return
        size = self._files.traffic_bytes - before + self._request_bytes
        self._request_bytes = 0
        delay = self._processes.duration(size) if response is not None else 0.0
        self._world.push(self._world.now + delay, self._emit, response)

    def _emit(self, response: bytes | None) -> None:
        if self._status.done():
            return
        self._computing = False
        fate = self._processes.fate() if response is not None else "run"
        if fate == "crash":
            self.crash()
            return
        if fate == "hang":
            self.hang()
        if self._hanging:
            return
        if response is None:
            self._responses = None
        else:
            self._outbox.append(response)
        self._notify()
        self._continue()

    # -- ending -------------------------------------------------------------------------------

    def _end(self, status: int) -> None:
        if self._status.done():
            return
        self._processes.running.pop(self._pid, None)
        self._files.revoke()
        self._status.set_result(status)
        self._inbox.clear()
        responses, self._responses = self._responses, None
        close = getattr(responses, "close", None)
        if close is not None:
            # Its files are revoked: whatever its clean-up does, the world stays as it is.
            with suppress(BaseException):
                close()
        self._notify()

    def _check_alive(self) -> None:
        if self._status.done():
            raise BrokenPipeError(f"worker {self._pid} is gone")

    async def _wait_for_change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _notify(self) -> None:
        self._changed.set()
