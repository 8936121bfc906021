"""Which task a node should get next: pure, asked by the coordinator at every pull.

Binding is late: nothing is planned ahead, a node with a free slot gets the best task of that
moment. In this order:

1. a ready task whose inputs lie on the node, or on no node;
2. a ready task that has waited for a local node for `locality_delay_s`, or has none alive;
3. when nothing at all is ready, a backup of an attempt that is much slower than its stage.

A task that failed on a node goes to another one while there is one and patience lasts; failures
that are not the user's are retried with growing pauses, and so is a task whose inputs are out of
reach, from the second time on: it would else use up its patience within seconds. An attempt that
vanished with its node is repeated at once.

The scheduler keeps times of the leader's own clock only, so a new leader starts without any; that
costs a little locality, never correctness.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

from peerdisco.coordination.state import JobState
from peerdisco.coordination.tasks import Task, TaskKey
from peerdisco.messages import ErrorKind, Input


@dataclass(frozen=True, slots=True)
class SchedulerConfig:
    """Times in seconds.

    Attributes:
        locality_delay_s: How long a task may wait for a node that has its inputs.
        retry_elsewhere_s: How long a failed task may wait for a node on which it did not fail.
        retry_pause_s: Pause before the first retry that is not the user's fault, and before the one
            after inputs were out of reach for the second time; doubles.
        retry_pause_max_s: The longest pause after a failure.
        starved_pause_max_s: The longest pause for inputs: where nodes come and go all the time,
            what a task reads is there for moments only.
        backup_after_s: No attempt younger than this gets a backup.
        backup_factor: Nor one younger than so many medians of its stage.
        backup_blind_s: How old an attempt must be when nobody knows how long its stage takes: none
            has succeeded, or none since this leader was elected. Its worker may hang for ever.
        scan_max: How many waiting tasks of a stage are looked at for one choice.
    """

    locality_delay_s: float = 0.2
    retry_elsewhere_s: float = 5.0
    retry_pause_s: float = 0.1
    retry_pause_max_s: float = 8.0
    starved_pause_max_s: float = 1.0
    backup_after_s: float = 2.0
    backup_factor: float = 2.0
    backup_blind_s: float = 30.0
    scan_max: int = 128


@dataclass(frozen=True, slots=True)
class Choice:
    """What to give to a node.

    Attributes:
        task: The task, or None for nothing now.
        backup: Whether it is a second copy of an attempt that runs.
        again_at: When nothing is to be had now: the time at which asking again may help.
    """

    task: TaskKey | None = None
    backup: bool = False
    again_at: float | None = None


@dataclass(frozen=True, slots=True)
class _Wait:
    """Since when a task waits (for the attempt after `tries` ended ones), and where it is local."""

    since: float
    tries: int
    local: frozenset[str]


class Scheduler:
    """Chooses tasks of one job. `locate` names the nodes that hold an input, without any I/O."""

    def __init__(self, config: SchedulerConfig, locate: Callable[[Input], Sequence[str]]) -> None:
        self._config = config
        self._locate = locate
        self._waits: dict[TaskKey, _Wait] = {}
        self._started: dict[int, float] = {}
        self._durations: dict[int, list[float]] = {}

    def started(self, attempt: int, now: float) -> None:
        """An attempt was assigned, or was found running by a new leader."""
        self._started[attempt] = now

    def ended(self, attempt: int, stage: int | None, now: float) -> None:
        """An attempt ended; `stage` is given for a success and counts for the median."""
        began = self._started.pop(attempt, None)
        if began is not None and stage is not None:
            insort(self._durations.setdefault(stage, []), now - began)

    def choose(self, state: JobState, node: str, *, alive: Sequence[str], now: float) -> Choice:
        """What a node with a free slot should run. Changes nothing but notes of waiting times."""
        again: list[float] = []
        nothing_ready = True
        for stage, idle in enumerate(state.idle):
            fallback: TaskKey | None = None
            for number in islice(idle, self._config.scan_max):
                key = (stage, number)
                if not state.ready(key):
                    continue
                nothing_ready = False
                wait = self._wait(state, key, now)
                due = self._due(state.task(key), wait, node, alive)
                if due > now:
                    again.append(due)
                elif node in wait.local or not wait.local:
                    return Choice(key)
                elif fallback is None:
                    fallback = key
            if fallback is not None:
                return Choice(fallback)
        if nothing_ready and not state.ended:
            return self._backup(state, node, now)
        return Choice(again_at=min(again, default=None))

    def _wait(self, state: JobState, key: TaskKey, now: float) -> _Wait:
        task = state.task(key)
        tries = sum(task.failures.values()) + task.losses + task.starved
        wait = self._waits.get(key)
        if wait is None or wait.tries != tries:
            # Segments move when their producers run again, so a retry looks for its inputs anew.
            wait = self._waits[key] = _Wait(now, tries, self._local(state.inputs_of(key)))
        return wait

    def _local(self, inputs: Sequence[Input]) -> frozenset[str]:
        """Nodes that hold at least half as many bytes of the inputs as the best one."""
        weights: dict[str, int] = {}
        for item in inputs:
            for node in self._locate(item):
                weights[node] = weights.get(node, 0) + max(1, item.size)
        best = max(weights.values(), default=0)
        return frozenset(node for node, weight in weights.items() if 2 * weight >= best)

    def _due(self, task: Task, wait: _Wait, node: str, alive: Sequence[str]) -> float:
        """From when on this node may have the task."""
        innocent = sum(n for kind, n in task.failures.items() if kind is not ErrorKind.USER)
        pause = self._pause(innocent, self._config.retry_pause_max_s)
        starved = self._pause(task.starved - 1, self._config.starved_pause_max_s)
        due = wait.since + max(pause, starved)
        if node not in wait.local and any(other in wait.local for other in alive):
            due = max(due, wait.since + self._config.locality_delay_s)
        if node in task.failed_on and any(other not in task.failed_on for other in alive):
            due = max(due, wait.since + self._config.retry_elsewhere_s)
        return due

    def _pause(self, count: int, longest: float) -> float:
        """How long to wait after so many failures; it doubles with each."""
        if count <= 0:
            return 0.0
        return min(self._config.retry_pause_s * 2.0 ** min(count - 1, 16), longest)

    def _backup(self, state: JobState, node: str, now: float) -> Choice:
        """A second copy of the attempt that is most overdue, if one is."""
        oldest: TaskKey | None = None
        oldest_due, again = now, []
        for number, attempt in state.attempts.items():
            key = (attempt.stage, attempt.task)
            durations = self._durations.get(attempt.stage)
            task = state.task(key)
            if attempt.node == node or len(task.running) > 1:
                continue
            if node in task.failed_on:
                continue
            if not state.ready(key):
                continue  # outputs were lost meanwhile, and a copy would read only the rest
            allowed = self._config.backup_blind_s
            if durations:
                median = durations[len(durations) // 2]
                allowed = max(self._config.backup_after_s, self._config.backup_factor * median)
            due = self._started.get(number, now) + allowed
            if due > now:
                again.append(due)
            elif oldest is None or due < oldest_due:
                oldest, oldest_due = key, due
        if oldest is not None:
            return Choice(oldest, backup=True)
        return Choice(again_at=min(again, default=None))
