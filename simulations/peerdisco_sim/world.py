"""The world: one clock, one heap of events, one ready queue, one seed.

Every node has an event loop of its own, but all loops put their handles into this world's queues,
so a whole cluster runs on one thread in one order. Time is virtual: it jumps to the next event.
Everything random comes from streams named after the seed. The digest covers all wire bytes, their
times and the order in which nodes were dispatched; equal seeds must give equal digests.

The world knows nothing of disks, processes or peerdisco. Read `loop.py` next, then `network.py`
and `node.py`; `cluster.py` is what scenarios use.
"""

from __future__ import annotations

import asyncio
import asyncio.events as asyncio_events
import collections
import gc
import hashlib
import heapq
import itertools
import struct
import sys
import warnings
import weakref
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeVar

from peerdisco_sim.ambient import Ambient
from peerdisco_sim.errors import Deadlock, EscapedSimulation
from peerdisco_sim.failures import Failure
from peerdisco_sim.network import LAN, Conditions, Network
from peerdisco_sim.sockets import SimSocket
from peerdisco_sim.streams import Stream, stream
from peerdisco_sim.teardown import tear_down

if TYPE_CHECKING:
    from peerdisco_sim.loop import NodeLoop
    from peerdisco_sim.node import SimNode

T = TypeVar("T")
Event = tuple[float, int, Callable[[Any], None] | None, Any]
"""When, serial number, and either a function with its argument or None with a TimerHandle."""

_EPOCH_S = 1_800_000_000.0
_STEPS_PER_INSTANT_MAX = 1_000_000
_COLLECT_YOUNG_STEPS = 50_000
_COLLECT_ALL_STEPS = 5_000_000
_CANCELLED_TIMERS_MIN = 1_000
_WIRE_BYTES_MAX = 256 * 1024
_DELIVERY = struct.Struct("<BdQHHI")
_set_running_loop = asyncio_events._set_running_loop


class World:
    """A deterministic universe for nodes.

    Use it as a context manager: garbage collection is taken over while it lives, and leaving it
    ends every task inside.

    Args:
        seed: Names every random stream; the whole run follows from it.
        conditions: How the network behaves unless a link says otherwise.
        epoch: Calendar time at virtual second 0.
    """

    socket_class = SimSocket

    def __init__(
        self, seed: int = 0, *, conditions: Conditions = LAN, epoch: float = _EPOCH_S
    ) -> None:
        self.seed = seed
        self.epoch = epoch
        self.now = 0.0
        self.ready: collections.deque[asyncio.Handle] = collections.deque()
        self.nodes: dict[str, SimNode] = {}
        self.current: SimNode | None = None
        self.failures: list[Failure] = []
        self.steps = 0
        self.closing = False
        self.steps_per_instant_max = _STEPS_PER_INSTANT_MAX
        self.graveyard: list[object] = []
        self.tasks: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()
        self.network = Network(self, conditions)
        self._heap: list[Event] = []
        self._serial = 0
        self._orders = itertools.count(1)
        self._halted = False
        self._entered: NodeLoop | None = None
        self._cancelled_timers = 0
        self._order, self._order_digest = array("H"), hashlib.blake2b()
        self._wire, self._wire_digest = bytearray(), hashlib.blake2b()
        self._ordered = 0
        self._final_digest: str | None = None
        self._outside = self.stream("outside")
        self._ambient = Ambient(self)
        self._instant_steps = 0
        self._collector_was_on: bool | None = None

    # -- what scenarios use -------------------------------------------------------------------

    def stream(self, *names: object) -> Stream:
        """The random stream `seed/names...`."""
        return stream(self.seed, *names)

    def at(self, when: float, callback: Callable[[], object]) -> None:
        """Call back at a virtual time, outside of every node."""
        self.push(max(when, self.now), self._outside_call, callback)

    def after(self, delay: float, callback: Callable[[], object]) -> None:
        """Call back that many virtual seconds from now, outside of every node."""
        self.at(self.now + delay, callback)

    def run_until(self, when: float) -> None:
        """Let virtual time pass; returns early when a failure is recorded."""
        self._run(when)
        if not self._halted:
            self.now = max(self.now, when)

    def run_for(self, seconds: float) -> None:
        """Let that many virtual seconds pass; returns early when a failure is recorded."""
        self.run_until(self.now + seconds)

    def run_until_done(self, future: asyncio.Future[T], timeout: float) -> T:
        """The future's result, or its exception.

        Raises TimeoutError when virtual time is up first, and Deadlock when nothing is left that
        could complete it. A recorded failure also ends the run: see `failures`.
        """
        deadline = self.now + timeout
        if not future.done():
            future.add_done_callback(self._halt_for)
            self._run(deadline)
            future.remove_done_callback(self._halt_for)
        if future.done():
            return future.result()
        if self.failures:
            raise AssertionError(self.failures[0].line())
        if not self._heap:
            raise Deadlock(f"{future!r} can never complete: no event is left")
        raise TimeoutError(f"{future!r} was not done at t={self.now:.6f}")

    def fail(self, name: str, detail: str, node: str = "") -> None:
        """Record a violation and stop the world; never raises into the node's code."""
        if self.closing:
            return
        self.failures.append(Failure(self.now, name, detail, node))
        self._halted = True

    @property
    def digest(self) -> str:
        """Hex digest of everything that happened on the wire, when, and in which order."""
        if self._final_digest is None:
            self._digest_all()
            both = self._order_digest.digest() + self._wire_digest.digest()
            return hashlib.blake2b(both, digest_size=16).hexdigest()
        return self._final_digest

    # -- what the engine uses -----------------------------------------------------------------

    def push(self, when: float, function: Callable[[Any], None], argument: Any) -> None:
        """Queue an engine event. The running loop is unspecified while it is executed."""
        self._serial = serial = self._serial + 1
        heapq.heappush(self._heap, (when, serial, function, argument))

    def push_timer(self, when: float, handle: asyncio.TimerHandle) -> None:
        """Queue a node's timer; it goes through the ready queue when its time has come."""
        self._serial = serial = self._serial + 1
        heapq.heappush(self._heap, (when, serial, None, handle))

    def timer_cancelled(self) -> None:
        """Keep the heap from filling with cancelled timers, as deadlines leave thousands."""
        self._cancelled_timers += 1
        if self._cancelled_timers < max(_CANCELLED_TIMERS_MIN, len(self._heap) // 2):
            return
        self._cancelled_timers = 0
        # In place: the run holds a reference. (when, serial) is a total order, so the rebuilt
        # heap pops in exactly the same order.
        self._heap[:] = [e for e in self._heap if e[2] is not None or not e[3]._cancelled]
        heapq.heapify(self._heap)

    def next_order(self) -> int:
        """The next serial number for objects whose hash must not be their address."""
        return next(self._orders)

    def enter(self, loop: NodeLoop | None) -> None:
        """Make a node's loop the running one, or none."""
        if loop is self._entered:
            return
        self._entered = loop
        self.current = None if loop is None else loop.node
        _set_running_loop(loop)
        if loop is not None:
            sys.set_asyncgen_hooks(*loop.generator_hooks)

    @contextmanager
    def acting(self, node: SimNode) -> Iterator[None]:
        """Run code of a node's machine outside its event loop, as a worker process is."""
        self.enter(None)
        self.current = node
        try:
            yield
        finally:
            self.current = None

    def record_wire(self, kind: int, source: int, target: int, data: bytes) -> None:
        """Add one delivery to the digest."""
        wire = self._wire
        place = self._ordered + len(self._order)  # steps would count what onlookers do
        wire += _DELIVERY.pack(kind, self.now, place, source, target, len(data))
        wire += data
        if len(wire) > _WIRE_BYTES_MAX:
            self._digest_all()

    def escaped(self, what: str) -> NoReturn:
        """Refuse to touch the real world on behalf of a node."""
        node = self.current.name if self.current is not None else ""
        self.fail("escaped", f"{what} is not simulated", node)
        raise EscapedSimulation(f"{what} is not simulated")

    def wall_time(self) -> float:
        """Calendar time of the node that is being executed."""
        skew = 0.0 if self.current is None else self.current.wall_skew_s
        return self.epoch + self.now + skew

    def local_time(self) -> float:
        """Monotonic time of the node that is being executed."""
        return self.now if self.current is None else self.current.monotonic()

    def ambient_bytes(self, size: int) -> bytes:
        """What the operating system's generator would give the node that is being executed."""
        source = self._outside if self.current is None else self.current.ambient
        return source.randbytes(size)

    # -- the heart ----------------------------------------------------------------------------

    def _run(self, until: float) -> None:
        self._take_over_collection()
        self._halted = bool(self.failures) and not self.closing
        outer_loop = asyncio_events._get_running_loop()
        outer_hooks = sys.get_asyncgen_hooks()
        with self._ambient.lent():
            try:
                self._drive(until)
            finally:
                self._entered, self.current = None, None
                _set_running_loop(outer_loop)
                sys.set_asyncgen_hooks(*outer_hooks)

    def _drive(self, until: float) -> None:
        """Dispatch in order until time is up, nothing is left, or somebody halts the world."""
        ready, heap, pop = self.ready, self._heap, heapq.heappop
        order = self._order
        next_collection = self.steps + _COLLECT_YOUNG_STEPS
        while not self._halted:
            if ready:
                handle = ready.popleft()
                loop: NodeLoop = handle._loop  # type: ignore[attr-defined]  # private to asyncio
                if handle._cancelled or loop.dead:
                    continue
                if loop.busy_until > self.now:
                    self._serial = serial = self._serial + 1
                    heapq.heappush(heap, (loop.busy_until, serial, ready.append, handle))
                    continue
                if loop.cost_s:
                    loop.busy_until = self.now + loop.cost_s
                if loop is not self._entered:
                    self.enter(loop)
                order.append(loop.number)
                handle._run()
                # An exception's traceback may keep this frame: it must not keep the task in turn.
                del handle
            else:
                if not heap or heap[0][0] > until:
                    return
                when, _, function, argument = pop(heap)
                if when > self.now:
                    self.now, self._instant_steps = when, self.steps
                if function is None:
                    if not argument._cancelled:
                        argument._scheduled = False
                        ready.append(argument)
                    continue
                function(argument)
            self.steps = steps = self.steps + 1
            if steps > next_collection:
                next_collection = steps + _COLLECT_YOUNG_STEPS
                self._housekeep()

    def _housekeep(self) -> None:
        """Collect garbage at fixed steps, so that finalizers run at the same place every time."""
        gc.collect(2 if self.steps % _COLLECT_ALL_STEPS < _COLLECT_YOUNG_STEPS else 1)
        if self.steps - self._instant_steps > self.steps_per_instant_max:
            self.fail("livelock", f"over {self.steps_per_instant_max} steps at one instant")
        self._digest_all()

    def _digest_all(self) -> None:
        """Take into the digest what has gathered: hashing many small pieces is slow."""
        self._ordered += len(self._order)
        self._order_digest.update(self._order.tobytes())
        self._wire_digest.update(self._wire)
        del self._order[:], self._wire[:]

    def _outside_call(self, callback: Callable[[], object]) -> None:
        self.enter(None)
        self.current = None
        try:
            callback()
        except Exception as error:
            self.fail("scenario", f"{type(error).__name__}: {error}")

    def _halt_for(self, _: asyncio.Future[Any]) -> None:
        self._halted = True

    # -- birth and death ----------------------------------------------------------------------

    def _take_over_collection(self) -> None:
        if self._collector_was_on is None:
            self._collector_was_on = gc.isenabled()
            gc.disable()
            self._ambient.look_around()  # before freezing, which hides objects from it
            gc.freeze()

    def close(self) -> None:
        """End every task, without judging what they do on the way. Idempotent."""
        if self.closing:
            return
        self._final_digest = self.digest
        self.closing = True
        with warnings.catch_warnings():
            # A killed process starts no coroutine that it made, and closes nothing: no bug.
            warnings.filterwarnings("ignore", "coroutine .* was never awaited")
            warnings.simplefilter("ignore", ResourceWarning)
            tear_down(self, self._run)
            self.ready.clear()
            self._heap.clear()
            self.graveyard.clear()
            if self._collector_was_on is not None:
                gc.collect()  # while everything else is still frozen: only what the world left
        if self._collector_was_on is not None:
            gc.unfreeze()
            if self._collector_was_on:
                gc.enable()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
