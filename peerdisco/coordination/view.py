"""A job's state as people see it. Pure; the archive keeps the last such view."""

from __future__ import annotations

from itertools import islice

from peerdisco.coordination.facts import JobPhase
from peerdisco.coordination.messages import JobStatus, JobSummary, RunningAttempt, StageStatus
from peerdisco.coordination.state import JobState

RUNNING_SHOWN_MAX = 100


def job_status(
    name: str, state: JobState, *, coordinator: str, term: int, voters: tuple[str, ...]
) -> JobStatus:
    """The status of a job."""
    stages = _stages(state)
    return JobStatus(
        name=name,
        owner=state.spec.owner if state.spec else "",
        status=state.phase,
        version=state.version,
        stages=stages,
        records=stages[0].records_in if stages else 0,
        coordinator=coordinator,
        term=term,
        voters=voters,
        submitted=state.submitted_at,
        ended=state.ended_at,
        error=state.error,
        results=state.results,
        events=tuple(state.events),
        events_told=state.events_told,
        running=_running(state),
        inputs=len(state.inputs or ()),
    )


def job_summary(status: JobStatus) -> JobSummary:
    """One line about a job."""
    counts = [stage.pending + stage.waiting + stage.running for stage in status.stages]
    done = sum(stage.done for stage in status.stages)
    return JobSummary(
        name=status.name,
        owner=status.owner,
        status=status.status,
        submitted=status.submitted,
        ended=status.ended,
        coordinator=status.coordinator,
        tasks_done=done,
        tasks=done + sum(counts),
    )


def _stages(state: JobState) -> tuple[StageStatus, ...]:
    if state.spec is None:
        return ()
    shown = []
    for number, step in enumerate(state.spec.stages):
        if number < len(state.stages):
            shown.append(_stage(state, number))
        else:
            shown.append(StageStatus(step.name))
    return tuple(shown)


def _stage(state: JobState, number: int) -> StageStatus:
    assert state.spec is not None
    stage, idle = state.stages[number], state.idle[number]
    # A job that has ended waits for nothing, whatever it left undone.
    ready = 0 if state.ended else sum(state.ready((number, task)) for task in idle)
    done = [task for task in stage.tasks if task.done]
    return StageStatus(
        name=state.spec.stages[number].name,
        pending=len(idle) - ready,
        waiting=ready,
        running=sum(bool(task.running) for task in stage.tasks),
        done=stage.done,
        failed=stage.failed,
        records_in=sum(task.records_in for task in done),
        records_out=sum(task.records_out for task in done),
        cpu_s=sum(task.cpu_s for task in done),
        opened=True,
    )


def _running(state: JobState) -> tuple[RunningAttempt, ...]:
    if state.spec is None or state.phase is not JobPhase.ACTIVE:
        return ()
    return tuple(
        RunningAttempt(
            state.spec.stages[attempt.stage].name,
            attempt.task,
            number,
            attempt.node,
            attempt.at,
            attempt.backup,
        )
        for number, attempt in islice(state.attempts.items(), RUNNING_SHOWN_MAX)
    )
