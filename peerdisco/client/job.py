"""`Job`: functions and inputs go in, result URLs come out.

A job may be sent to any node and asked after at any other; the client names it, so repeating the
submission is harmless. Parameters may be given to `run` or be attributes of a subclass.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Self

import msgspec

from peerdisco.client.cluster import Cluster
from peerdisco.client.errors import BadJob, JobError, TimedOut
from peerdisco.client.inputs import Input, find_inputs, push_inputs
from peerdisco.client.names import owner, unique_job_name
from peerdisco.client.progress import Show, display
from peerdisco.client.resolve import Peer, connect
from peerdisco.client.results import ResultUrls
from peerdisco.messages import Grouping, JobSpec, Stage
from peerdisco_webui.messages import JobState, JobView

POLL_S = 10.0
"""Longest wait for one answer; a change is answered at once."""
PAUSE_WHILE_SHOWING_S = 0.05
VERSION_NEVER = 1 << 53
"""Larger than any version: asks for the end of a job only."""

_UNSET: Any = object()
_PICKLING = threading.Lock()
"""Which modules travel is registered with cloudpickle for all threads of a program alike."""

FUNCTIONS = (
    "map",
    "reduce",
    "combiner",
    "partition",
    "map_init",
    "reduce_init",
    "map_reader",
    "reduce_reader",
    "sort",
    "params",
)
"""Parameters that travel to the workers."""


class Job:
    """A MapReduce job.

    Args:
        name: Of an existing job, or the prefix of a new one; the class's name when left out.
        peer: `host:port` of any node, or a client string; see `peerdisco.client.resolve`.
    """

    def __init__(self, name: str | None = None, peer: Peer = None) -> None:
        self.name = name or type(self).__name__
        self._peer = peer

    @property
    def cluster(self) -> Cluster:
        """The cluster that the job belongs to."""
        self._peer = connect(self._peer)
        return self._peer

    def run(  # noqa: PLR0913, RUF100 - the parameters of a Disco job
        self,
        *,
        input: Iterable[Input] = _UNSET,  # noqa: A002 - Disco's name
        map: Callable[..., Any] | None = _UNSET,  # noqa: A002 - Disco's name
        reduce: Callable[..., Any] | None = _UNSET,
        partitions: int | None = _UNSET,
        params: Any = _UNSET,
        combiner: Callable[..., Any] | None = _UNSET,
        partition: Callable[..., int] | None = _UNSET,
        sort: bool = _UNSET,
        map_reader: Callable[..., Any] | None = _UNSET,
        map_init: Callable[..., Any] | None = _UNSET,
        reduce_reader: Callable[..., Any] | None = _UNSET,
        reduce_init: Callable[..., Any] | None = _UNSET,
        save_results: bool = _UNSET,
        save: bool = _UNSET,
        owner: str = _UNSET,
    ) -> Self:
        """Submit the job under a new unique name; returns when it is safe in the cluster.

        A parameter that is not given is taken from the attribute of that name, if there is one.

        Args:
            input: Files of this machine, tags, URLs, or lists of URLs of replicas.
            map: `map(entry, params)` yields (key, value) pairs.
            reduce: `reduce(iter, params)` yields pairs, or `reduce(iter, out, params)` adds them.
            partitions: Into how many parts the map output is cut, and so the number of reduces.
            params: Handed to every function; each task has its own copy.
            combiner: `combiner(key, value, buffer, done, params)`.
            partition: `partition(key, partitions, params)` returns the number of a part.
            sort: Whether reduce sees its input sorted by key.
            map_reader: `map_reader(file, size, url, params)` yields entries; files stay whole.
            map_init: `map_init(iter, params)`, once before the entries of a task.
            reduce_reader: Like map_reader, for the input of reduce.
            reduce_init: Like map_init.
            save_results: Keep the results under the tag `disco:results:<job>`.
            save: The same.
            owner: Who asks, for people; `user@host` when left out.

        Raises:
            BadInput, BadJob: Nothing was submitted.
            NoCluster, Unavailable, Refused: Submitting failed.
        """
        given = {
            name: value for name, value in locals().items() if name not in ("self", "__class__")
        }
        arguments = {name: self._argument(name, value) for name, value in given.items()}
        name = unique_job_name(self.name.partition("@")[0])
        self.cluster.submit(_pack(self.cluster, name, arguments))
        self.name = name
        return self

    def wait(
        self, show: Show = None, timeout: float | None = None, poll_interval: float = POLL_S
    ) -> ResultUrls:
        """Wait for the end; the URLs of the results, for `result_iterator`.

        Args:
            show: Whether to show progress; see `peerdisco.client.progress.Show`.
            timeout: Seconds to wait at most; None for ever.
            poll_interval: Seconds that a node may keep one question open.

        Raises:
            JobError: The job died; the error holds the traceback from the node.
            TimedOut: The job still runs.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        with display(show) as shown:
            job = self.status()
            while True:
                if shown is not None:
                    shown.update(job)
                if job.state.is_final:
                    return self._finish(job)
                left = poll_interval if deadline is None else deadline - time.monotonic()
                if left <= 0:
                    raise TimedOut(f"job {self.name} still runs after {timeout} s")
                if shown is not None:
                    time.sleep(PAUSE_WHILE_SHOWING_S)  # noqa: TID251 - a client, not a node
                since = job.version if shown is not None else VERSION_NEVER
                wait_s = max(min(left, poll_interval), 0.001)
                job = self.cluster.job(self.name, since=since, wait_s=wait_s)

    def status(self) -> JobView:
        """All that the cluster knows of the job now. Raises NotFound."""
        return self.cluster.job(self.name)

    def results(self) -> tuple[str, ResultUrls]:
        """The state in Disco's words, and the result URLs so far."""
        job = self.status()
        return job.state.value, ResultUrls(job.results, self.cluster)

    def events(self, offset: int = 0) -> Iterator[tuple[int, tuple[float, str, str]]]:
        """The history from an offset on, as (next offset, (time, node, text))."""
        while events := self.cluster.events(self.name, after=offset):
            for event in events:
                offset = event.number
                yield offset, (event.at, event.node, event.text)

    def jobinfo(self) -> dict[str, Any]:
        """The status in the form that Disco gave it."""
        job = self.status()
        return {
            "timestamp": job.submitted_at,
            "active": job.state.value,
            "owner": job.owner,
            "pipeline": [
                [stage.name, stage.pending, stage.waiting, stage.running, stage.done, stage.failed]
                for stage in job.stages
            ],
            "hosts": [attempt.node for attempt in job.attempts],
            "results": [replicas[0] for replicas in job.results],
        }

    def kill(self) -> None:
        """Stop the job."""
        self.cluster.kill(self.name)

    def purge(self) -> None:
        """Stop and forget the job, its pushed inputs and its results; a saved tag stays."""
        self.cluster.purge(self.name)

    def __repr__(self) -> str:
        """The job by its name."""
        return f"<{type(self).__name__} {self.name}>"

    def __getstate__(self) -> dict[str, Any]:
        """A job travels when its methods are the job's functions; its connections stay here."""
        return {**self.__dict__, "_peer": None}

    def _argument(self, name: str, given: Any) -> Any:
        if given is not _UNSET:
            return given
        default = {"partitions": 1, "input": ()}.get(name)
        return getattr(self, name, default)

    def _finish(self, job: JobView) -> ResultUrls:
        if job.state is JobState.DEAD:
            message = job.error.message if job.error else "it was killed"
            raise JobError(job.name, message, job.error)
        return ResultUrls(job.results, self.cluster)


def _pack(cluster: Cluster, name: str, arguments: dict[str, Any]) -> bytes:
    """The job pack. What cannot be packed is refused before any file is pushed."""
    # Packing loads cloudpickle; programs that only look at jobs do without.
    from peerdisco import jobpack

    functions = {key: arguments[key] for key in FUNCTIONS if arguments[key] is not None}
    spec = JobSpec(
        name=name,
        owner=arguments["owner"] or owner(),
        stages=pipeline(arguments),
        inputs=(),
        partitions=_partitions(arguments["partitions"]),
        python=jobpack.PYTHON,
        submitted_at=time.time_ns() / 1e9,
        save_results=bool(arguments["save_results"] or arguments["save"]),
    )
    found = find_inputs(cluster, arguments["input"])
    try:
        if any(isinstance(entry, Path) for entry in found):
            _build(spec, functions)
        split = arguments["map_reader"] is None and arguments["map"] is not None
        pushed = push_inputs(cluster, name, found, split=split)
        spec = msgspec.structs.replace(
            spec,
            inputs=pushed.inputs,
            origins=pushed.origins,
            temporary_tag=pushed.temporary_tag,
        )
        return _build(spec, functions)
    except jobpack.Unpicklable as error:
        raise BadJob(str(error)) from error


def _build(spec: JobSpec, functions: dict[str, Any]) -> bytes:
    from peerdisco import jobpack

    with _PICKLING:
        return jobpack.build(spec, functions)


def pipeline(arguments: dict[str, Any]) -> tuple[Stage, ...]:
    """The stages of a classic job (Disco's translation, without the shuffle stages)."""
    mapping, reducing = arguments["map"] is not None, arguments["reduce"] is not None
    if not mapping and not reducing:
        raise BadJob("a job needs a map or a reduce function")
    stages = [Stage("map", Grouping.SPLIT)] if mapping else []
    if reducing:
        many = mapping and _partitions(arguments["partitions"]) > 1
        stages.append(Stage("reduce", Grouping.GROUP_LABEL if many else Grouping.GROUP_ALL))
    return tuple(stages)


def _partitions(value: object) -> int:
    if value is None:
        return 0
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise BadJob(f"partitions is a whole number or None, not {value!r}")
    return value
