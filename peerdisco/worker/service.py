"""A worker without its process: one request frame in, response frames out.

The real process (`__main__.py`) and the simulator drive the same Service. It runs to the end of a
task inside `handle`, pausing only to hand out a frame, and it never raises for what a job does:
that is what Completed(Failed) is for.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import TextIO

from peerdisco.dataflow.files import Files
from peerdisco.dataflow.segments import Segment
from peerdisco.messages import ErrorKind, Failed, Finished, Output, TaskError
from peerdisco.worker.failure import explain
from peerdisco.worker.functions import FunctionCache
from peerdisco.worker.log import Log
from peerdisco.worker.messages import (
    BadMessage,
    Completed,
    Progress,
    Response,
    RunTask,
    decode_request,
    encode,
)
from peerdisco.worker.tasks import Task

PROGRESS_SECONDS = 0.5
"""A frame of progress is due after this long..."""

PROGRESS_STEPS = 256
"""...or after this many steps, whichever is first."""


def _no_clock() -> float:
    return 0.0


class Service:
    """Runs tasks, one after another, and keeps the last jobs' functions.

    Arguments:
        files: The node's files.
        name: Names this worker in tracebacks.
        clock: Seconds of any origin, to pace progress; without one, steps alone pace it.
        cpu_clock: CPU seconds that the process has used.
        log_copy: Where the user's output goes beside the frames.
    """

    def __init__(
        self,
        files: Files,
        *,
        name: str = "worker",
        clock: Callable[[], float] = _no_clock,
        cpu_clock: Callable[[], float] = _no_clock,
        log_copy: TextIO | None = None,
    ) -> None:
        self._files = files
        self._functions = FunctionCache(files)
        self._name = name
        self._clock = clock
        self._cpu_clock = cpu_clock
        self._log_copy = log_copy

    def handle(self, frame: bytes) -> Iterator[bytes]:
        """Run what a frame asks for; the frames to answer, the last being Completed."""
        try:
            request = decode_request(frame)
        except BadMessage as error:
            yield encode(Completed(Failed(TaskError(ErrorKind.NODE, str(error)))))
            return
        for response in self._run(request):
            yield encode(response)

    def _run(self, request: RunTask) -> Iterator[Response]:
        log = Log(self._log_copy)
        attempt = _Attempt(request, self._functions, self._files)
        cpu_start = self._cpu_clock()
        steps, reported = 0, self._clock()
        try:
            while True:
                with log.capturing():
                    segments = attempt.step()
                if segments is not None:
                    break
                steps += 1
                if steps >= PROGRESS_STEPS or self._clock() - reported >= PROGRESS_SECONDS:
                    yield attempt.progress(log.take())
                    steps, reported = 0, self._clock()
        except GeneratorExit:
            raise
        except BaseException as error:  # also SystemExit: a user's function may not end a worker
            yield Completed(Failed(attempt.explain(error, self._name)), log.take(last=True))
            return
        finally:
            attempt.close()
        finished = attempt.finished(segments, self._cpu_clock() - cpu_start)
        yield Completed(finished, log.take(last=True))


class _Attempt:
    """A task with its steps; the task comes to be in the first one, as loading runs user code."""

    def __init__(self, request: RunTask, functions: FunctionCache, files: Files) -> None:
        self._request = request
        self._functions = functions
        self._files = files
        self._task: Task | None = None
        self._steps: Generator[None, None, list[Segment]] | None = None

    def step(self) -> list[Segment] | None:
        """Go on until the next pause; the segments when the task is done."""
        if self._steps is None:
            request = self._request
            functions = self._functions.load(request.assignment.pack, request.pack_path)
            self._task = Task(request, functions, self._files)
            self._steps = self._task.run()
        try:
            next(self._steps)
        except StopIteration as end:
            segments: list[Segment] = end.value
            return segments
        return None

    def close(self) -> None:
        """Release the files that a failed task still holds."""
        if self._steps is not None:
            self._steps.close()
        if self._task is not None:
            self._task.entries.close()

    def progress(self, log: tuple[str, ...]) -> Progress:
        assert self._task is not None
        return Progress(self._task.records_in, self._task.records_out, log)

    def finished(self, segments: list[Segment], cpu_s: float) -> Finished:
        assert self._task is not None
        outputs = tuple(Output(part.label, part.path, part.size, part.records) for part in segments)
        return Finished(outputs, self._task.records_in, self._task.records_out, cpu_s)

    def explain(self, error: BaseException, worker: str) -> TaskError:
        entries = self._task.entries if self._task is not None else None
        task = self._request.assignment
        return explain(
            error,
            url=entries.url if entries is not None else "",
            record=entries.position if entries is not None else -1,
            place=f"{worker}: {task.stage_name} task {task.task}, attempt {task.attempt}",
        )
