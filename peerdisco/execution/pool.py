"""Warm worker processes, one task at a time in each.

An attempt takes an idle worker or starts one, and gives it back when it has ended well. A worker
that crashed, was cancelled amid a task, or has done its share is killed and never reused. The
pool does not know what tasks are made of. Next: `runner.py`.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from peerdisco.execution.config import ExecutionConfig
from peerdisco.machine import Process, Processes
from peerdisco.messages import BadMessage
from peerdisco.worker.messages import Completed, Progress, RunTask, decode_response, encode


class WorkerLost(Exception):
    """The worker process ended amid a task. Its outputs are worthless.

    Attributes:
        log_tail: The last lines that it wrote.
    """

    def __init__(self, reason: str, log_tail: str) -> None:
        super().__init__(reason)
        self.log_tail = log_tail


class NoSlot(Exception):
    """All slots stayed taken. Nothing was started."""


@dataclass(slots=True, eq=False)
class _Worker:
    process: Process
    tasks: int = 0
    idle_since: float = 0.0


class Pool:
    """The worker processes of this node."""

    def __init__(self, processes: Processes, config: ExecutionConfig) -> None:
        self._processes = processes
        self._config = config
        self._slots = asyncio.Semaphore(config.slots)
        self._idle: list[_Worker] = []
        self._busy: list[_Worker] = []
        self._ended: list[_Worker] = []
        self._changed = asyncio.Event()

    async def supervise(self) -> None:
        """Keep workers warm, end idle ones, reap ended ones; cancelled, it ends them all."""
        try:
            while True:
                await self._reap()
                self._end_idle()
                await self._warm_up()
                self._changed.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._config.worker_idle_s):
                        await self._changed.wait()
        finally:
            for worker in [*self._idle, *self._busy]:
                self._discard(worker)
            await self._reap()

    async def execute(self, request: RunTask, on_progress: Callable[[Progress], None]) -> Completed:
        """Run a task in a worker; cancelling kills the worker.

        Raises WorkerLost, NoSlot, and OSError when no worker could be started.
        """
        try:
            async with asyncio.timeout(self._config.slot_wait_s):
                await self._slots.acquire()
        except TimeoutError:
            raise NoSlot(f"no slot became free in {self._config.slot_wait_s:.0f} s") from None
        try:
            return await self._execute(encode(request), on_progress)
        finally:
            self._slots.release()

    async def _execute(self, frame: bytes, on_progress: Callable[[Progress], None]) -> Completed:
        while True:
            worker = self._idle.pop() if self._idle else await self._start()
            try:
                self._busy.append(worker)
                completed = await self._converse(worker, frame, on_progress)
            except BaseException:
                self._discard(worker)
                raise
            if worker not in self._busy:
                raise WorkerLost("the node stops, and its workers with it", "")
            self._busy.remove(worker)
            if completed is not None:
                self._put_back(worker)
                return completed
            self._discard(worker)

    async def _converse(
        self, worker: _Worker, frame: bytes, on_progress: Callable[[Progress], None]
    ) -> Completed | None:
        """The end of the conversation; None if the worker had died before, while it was idle."""
        process, reused = worker.process, worker.tasks > 0
        worker.tasks += 1
        try:
            async with asyncio.timeout(self._config.task_timeout_s):
                try:
                    await process.send(frame)
                    answer = await process.receive()
                except ConnectionError:
                    answer = None
                if answer is None and reused:
                    return None
                while answer is not None:
                    response = decode_response(answer)
                    if isinstance(response, Completed):
                        return response
                    on_progress(response)
                    answer = await process.receive()
        except BadMessage as error:
            raise WorkerLost(f"the worker process answered nonsense: {error}", "") from error
        except TimeoutError:
            limit = f"{self._config.task_timeout_s:.0f} s"
            raise WorkerLost(f"the task was still running after {limit}", "") from None
        log_tail = process.log_tail()  # before it is reaped and its log with it
        raise WorkerLost(await self._epitaph(process), log_tail)

    async def _epitaph(self, process: Process) -> str:
        try:
            async with asyncio.timeout(self._config.end_timeout_s):
                status = await process.wait()
        except TimeoutError:
            return "the worker process closed its output and went on running"
        if status >= 0:
            return f"the worker process ended with status {status}"
        return f"the worker process was killed by {_signal_name(-status)}"

    async def _start(self) -> _Worker:
        try:
            async with asyncio.timeout(self._config.start_timeout_s):
                return _Worker(await self._processes.start_worker())
        except TimeoutError:
            raise OSError("a worker process did not start in time") from None

    async def _warm_up(self) -> None:
        while len(self._idle) + len(self._busy) < min(
            self._config.workers_warm, self._config.slots
        ):
            try:
                self._idle.append(await self._start())
            except OSError:
                return  # The next attempt that needs a worker reports it.

    def _put_back(self, worker: _Worker) -> None:
        if worker.tasks >= self._config.worker_tasks_max:
            self._discard(worker)
            return
        worker.idle_since = asyncio.get_running_loop().time()
        self._idle.append(worker)

    def _end_idle(self) -> None:
        """The longest idle come first, since the latest is taken first."""
        now = asyncio.get_running_loop().time()
        surplus = len(self._idle) + len(self._busy) - self._config.workers_warm
        for worker in self._idle[: max(0, surplus)]:
            if now - worker.idle_since >= self._config.worker_idle_s:
                self._discard(worker)

    def _discard(self, worker: _Worker) -> None:
        for workers in (self._idle, self._busy):
            if worker in workers:
                workers.remove(worker)
        worker.process.kill()
        self._ended.append(worker)
        self._changed.set()

    async def _reap(self) -> None:
        while self._ended:
            worker = self._ended.pop()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._config.end_timeout_s):
                    await worker.process.wait()


def _signal_name(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
    return f"{name} (memory may have run out)" if name == "SIGKILL" else name
