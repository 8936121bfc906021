"""What a coordinator decides in one turn."""

from __future__ import annotations

from peerdisco.coordination.config import CoordinationConfig
from peerdisco.coordination.core import CoordinatorCore, Turn
from peerdisco.coordination.facts import (
    Assigned,
    AttemptEnded,
    AttemptLost,
    Batch,
    InputsResolved,
    JobEnded,
    JobPhase,
    JobSubmitted,
    NodeLost,
    StageOpened,
)
from peerdisco.coordination.messages import Exchange, ExchangeAnswer, Report
from peerdisco.coordination.state import JobState
from peerdisco.messages import (
    Finished,
    Grouping,
    Input,
    JobSpec,
    Output,
    Stage,
    decode,
    encode,
)

CONFIG = CoordinationConfig()
STAGES = (Stage("map", Grouping.SPLIT), Stage("reduce", Grouping.GROUP_ALL))
SPEC = JobSpec("j", "me", STAGES, (("raw://a",), ("raw://b",)), 1, "3.11")
ALIVE = ["n0", "n1", "n2"]


class Lead:
    """A core, a replica that commits what it decides, and the time."""

    def __init__(self, *, started: bool = True) -> None:
        self.now = 0.0
        self.numbers = dict.fromkeys(ALIVE, 0)
        self.state = JobState()
        self.core = self.lead()
        if started:
            self.core.start(SPEC, "b3-pack", 100.0)
            self.core.resolved([Input(urls) for urls in SPEC.inputs], ["", ""], 100.0)

    def lead(self) -> CoordinatorCore:
        """Begin anew, as the next leader would."""
        draft = JobState.restored(self.state.snapshot())
        return CoordinatorCore("j", draft, lambda item: (), CONFIG, self.now)

    def ask(
        self,
        node: str,
        slots: int,
        *,
        running: tuple[int, ...] = (),
        done: tuple[int, ...] = (),
        session: str = "s",
    ) -> None:
        self.numbers[node] += 1
        reports = tuple(Report(number, outcome(node, number)) for number in done)
        request = Exchange("j", session, self.numbers[node], slots, running, reports)
        assert self.core.exchange(node, request, self.now)

    def turn(self, alive: list[str] = ALIVE) -> Turn:
        turn = self.core.turn(alive, self.now, 100.0 + self.now)
        for fact in decode(encode(Batch(turn.facts)), Batch).facts:
            self.state.apply(fact)
        return turn


def outcome(node: str, number: int) -> Finished:
    return Finished((Output(0, f"segment://{node}/{number}", 1, 1),), 1, 1)


def kinds(turn: Turn) -> list[str]:
    return [type(fact).__name__ for fact in turn.facts]


def names(*facts: type) -> list[str]:
    return [fact.__name__ for fact in facts]


def attempts(turn: Turn) -> dict[str, list[int]]:
    return {a.node: [given.attempt for given in a.answer.assignments] for a in turn.answers}


def test_a_new_job_is_submitted_resolved_opened_and_assigned_in_one_commit() -> None:
    lead = Lead()
    lead.ask("n0", 2)
    assert kinds(lead.turn()) == names(
        JobSubmitted, InputsResolved, StageOpened, Assigned, Assigned
    )


def test_work_is_offered_to_all_nodes_that_do_not_know_of_it() -> None:
    assert Lead().turn().offers == tuple(ALIVE)


def test_exchanges_that_arrive_together_share_the_work_and_the_commit() -> None:
    lead = Lead()
    lead.ask("n0", 2)
    lead.ask("n1", 2)
    assert attempts(lead.turn()) == {"n0": [1], "n1": [2]}


def test_the_last_report_of_a_stage_brings_the_next_stage_and_its_first_assignment() -> None:
    lead = Lead()
    lead.ask("n0", 2)
    lead.turn()
    lead.ask("n0", 2, done=(1, 2))
    turn = lead.turn()
    assert kinds(turn) == names(AttemptEnded, AttemptEnded, StageOpened, Assigned)
    (assignment,) = turn.answers[0].answer.assignments
    assert assignment.stage_name == "reduce"
    assert assignment.final
    assert [item.urls for item in assignment.inputs] == [("segment://n0/1",), ("segment://n0/2",)]


def test_the_last_report_ends_the_job_in_its_own_commit() -> None:
    lead = Lead()
    lead.ask("n0", 2)
    lead.turn()
    lead.ask("n0", 1, done=(1, 2))
    lead.turn()
    lead.ask("n0", 1, done=(3,))
    turn = lead.turn()
    assert kinds(turn) == names(AttemptEnded, JobEnded)
    assert turn.answers[0].answer == ExchangeAnswer(over=True)
    assert lead.state.phase is JobPhase.READY
    assert lead.state.results == (("segment://n0/3",),)


def test_what_a_node_was_given_and_does_not_mention_is_lost_and_given_out_again() -> None:
    lead = Lead()
    lead.ask("n0", 2)
    lead.turn()
    lead.ask("n0", 1, running=(2,))
    turn = lead.turn()
    assert kinds(turn) == names(AttemptLost, Assigned)
    assert attempts(turn) == {"n0": [3]}


def test_an_older_exchange_of_the_same_session_is_ignored() -> None:
    lead = Lead()
    lead.ask("n0", 1)
    assert not lead.core.exchange("n0", Exchange("j", "s", 1, 1), lead.now)
    assert lead.core.exchange("n0", Exchange("j", "another", 0, 1), lead.now)


def test_attempts_that_somebody_else_finished_are_unwanted() -> None:
    lead = Lead()
    lead.ask("n0", 0, running=(7,))
    assert lead.turn().answers[0].answer == ExchangeAnswer(unwanted=(7,))


def test_a_hungry_node_is_offered_what_a_dead_one_leaves() -> None:
    lead = Lead()
    lead.ask("n1", 2)
    lead.turn()
    lead.ask("n2", 1)
    assert attempts(lead.turn()) == {"n2": []}
    turn = lead.turn(["n0", "n2"])
    assert kinds(turn) == names(NodeLost)
    assert "n2" in turn.offers


def test_a_new_leader_asks_at_once_how_the_attempts_are_doing() -> None:
    lead = Lead()
    lead.ask("n1", 2)
    lead.turn()
    lead.core = lead.lead()
    assert lead.turn().offers == ("n1",)


def test_a_new_leader_gives_nodes_that_it_has_not_seen_yet_some_time() -> None:
    lead = Lead()
    lead.ask("n1", 2)
    lead.turn()
    lead.core = lead.lead()
    turn = lead.turn(["n0"])
    assert kinds(turn) == []
    assert turn.again_at == CONFIG.unseen_grace_s
    lead.now = CONFIG.unseen_grace_s
    assert kinds(lead.turn(["n0"])) == names(NodeLost)


def test_a_node_that_holds_attempts_and_is_silent_is_asked() -> None:
    lead = Lead()
    lead.ask("n1", 2)
    lead.turn()
    lead.now = CONFIG.silence_s / 2
    assert lead.turn().offers == ()
    lead.now = CONFIG.silence_s
    assert lead.turn().offers == ("n1",)


def test_a_killed_job_answers_that_it_is_over() -> None:
    lead = Lead()
    lead.core.end(JobPhase.KILLED, None, 101.0)
    lead.ask("n0", 2)
    turn = lead.turn()
    assert turn.answers[0].answer == ExchangeAnswer(over=True)
    assert turn.again_at is None


def test_a_core_without_a_job_waits_for_one() -> None:
    lead = Lead(started=False)
    assert lead.core.wants_inputs is None
    lead.core.start(SPEC, "b3-pack", 100.0)
    assert lead.core.wants_inputs == SPEC
    lead.core.start(SPEC, "b3-other", 100.0)
    lead.turn()
    assert lead.state.pack == "b3-pack"
