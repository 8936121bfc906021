"""The replicated state: whatever order, repetition and loss do, the outputs are the right ones."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerdisco.coordination.facts import (
    Assigned,
    AttemptEnded,
    AttemptLost,
    Batch,
    Fact,
    InputsResolved,
    JobEnded,
    JobPhase,
    JobSubmitted,
    NodeLost,
    OutputsLost,
    StageOpened,
)
from peerdisco.coordination.replica import JobReplica, command
from peerdisco.coordination.state import EVENTS_MAX, NODE_FAILURES_MAX, JobState
from peerdisco.coordination.tasks import LOSSES_MAX, STARVED_MAX, Attempt, TaskKey
from peerdisco.messages import (
    ErrorKind,
    Failed,
    Finished,
    Grouping,
    Input,
    InputsLost,
    JobSpec,
    Output,
    Stage,
    TaskError,
    decode,
    encode,
)

NODES = ["n0", "n1", "n2"]
WORDS = ["a b a", "b c", "a", "c c d"]
MAP_REDUCE = (Stage("map", Grouping.SPLIT), Stage("reduce", Grouping.GROUP_LABEL))


def spec_of(
    stages: Sequence[Stage] = MAP_REDUCE, inputs: Sequence[str] = WORDS, attempts_max: int = 4
) -> JobSpec:
    urls = tuple((f"raw://{text}",) for text in inputs)
    return JobSpec("job", "me", tuple(stages), urls, 2, "3.11", attempts_max)


class Play:
    """Applies facts to a state, keeps the log, and computes what attempts would write."""

    def __init__(self, spec: JobSpec) -> None:
        self.state = JobState()
        self.log: list[Fact] = []
        self.contents: dict[str, str] = {}
        self.read: dict[int, tuple[Input, ...]] = {}
        self.tell(JobSubmitted(spec, "b3-pack", 1.0))
        inputs = tuple(Input(urls) for urls in spec.inputs)
        self.tell(InputsResolved(inputs, tuple("" for _ in inputs), 1.0))
        self.open()

    def tell(self, fact: Fact) -> None:
        self.log.append(fact)
        self.state.apply(fact)

    def open(self) -> None:
        while (stage := self.state.next_stage) is not None:
            self.tell(StageOpened(stage, 2.0))

    def ready(self) -> list[TaskKey]:
        return [
            (stage, task)
            for stage, idle in enumerate(self.state.idle)
            for task in idle
            if self.state.ready((stage, task))
        ]

    def assign(self, key: TaskKey, node: str) -> int:
        number = self.state.attempts_given + 1
        self.read[number] = self.state.inputs_of(key)
        self.tell(Assigned(*key, number, node, 3.0))
        return number

    def success(self, number: int, attempt: Attempt) -> Finished:
        """What a correct worker answers; contents are a function of what it read."""
        assert self.state.spec is not None
        words: list[str] = []
        for item in self.read[number]:
            words.extend(
                self.contents.get(item.urls[0], item.urls[0].removeprefix("raw://")).split()
            )
        final = attempt.stage == len(self.state.spec.stages) - 1
        outputs = []
        for label in range(1 if final else 2):
            chosen = [word for word in words if final or ord(word[0]) % 2 == label]
            place = f"blob:b3-{number}" if final else f"segment://{attempt.node}/{number}/{label}"
            self.contents[place] = " ".join(sorted(chosen))
            if chosen or final:
                outputs.append(Output(label, place, len(chosen), len(chosen)))
        return Finished(tuple(outputs), len(words), len(words))

    def finish(self, number: int, attempt: Attempt | None = None) -> None:
        attempt = attempt or self.state.attempts[number]
        self.tell(AttemptEnded(number, self.success(number, attempt), 4.0))
        self.open()

    def run_out(self) -> None:
        """Let everything succeed from here on."""
        while not self.state.complete:
            for number in list(self.state.attempts):
                if number in self.state.attempts:
                    self.finish(number)
            for key in self.ready():
                self.finish(self.assign(key, "n0"))
            self.open()

    def answer(self) -> list[str]:
        return sorted(
            self.contents[urls[0]] for urls in self.state.final_results() if self.contents[urls[0]]
        )


def expected_answer() -> list[str]:
    calm = Play(spec_of())
    calm.run_out()
    return calm.answer()


def test_a_calm_job_counts_every_word_once() -> None:
    assert expected_answer() == ["a a a c c c", "b b d"]


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 2**32), steps=st.integers(0, 60))
def test_any_interleaving_of_losses_and_repeats_ends_with_the_right_outputs(
    seed: int, steps: int
) -> None:
    play = storm(seed, steps)
    play.run_out()
    assert play.answer() == expected_answer()
    assert play.state.doom is None
    check_consistent(play.state)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), cut=st.floats(0, 1))
def test_replay_and_snapshots_give_the_same_state(seed: int, cut: float) -> None:
    play = storm(seed, 40)
    replayed = JobReplica()
    for index, fact in enumerate(play.log):
        replayed.apply(index + 1, command([fact]))
    assert replayed.snapshot() == play.state.snapshot()

    middle = int(cut * len(play.log))
    first, second = JobReplica(), JobReplica()
    first.apply(1, command(play.log[:middle]))
    second.restore(first.snapshot())
    second.apply(2, command(play.log[middle:]))
    assert second.snapshot() == play.state.snapshot()
    assert [sorted(idle) for idle in second.state.idle] == [
        sorted(idle) for idle in play.state.idle
    ]


def storm(seed: int, steps: int) -> Play:
    """A job in which anything happens that may happen."""
    rng = random.Random(seed)
    play = Play(spec_of(attempts_max=10**6))
    ended: dict[int, Attempt] = {}
    for _ in range(steps):
        attempts = list(play.state.attempts)
        ready = play.ready()
        move = rng.choice(
            [
                "assign",
                "assign",
                "finish",
                "finish",
                "lose",
                "repeat",
                "late",
                "node",
                "inputs",
                "outputs",
            ]
        )
        if move == "assign" and ready:
            play.assign(rng.choice(ready), rng.choice(NODES))
        elif move == "finish" and attempts:
            number = rng.choice(attempts)
            ended[number] = play.state.attempts[number]
            play.finish(number)
        elif move == "lose" and attempts:
            number = rng.choice(attempts)
            ended[number] = play.state.attempts[number]
            play.tell(AttemptLost(number, "silence", 5.0))
        elif move == "repeat":
            before = dict(play.state.strays)
            fact = rng.choice(play.log)
            if not (isinstance(fact, AttemptEnded) and fact.attempt in before):
                play.tell(fact)
        elif move == "late" and ended:
            number = rng.choice(list(ended))
            play.finish(number, ended[number])
        elif move == "node":
            play.tell(NodeLost(rng.choice(NODES), 6.0))
        elif move == "inputs" and attempts:
            number = rng.choice(attempts)
            stage = play.state.attempts[number].stage
            if stage > 0:
                lost = tuple(rng.sample(range(len(WORDS)), 2))
                play.tell(AttemptEnded(number, InputsLost(lost), 7.0))
        elif move == "outputs":
            play.tell(OutputsLost(0, (rng.randrange(len(WORDS)),), 8.0))
        play.open()
        check_consistent(play.state)
    return play


def check_consistent(state: JobState) -> None:
    for number, stage in enumerate(state.stages):
        assert stage.done == sum(task.done for task in stage.tasks)
        for index, task in enumerate(stage.tasks):
            assert (index in state.idle[number]) == (not task.done and not task.running)
            assert all(state.attempts[attempt].task == index for attempt in task.running)
    for attempt_number, attempt in state.attempts.items():
        assert attempt_number in state.task((attempt.stage, attempt.task)).running


def test_the_first_success_wins_and_later_ones_change_nothing() -> None:
    play = Play(spec_of())
    first = play.assign((0, 0), "n0")
    second = play.assign((0, 0), "n1")
    attempt = play.state.attempts[second]
    play.finish(first)
    outputs = play.state.task((0, 0)).outputs
    play.finish(second, attempt)
    assert play.state.task((0, 0)).outputs == outputs
    assert play.state.stages[0].done == 1


def test_what_the_code_printed_becomes_events_of_the_job() -> None:
    """Also of an attempt that failed: there it matters most."""
    play = Play(spec_of())
    play.tell(Assigned(0, 0, 1, "n0", 3.0))
    play.tell(AttemptEnded(1, Failed(TaskError(ErrorKind.USER, "boom"), ("before",)), 4.0))
    play.tell(Assigned(0, 0, 2, "n1", 5.0))
    play.tell(AttemptEnded(2, Finished((), log=("hello", "world")), 6.0))
    printed = [(e.node, e.message) for e in play.state.events if e.message.startswith("MSG")]
    expected = [("n0", "before"), ("n1", "hello"), ("n1", "world")]
    assert [(node, f"MSG: [map:0] {line}") for node, line in expected] == printed


def test_a_repeated_attempt_number_is_ignored() -> None:
    play = Play(spec_of())
    number = play.assign((0, 0), "n0")
    play.tell(Assigned(0, 1, number, "n1", 3.0))
    assert play.state.attempts[number].task == 0


def test_a_lost_attempt_that_succeeds_late_still_counts() -> None:
    play = Play(spec_of())
    number = play.assign((0, 0), "n0")
    attempt = play.state.attempts[number]
    play.tell(AttemptLost(number, "silence", 4.0))
    assert (0, 0) in play.ready()
    play.finish(number, attempt)
    assert play.state.task((0, 0)).done


def test_a_repeated_report_does_not_bring_back_outputs_that_were_lost() -> None:
    play = Play(spec_of())
    number = play.assign((0, 0), "n0")
    attempt = play.state.attempts[number]
    play.finish(number)
    play.tell(NodeLost("n0", 5.0))
    assert not play.state.task((0, 0)).done
    play.finish(number, attempt)
    assert not play.state.task((0, 0)).done


def test_lost_outputs_that_nobody_needs_any_more_are_not_made_again() -> None:
    play = Play(spec_of())
    play.run_out()
    play.tell(NodeLost("n0", 5.0))
    assert play.state.complete


def test_a_lost_node_reopens_producers_as_far_back_as_needed() -> None:
    stages = [
        Stage("one", Grouping.SPLIT),
        Stage("two", Grouping.SPLIT),
        Stage("three", Grouping.GROUP_ALL),
    ]
    play = Play(spec_of(stages, inputs=["a a", "a"]))
    for key in [(0, 0), (0, 1), (1, 0), (1, 1)]:
        play.finish(play.assign(key, "n0" if key[1] == 0 else "n1"))
    play.tell(NodeLost("n0", 5.0))
    done = [[task.done for task in stage.tasks] for stage in play.state.stages]
    assert done == [[False, True], [False, True], [False]]
    assert play.ready() == [(0, 0)]
    play.run_out()
    assert play.answer() == ["a a a"]


def test_inputs_lost_before_the_producer_ran_again_do_not_count_against_it() -> None:
    play = Play(spec_of(inputs=["a"]))
    play.finish(play.assign((0, 0), "n0"))
    reduce = play.assign((1, 0), "n1")
    play.tell(NodeLost("n0", 5.0))
    play.finish(play.assign((0, 0), "n1"))
    play.tell(AttemptEnded(reduce, InputsLost((0,)), 6.0))
    assert play.state.task((0, 0)).done
    assert play.ready() == [(1, 0)]


def failure(kind: ErrorKind, message: str = "boom") -> Failed:
    return Failed(TaskError(kind, message))


def test_the_same_user_error_twice_dooms_the_job() -> None:
    play = Play(spec_of())
    play.tell(AttemptEnded(play.assign((0, 0), "n0"), failure(ErrorKind.USER), 4.0))
    assert play.state.doom is None
    play.tell(AttemptEnded(play.assign((0, 0), "n1"), failure(ErrorKind.USER), 5.0))
    assert play.state.doom == TaskError(ErrorKind.USER, "boom", stage="map", task=0)
    assert play.state.stages[0].failed == 2


@pytest.mark.parametrize(
    ("kind", "allowed"),
    [
        (ErrorKind.USER, 3),
        (ErrorKind.WORKER_LOST, 3),
        (ErrorKind.INPUT, 3),
        (ErrorKind.NODE, NODE_FAILURES_MAX),
    ],
)
def test_each_kind_of_failure_is_counted_by_itself(kind: ErrorKind, allowed: int) -> None:
    play = Play(spec_of(attempts_max=3))
    for other in ErrorKind:
        if other is not kind:
            number = play.assign((0, 0), "n0")
            play.tell(AttemptEnded(number, failure(other), 4.0))
    for count in range(allowed):
        assert play.state.doom is None
        number = play.assign((0, 0), "n0")
        play.tell(AttemptEnded(number, failure(kind, f"boom {count}"), 4.0))
    assert play.state.doom is not None


def test_a_task_whose_attempts_keep_vanishing_dooms_the_job() -> None:
    play = Play(spec_of())
    for _ in range(LOSSES_MAX):
        assert play.state.doom is None
        play.tell(AttemptLost(play.assign((0, 0), "n0"), "node lost", 4.0))
    assert play.state.doom is not None
    assert play.state.doom.kind is ErrorKind.NODE


def test_a_task_whose_inputs_stay_out_of_reach_dooms_the_job_after_many_tries() -> None:
    play = Play(spec_of())
    for _ in range(STARVED_MAX):
        assert play.state.doom is None
        while play.state.idle[0]:
            play.finish(play.assign((0, next(iter(play.state.idle[0]))), "n0"))
        producers = tuple(producer for producer, _ in play.state.task((1, 0)).sources)
        play.tell(AttemptEnded(play.assign((1, 0), "n1"), InputsLost(producers), 4.0))
    assert play.state.doom is not None
    assert play.state.doom.kind is ErrorKind.NODE


def test_inputs_of_the_job_that_no_replica_serves_are_an_input_failure() -> None:
    play = Play(spec_of(attempts_max=1))
    play.tell(AttemptEnded(play.assign((0, 0), "n0"), InputsLost(()), 4.0))
    assert play.state.doom is not None
    assert play.state.doom.kind is ErrorKind.INPUT


def test_after_the_last_fact_nothing_changes() -> None:
    play = Play(spec_of())
    number = play.assign((0, 0), "n0")
    play.tell(JobEnded(JobPhase.KILLED, (), None, 9.0))
    ended = play.state.snapshot()
    for fact in [
        *play.log,
        AttemptEnded(number, Finished(()), 10.0),
        NodeLost("n0", 10.0),
        JobEnded(JobPhase.READY, (("blob:x",),), None, 11.0),
    ]:
        play.state.apply(fact)
    assert play.state.snapshot() == ended
    assert play.state.phase is JobPhase.KILLED


def test_a_job_without_inputs_is_complete_without_results() -> None:
    play = Play(spec_of(inputs=[]))
    assert play.state.complete
    assert play.state.final_results() == ()


def test_a_first_stage_of_group_all_runs_once_even_without_inputs() -> None:
    play = Play(spec_of([Stage("all", Grouping.GROUP_ALL)], inputs=[]))
    assert play.ready() == [(0, 0)]
    assert play.state.inputs_of((0, 0)) == ()


def test_a_job_without_stages_has_its_inputs_as_results() -> None:
    play = Play(spec_of([], inputs=["a"]))
    assert play.state.complete
    assert play.state.final_results() == (("raw://a",),)


def test_the_history_is_bounded() -> None:
    play = Play(spec_of())
    for _ in range(EVENTS_MAX + 5):
        play.tell(NodeLost("n9", 1.0))
    assert len(play.state.events) == EVENTS_MAX
    assert play.state.events_told > EVENTS_MAX


def test_facts_survive_their_encoding() -> None:
    play = storm(7, 60)
    batch = Batch(tuple(play.log))
    assert decode(encode(batch), Batch) == batch
