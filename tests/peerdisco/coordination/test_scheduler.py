"""Who gets what: locality, patience, other nodes, backups."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from peerdisco.coordination.facts import (
    Assigned,
    AttemptEnded,
    AttemptLost,
    InputsResolved,
    JobSubmitted,
    NodeLost,
    StageOpened,
)
from peerdisco.coordination.scheduler import Choice, Scheduler, SchedulerConfig
from peerdisco.coordination.state import JobState
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

CONFIG = SchedulerConfig()
ALIVE = ["a", "b", "c"]


def job(homes: list[list[str]]) -> tuple[JobState, Scheduler]:
    """A running map stage with one task for each list of home nodes."""
    inputs = tuple(Input((f"blob:{','.join(nodes)}",), size=10) for nodes in homes)
    spec = JobSpec("j", "me", (Stage("map", Grouping.SPLIT),), (), 0, "3.11")
    state = JobState()
    state.apply(JobSubmitted(spec, "pack", 0.0))
    state.apply(InputsResolved(inputs, tuple("" for _ in inputs), 0.0))
    state.apply(StageOpened(0, 0.0))
    scheduler = Scheduler(CONFIG, lambda item: item.urls[0].removeprefix("blob:").split(","))
    return state, scheduler


def assign(state: JobState, scheduler: Scheduler, task: int, node: str, now: float) -> int:
    number = state.attempts_given + 1
    state.apply(Assigned(0, task, number, node, now))
    scheduler.started(number, now)
    return number


def fail(state: JobState, number: int, kind: ErrorKind) -> None:
    state.apply(AttemptEnded(number, Failed(TaskError(kind, f"boom {number}")), 0.0))


def test_a_node_gets_the_task_whose_input_it_holds() -> None:
    state, scheduler = job([["a"], ["b"], ["c"]])
    for number, node in enumerate(ALIVE):
        assert scheduler.choose(state, node, alive=ALIVE, now=0.0) == Choice((0, number))


def test_work_for_another_node_is_given_away_only_after_a_delay() -> None:
    state, scheduler = job([["a"]])
    due = CONFIG.locality_delay_s
    assert scheduler.choose(state, "b", alive=ALIVE, now=0.0) == Choice(again_at=due)
    assert scheduler.choose(state, "b", alive=ALIVE, now=due) == Choice((0, 0))


def test_nobody_waits_for_a_node_that_is_not_alive() -> None:
    state, scheduler = job([["dead"]])
    assert scheduler.choose(state, "b", alive=ALIVE, now=0.0) == Choice((0, 0))


def test_a_failed_task_goes_to_another_node() -> None:
    state, scheduler = job([["a", "b", "c"]])
    fail(state, assign(state, scheduler, 0, "a", 0.0), ErrorKind.USER)
    due = 1.0 + CONFIG.retry_elsewhere_s
    assert scheduler.choose(state, "a", alive=ALIVE, now=1.0) == Choice(again_at=due)
    assert scheduler.choose(state, "b", alive=ALIVE, now=1.0) == Choice((0, 0))


def test_a_failed_task_returns_to_its_node_when_there_is_no_other() -> None:
    state, scheduler = job([["a"]])
    fail(state, assign(state, scheduler, 0, "a", 0.0), ErrorKind.USER)
    assert scheduler.choose(state, "a", alive=["a"], now=1.0) == Choice((0, 0))


def test_failures_that_are_not_the_users_are_retried_with_growing_pauses() -> None:
    state, scheduler = job([["a"]])
    for count in range(3):
        fail(state, assign(state, scheduler, 0, "a", 0.0), ErrorKind.NODE)
        due = 10.0 * count + CONFIG.retry_pause_s * 2**count
        choice = scheduler.choose(state, "a", alive=["a"], now=10.0 * count)
        assert choice == Choice(again_at=due)
        assert scheduler.choose(state, "a", alive=["a"], now=due) == Choice((0, 0))


def test_an_attempt_that_vanished_is_repeated_at_once() -> None:
    state, scheduler = job([["a"]])
    for count in range(4):
        state.apply(AttemptLost(assign(state, scheduler, 0, "a", 0.0), "vanished", 0.0))
        now = 10.0 * count
        assert scheduler.choose(state, "a", alive=["a"], now=now) == Choice((0, 0))


def test_a_task_whose_inputs_are_out_of_reach_is_repeated_with_growing_pauses() -> None:
    """A job on real machines died in seconds of inputs that a cut had put out of reach for ten."""
    state, scheduler = job([["a"]])
    for count in range(1, 9):
        state.task((0, 0)).starved = count
        now = 10.0 * count
        pause = min(CONFIG.retry_pause_s * 2 ** (count - 2), CONFIG.starved_pause_max_s)
        due = now + pause * (count > 1)
        if count > 1:
            assert scheduler.choose(state, "a", alive=["a"], now=now) == Choice(again_at=due)
        assert scheduler.choose(state, "a", alive=["a"], now=due) == Choice((0, 0))


def finish(state: JobState, scheduler: Scheduler, number: int, now: float) -> None:
    state.apply(AttemptEnded(number, Finished(()), now))
    scheduler.ended(number, 0, now)


def test_a_straggler_gets_one_backup_on_another_node() -> None:
    state, scheduler = job([["a"], ["a"]])
    quick = assign(state, scheduler, 0, "a", 0.0)
    assign(state, scheduler, 1, "a", 0.0)
    finish(state, scheduler, quick, 3.0)
    assert scheduler.choose(state, "b", alive=ALIVE, now=5.0) == Choice(again_at=6.0)
    assert scheduler.choose(state, "a", alive=ALIVE, now=7.0).task is None
    assert scheduler.choose(state, "b", alive=ALIVE, now=7.0) == Choice((0, 1), backup=True)
    state.apply(Assigned(0, 1, 3, "b", 7.0, backup=True))
    scheduler.started(3, 7.0)
    assert scheduler.choose(state, "c", alive=ALIVE, now=90.0).task is None


def test_an_attempt_of_a_stage_of_unknown_pace_gets_a_backup_when_it_is_very_old() -> None:
    """A user's job stood still for ever when a worker hung and the leader changed."""
    state, scheduler = job([["a"], ["a"]])
    quick = assign(state, scheduler, 0, "a", 0.0)
    hanging = assign(state, scheduler, 1, "a", 0.0)
    finish(state, scheduler, quick, 3.0)
    successor = Scheduler(CONFIG, scheduler._locate)
    successor.started(hanging, 10.0)
    due = 10.0 + CONFIG.backup_blind_s
    assert successor.choose(state, "b", alive=ALIVE, now=10.0) == Choice(again_at=due)
    assert successor.choose(state, "b", alive=ALIVE, now=due) == Choice((0, 1), backup=True)


def test_there_are_no_backups_while_anything_waits() -> None:
    state, scheduler = job([["a"], ["a"], ["b"]])
    quick = assign(state, scheduler, 0, "a", 0.0)
    assign(state, scheduler, 1, "a", 0.0)
    finish(state, scheduler, quick, 0.1)
    assert scheduler.choose(state, "c", alive=ALIVE, now=50.0).task is None
    assert scheduler.choose(state, "c", alive=ALIVE, now=51.0) == Choice((0, 2))


def test_a_task_whose_inputs_are_lost_gets_no_backup_until_they_are_back() -> None:
    """Found by seed 3: the backup read what was left, and the job's result lacked records."""
    spec = JobSpec(
        "j",
        "me",
        (Stage("map", Grouping.SPLIT), Stage("reduce", Grouping.GROUP_ALL)),
        (),
        0,
        "3.11",
    )
    state, scheduler = JobState(), Scheduler(CONFIG, lambda item: ())
    state.apply(JobSubmitted(spec, "pack", 0.0))
    state.apply(InputsResolved((Input(("raw://1",)), Input(("raw://2",))), ("", ""), 0.0))
    state.apply(StageOpened(0, 0.0))
    for number, node in enumerate(("a", "b")):
        assign(state, scheduler, number, node, 0.0)
        output = Output(0, f"segment://{node}/segments/j/{number}.0/0", 10, 1)
        state.apply(AttemptEnded(number + 1, Finished((output,)), 1.0))
        scheduler.ended(number + 1, 1, 1.0)
    state.apply(StageOpened(1, 1.0))
    state.apply(Assigned(1, 0, 3, "c", 1.0))
    scheduler.started(3, 1.0)
    state.apply(NodeLost("b", 9.0))
    assert scheduler.choose(state, "a", alive=["a", "c"], now=9.0) == Choice((0, 1))
    state.apply(Assigned(0, 1, 4, "a", 9.0))
    scheduler.started(4, 9.0)
    assert scheduler.choose(state, "a", alive=["a", "c"], now=50.0).task is None
    output = Output(0, "segment://a/segments/j/4.0/0", 10, 1)
    state.apply(AttemptEnded(4, Finished((output,)), 51.0))
    assert scheduler.choose(state, "a", alive=["a", "c"], now=51.0) == Choice((1, 0), backup=True)


@settings(max_examples=50, deadline=None)
@given(
    homes=st.lists(st.lists(st.sampled_from(ALIVE), min_size=1, max_size=3), max_size=8),
    asks=st.lists(st.tuples(st.sampled_from(ALIVE), st.floats(0, 1)), max_size=30),
)
def test_every_task_is_given_out_once_and_within_the_delay(
    homes: list[list[str]], asks: list[tuple[str, float]]
) -> None:
    state, scheduler = job(homes)
    now = 0.0
    given_out: list[tuple[int, int]] = []
    for node, pause in asks:
        now += pause
        choice = scheduler.choose(state, node, alive=ALIVE, now=now)
        if choice.task is None:
            assert choice.again_at is None or now < choice.again_at
            assert not state.idle or choice.again_at is not None or not state.idle[0]
            continue
        given_out.append(choice.task)
        assign(state, scheduler, choice.task[1], node, now)
    assert len(given_out) == len(set(given_out))
