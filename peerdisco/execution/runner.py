"""One attempt from its Assignment to its Outcome: stage, work, publish, clean up.

Intermediate outputs stay here as segments, which peers read until the job is forgotten; final ones
become blobs. `run` always returns an Outcome; only cancelling it ends it otherwise, and that kills
the worker. What an ended attempt leaves behind is removed by `serve`, so that cancelling is quick.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Iterable
from contextlib import aclosing
from dataclasses import dataclass, field

import msgspec

from peerdisco.execution.config import ExecutionConfig
from peerdisco.execution.messages import METHOD
from peerdisco.execution.paths import (
    SEGMENTS,
    SPOOL,
    attempt_directory,
    job_directory,
    job_of,
    pack_name,
    segment_url,
)
from peerdisco.execution.pool import NoSlot, Pool, WorkerLost
from peerdisco.execution.ports import Blobs, NodeId, Rpc
from peerdisco.execution.segments import SegmentServer
from peerdisco.execution.spool import Spool, SpoolFull, read_file
from peerdisco.execution.staging import Stager, Unreadable
from peerdisco.machine import Disk, Processes
from peerdisco.messages import (
    Assignment,
    ErrorKind,
    Failed,
    Finished,
    InputsLost,
    Outcome,
    Output,
    TaskError,
)
from peerdisco.worker.messages import LocalInput, Progress, RunTask

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Running:
    """An attempt that runs on this node now, for status pages.

    Attributes:
        assignment: The attempt.
        started_at: On the loop's clock.
        records_in: Entries read so far.
        records_out: Records produced so far.
        log: The lines that its code printed last.
        forgotten: Whether its job was forgotten meanwhile, so that nothing of it may stay.
    """

    assignment: Assignment
    started_at: float
    log: deque[str]
    records_in: int = 0
    records_out: int = 0
    forgotten: bool = False

    def report(self, progress: Progress) -> None:
        """Take a worker's report."""
        self.records_in = progress.records_in
        self.records_out = progress.records_out
        self.log.extend(progress.log)


@dataclass(slots=True)
class _Pack:
    """A job's pack on this node; the lock lets one attempt fetch it for all."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    path: str = ""


class Runner:
    """Runs attempts on this node.

    Arguments:
        me: This node.
        name: Its name, for people, in errors.
    """

    def __init__(
        self,
        me: NodeId,
        name: str,
        disk: Disk,
        processes: Processes,
        blobs: Blobs,
        rpc: Rpc,
        config: ExecutionConfig,
    ) -> None:
        self._me = me
        self._name = name
        self._disk = disk
        self._blobs = blobs
        self._config = config
        self._pool = Pool(processes, config)
        self._stager = Stager(me, disk, rpc, blobs, config)
        self._running: dict[int, Running] = {}
        self._logs: OrderedDict[tuple[str, int], deque[str]] = OrderedDict()
        self._packs: dict[tuple[str, str], _Pack] = {}
        self._garbage: list[str] = []
        self._garbage_came = asyncio.Event()
        self._removing = asyncio.Lock()
        self._ready = asyncio.Event()
        self._runs = 0
        rpc.serve_fetch(METHOD, SegmentServer(disk).answer)

    @property
    def slots(self) -> int:
        """How many attempts may run at the same time."""
        return self._config.slots

    async def serve(self) -> None:
        """Keep workers and clean up, until cancelled. Attempts wait until it has begun."""
        await self._disk.remove_tree(SPOOL)
        self._ready.set()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pool.supervise())
            group.create_task(self._collect_garbage())

    async def run(self, assignment: Assignment) -> Outcome:
        """Run an attempt to its end. Cancelling kills it; every failure is an Outcome."""
        number, self._runs = self._runs, self._runs + 1
        job, attempt = assignment.job, assignment.attempt
        spool = attempt_directory(SPOOL, job, attempt, number)
        target = attempt_directory(SEGMENTS, job, attempt, number)
        running = self._begin(number, assignment)
        kept = False
        try:
            outcome = await self._attempt(running, spool, target)
            kept = isinstance(outcome, Finished) and not assignment.final
            return outcome
        finally:
            del self._running[number]
            self._discard([spool] if kept and not running.forgotten else [spool, target])

    def running(self) -> list[Running]:
        """The attempts that run now, oldest first."""
        return list(self._running.values())

    def log(self, job: str, attempt: int) -> list[str]:
        """What an attempt's code printed last, if that is remembered."""
        return list(self._logs.get((job, attempt), ()))

    async def jobs(self) -> list[str]:
        """The jobs that have segments on this node; the forgotten ones among them are garbage."""
        return [job_of(name) for name in await self._disk.list(SEGMENTS)]

    async def forget(self, job: str) -> None:
        """Remove everything of a job. Attempts that still run leave nothing behind either.

        Raises OSError of the disk; repeating it is harmless.
        """
        for running in self._running.values():
            running.forgotten = running.forgotten or running.assignment.job == job
        for pack in [pack for pack in self._packs if pack[0] == job]:
            del self._packs[pack]
        for attempt in [attempt for attempt in self._logs if attempt[0] == job]:
            del self._logs[attempt]
        for root in (SEGMENTS, SPOOL):
            await self._remove(job_directory(root, job))

    async def _attempt(self, running: Running, spool: str, target: str) -> Outcome:
        assignment = running.assignment
        try:
            async with asyncio.timeout(self._config.start_timeout_s):
                await self._ready.wait()
        except TimeoutError:
            return self._failed(ErrorKind.NODE, "the node is not ready to run tasks")
        try:
            pack = await self._pack(assignment)
        except Exception as error:  # the blobs' own errors
            return self._failed(ErrorKind.INPUT, f"cannot read the job pack: {error}")
        try:
            limits = Spool(self._disk, spool, self._config.spool_bytes_max)
            staged = await self._stager.inputs(assignment, limits)
            inputs = [one for one in staged if isinstance(one, LocalInput)]
            if len(inputs) < len(staged):
                return self._unreadable(
                    running.assignment, (one for one in staged if isinstance(one, Unreadable))
                )
            outcome = await self._work(running, pack, inputs, target)
            return self._with_log(running, await self._publish(assignment, outcome))
        except SpoolFull as full:
            return self._failed(ErrorKind.NODE, full.strerror or str(full))
        except (OSError, NoSlot) as error:
            return self._failed(ErrorKind.NODE, f"the node could not run it: {error}")

    async def _work(
        self, running: Running, pack: str, inputs: list[LocalInput], target: str
    ) -> Outcome:
        memory = self._config.memory_bytes_max
        request = RunTask(running.assignment, pack, tuple(inputs), target, memory)
        try:
            completed = await self._pool.execute(request, running.report)
        except WorkerLost as lost:
            running.log.extend(lost.log_tail.splitlines())
            url = inputs[0].url if len(inputs) == 1 else ""
            return self._failed(ErrorKind.WORKER_LOST, str(lost), traceback=lost.log_tail, url=url)
        running.log.extend(completed.log)
        if isinstance(completed.outcome, Failed):
            return self._explain(running.assignment, completed.outcome.error)
        return completed.outcome

    def _with_log(self, running: Running, outcome: Outcome) -> Outcome:
        """The outcome with the last lines that the user's code printed."""
        if isinstance(outcome, InputsLost) or not running.log:
            return outcome
        lines = list(running.log)[-self._config.log_lines_told :]
        log = tuple(line[: self._config.log_line_characters_told] for line in lines)
        return msgspec.structs.replace(outcome, log=log)

    def _explain(self, assignment: Assignment, error: TaskError) -> Outcome:
        given = [one for one in assignment.inputs if one.producer < 0 and one.urls]
        if not error.input and len(given) == len(assignment.inputs) == 1:
            error = msgspec.structs.replace(error, input=given[0].urls[0])
        bad = [one for one in assignment.inputs if error.input in one.urls]
        if error.kind is ErrorKind.INPUT:
            producers = tuple(sorted({one.producer for one in bad if one.producer >= 0}))
            if producers:
                return InputsLost(producers)
        origin = bad[0].origin if bad else ""
        return Failed(msgspec.structs.replace(error, node=self._name, origin=origin))

    def _unreadable(self, assignment: Assignment, unreadable: Iterable[Unreadable]) -> Outcome:
        """What was made by a task can be made again; what was not is the user's to see to."""
        missing = list(unreadable)
        for one in missing:
            if one.input.producer < 0:
                url = one.input.urls[0] if one.input.urls else ""
                return self._explain(assignment, TaskError(ErrorKind.INPUT, str(one), input=url))
        return InputsLost(tuple(sorted({one.input.producer for one in missing})))

    async def _publish(self, assignment: Assignment, outcome: Outcome) -> Outcome:
        if not isinstance(outcome, Finished):
            return outcome
        if not assignment.final:
            outputs = [
                msgspec.structs.replace(output, url=segment_url(self._me, output.url))
                for output in outcome.outputs
            ]
            return msgspec.structs.replace(outcome, outputs=tuple(outputs))
        try:
            outputs = [await self._store(assignment.job, output) for output in outcome.outputs]
        except Exception as error:  # the blobs' own errors
            return self._failed(ErrorKind.NODE, f"cannot store the result: {error}")
        return msgspec.structs.replace(outcome, outputs=tuple(outputs))

    async def _store(self, job: str, output: Output) -> Output:
        async with aclosing(read_file(self._disk, output.url, 0, output.size)) as pieces:
            info = await self._blobs.put(pieces, owner=job)
        return msgspec.structs.replace(output, url=f"blob:{info.id}")

    async def _pack(self, assignment: Assignment) -> str:
        pack = self._packs.setdefault((assignment.job, assignment.pack), _Pack())
        async with pack.lock:
            if not pack.path or await self._disk.size(pack.path) is None:
                directory = job_directory(SPOOL, assignment.job)
                spool = Spool(self._disk, directory, self._config.spool_bytes_max)
                name = pack_name(assignment.pack)
                pack.path = await self._stager.blob(assignment.pack, spool, name)
            return pack.path

    def _begin(self, number: int, assignment: Assignment) -> Running:
        log: deque[str] = deque(maxlen=self._config.log_lines_max)
        self._logs[assignment.job, assignment.attempt] = log
        while len(self._logs) > self._config.logs_max:
            self._logs.popitem(last=False)
        running = Running(assignment, asyncio.get_running_loop().time(), log)
        self._running[number] = running
        return running

    def _failed(
        self, kind: ErrorKind, message: str, *, traceback: str = "", url: str = ""
    ) -> Failed:
        return Failed(TaskError(kind, message, traceback, url, node=self._name))

    def _discard(self, directories: list[str]) -> None:
        self._garbage += directories
        self._garbage_came.set()

    async def _remove(self, directory: str) -> None:
        """One at a time: a removal that meets another in the same tree might give up."""
        async with self._removing:
            await self._disk.remove_tree(directory)

    async def _collect_garbage(self) -> None:
        while True:
            await self._garbage_came.wait()
            self._garbage_came.clear()
            while self._garbage:
                directory = self._garbage.pop()
                try:
                    await self._remove(directory)
                except OSError as error:  # only space is lost, until the next start
                    logger.warning(f"event=garbage_stays directory={directory} error={error}")
