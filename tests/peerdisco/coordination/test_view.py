"""A job as people see it."""

from __future__ import annotations

from peerdisco.coordination.facts import (
    Assigned,
    AttemptEnded,
    InputsResolved,
    JobEnded,
    JobPhase,
    JobSubmitted,
    StageOpened,
)
from peerdisco.coordination.messages import JobStatus, RunningAttempt, StageStatus
from peerdisco.coordination.state import JobState
from peerdisco.coordination.view import job_status, job_summary
from peerdisco.messages import (
    ErrorKind,
    Failed,
    Finished,
    Grouping,
    Input,
    JobSpec,
    Output,
    Stage,
    TaskError,
)

STAGES = (Stage("map", Grouping.SPLIT), Stage("reduce", Grouping.GROUP_ALL))


def view(state: JobState) -> JobStatus:
    return job_status("j", state, coordinator="n0", term=2, voters=("n0",))


def running_job() -> JobState:
    state = JobState()
    state.apply(JobSubmitted(JobSpec("j", "me", STAGES, (), 1, "3.11"), "pack", 10.0))
    inputs = tuple(Input((f"raw://{n}",)) for n in range(3))
    state.apply(InputsResolved(inputs, ("",) * 3, 10.0))
    state.apply(StageOpened(0, 10.0))
    for task, attempt in ((0, 1), (1, 2)):
        state.apply(Assigned(0, task, attempt, "n1", 11.0))
    outputs = (Output(0, "segment://n1/x", 1, 1),)
    state.apply(AttemptEnded(1, Finished(outputs, 5, 1, 0.5), 12.0))
    return state


def test_the_five_counts_are_discos() -> None:
    state = running_job()
    map_stage, reduce_stage = view(state).stages
    assert map_stage == StageStatus("map", 0, 1, 1, 1, 0, 5, 1, 0.5, opened=True)
    assert reduce_stage == StageStatus("reduce")
    state.apply(AttemptEnded(2, Failed(TaskError(ErrorKind.USER, "boom")), 12.0))
    assert view(state).stages[0] == StageStatus("map", 0, 2, 0, 1, 1, 5, 1, 0.5, opened=True)


def test_a_status_says_what_runs_where_since_when() -> None:
    status = view(running_job())
    assert status.running == (RunningAttempt("map", 1, 2, "n1", 11.0),)
    assert (status.records, status.inputs, status.submitted) == (5, 3, 10.0)
    assert status.events[-1].message == "DONE: [map:0] Task finished in 1.000 s"


def test_a_summary_counts_tasks() -> None:
    summary = job_summary(view(running_job()))
    assert (summary.tasks_done, summary.tasks, summary.coordinator) == (1, 3, "n0")


def test_nothing_runs_in_a_job_that_has_ended() -> None:
    state = running_job()
    state.apply(JobEnded(JobPhase.KILLED, (), None, 20.0))
    status = view(state)
    assert status.running == ()
    assert (status.status, status.ended) == (JobPhase.KILLED, 20.0)
    assert status.stages[0].running == 0


def test_a_job_that_has_not_arrived_has_a_status_too() -> None:
    assert view(JobState()).stages == ()
