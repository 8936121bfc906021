"""`CoordinatorCore`: what the leader of a job's group decides, without doing any of it.

Calls put work in; `turn` takes all of it together and returns the facts to commit, the answers to
give once they are committed, and the nodes to offer work to. The core keeps a *draft* of the
replicated state, which is ahead of it by exactly the facts of the turn that is being committed: so
one commit can hold a report, the stage that it completes, and that stage's first assignments. When
a commit fails the draft is worthless, and with it the core: the driver makes a new one.

Next: `coordinator.py`, the driver; `scheduler.py` for who gets what.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from peerdisco.coordination.config import CoordinationConfig
from peerdisco.coordination.facts import (
    Assigned,
    AttemptEnded,
    AttemptLost,
    Fact,
    InputsResolved,
    JobEnded,
    JobPhase,
    JobSubmitted,
    NodeLost,
    StageOpened,
)
from peerdisco.coordination.messages import Exchange, ExchangeAnswer
from peerdisco.coordination.scheduler import Choice, Scheduler
from peerdisco.coordination.state import JobState
from peerdisco.coordination.tasks import TaskKey
from peerdisco.messages import Assignment, ErrorKind, Finished, Input, JobSpec, TaskError

EXCHANGES_MAX = 256
"""Exchanges taken in one turn, which bounds a log entry; the others wait for the next."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one exchange, to be given when the turn's facts are committed."""

    node: str
    session: str
    number: int
    answer: ExchangeAnswer


@dataclass(frozen=True, slots=True)
class Turn:
    """What the driver has to do, in this order.

    Attributes:
        facts: To commit as one entry; empty when there is nothing to commit.
        answers: To give after that.
        offers: Nodes to send an offer to.
        again_at: When the next turn is due even if nothing arrives; None for never.
    """

    facts: tuple[Fact, ...]
    answers: tuple[Answer, ...]
    offers: tuple[str, ...]
    again_at: float | None


@dataclass(slots=True)
class _Peer:
    """What is known of a node.

    Attributes:
        session: Its present run.
        number: Its latest exchange.
        heard_at: Time of that exchange.
        offered_at: Time of the latest offer to it.
        hungry: How many slots it asked for in vain.
    """

    session: str = ""
    number: int = -1
    heard_at: float = float("-inf")
    offered_at: float = float("-inf")
    hungry: int = 0


@dataclass(slots=True)
class _Pull:
    """An exchange that is being answered."""

    node: str
    request: Exchange
    assignments: list[Assignment] = field(default_factory=list)


class CoordinatorCore:
    """Decides for one job, for as long as one node leads its group without a failed commit."""

    def __init__(
        self,
        job: str,
        draft: JobState,
        locate: Callable[[Input], Sequence[str]],
        config: CoordinationConfig,
        now: float,
    ) -> None:
        self._job = job
        self._config = config
        self._draft = draft
        self._scheduler = Scheduler(config.scheduler, locate)
        self._peers: dict[str, _Peer] = {}
        self._exchanges: list[tuple[str, Exchange]] = []
        self._facts: list[Fact] = []
        self._began_at = now
        self._seen: dict[str, None] = {}
        self._present: dict[str, None] = {}
        self._bury_at = now
        self._wall = 0.0
        for number in draft.attempts:
            self._scheduler.started(number, now)

    @property
    def ended(self) -> bool:
        """Whether the job has its last fact, committed or about to be."""
        return self._draft.ended

    @property
    def submitted(self) -> bool:
        """Whether the job has arrived, committed or about to be."""
        return self._draft.spec is not None

    @property
    def submitted_at(self) -> float:
        """Wall time of that."""
        return self._draft.submitted_at

    @property
    def wants_inputs(self) -> JobSpec | None:
        """The spec whose inputs are to be resolved, if that is still to be done."""
        draft = self._draft
        return draft.spec if draft.inputs is None and not draft.ended else None

    # What happened. Facts take effect in the draft at once and are committed by the next turn.

    def start(self, spec: JobSpec, pack: str, wall: float) -> None:
        """The job has arrived; repeating it changes nothing."""
        if self._draft.spec is None:
            self._record(JobSubmitted(spec, pack, wall))

    def resolved(self, inputs: Sequence[Input], nodes: Sequence[str], wall: float) -> None:
        """The job's inputs are known."""
        if self._draft.inputs is None:
            self._record(InputsResolved(tuple(inputs), tuple(nodes), wall))

    def end(self, phase: JobPhase, error: TaskError | None, wall: float) -> None:
        """The job ends here, without results."""
        if not self._draft.ended:
            self._record(JobEnded(phase, (), error, wall))

    def exchange(self, node: str, request: Exchange, now: float) -> bool:
        """A node reports and asks for work; False when a later exchange of it came first."""
        peer = self._peers.setdefault(node, _Peer())
        if peer.session == request.session and request.number <= peer.number:
            return False
        peer.session, peer.number, peer.heard_at = request.session, request.number, now
        if request.slots:
            peer.hungry = 0
        self._exchanges = [item for item in self._exchanges if item[0] != node]
        self._exchanges.append((node, request))
        return True

    # The turn.

    def turn(self, alive: Sequence[str], now: float, wall: float) -> Turn:
        """Decide everything that can be decided now."""
        self._wall = wall
        pulls = [_Pull(*item) for item in self._exchanges[:EXCHANGES_MAX]]
        del self._exchanges[:EXCHANGES_MAX]
        self._bury(alive, now)
        for pull in pulls:
            self._reconcile(pull, now)
        self._advance()
        self._assign(pulls, alive, now)
        offers, again_at = self._offers(alive, now)
        facts, self._facts = tuple(self._facts), []
        if self._exchanges:
            again_at = now
        elif not self._draft.ended:
            again_at = min(self._bury_at, self._bury_at if again_at is None else again_at)
        return Turn(facts, tuple(map(self._answer, pulls)), offers, again_at)

    def _record(self, fact: Fact) -> None:
        self._draft.apply(fact)
        self._facts.append(fact)

    def _bury(self, alive: Sequence[str], now: float) -> None:
        """Give up what is on dead nodes.

        A node that this one has not seen alive yet is given some time: gossip may be younger here
        than the job's log, or than the node's first exchange.
        """
        present = dict.fromkeys(alive)
        if present == self._present and now < self._bury_at:
            return
        self._present, self._bury_at = present, now + self._config.unseen_grace_s
        self._seen.update(present)
        for node in self._draft.holders():
            if node not in present and (node in self._seen or self._overdue(node, now)):
                self._record(NodeLost(node, self._wall))

    def _overdue(self, node: str, now: float) -> bool:
        peer = self._peers.get(node)
        heard_at = self._began_at if peer is None else max(peer.heard_at, self._began_at)
        return now - heard_at >= self._config.unseen_grace_s

    def _reconcile(self, pull: _Pull, now: float) -> None:
        """Take a node's reports, and give up the attempts that it does not know of."""
        request = pull.request
        for report in request.reports:
            attempt = self._draft.attempts.get(report.attempt)
            if attempt is not None or report.attempt in self._draft.strays:
                self._record(AttemptEnded(report.attempt, report.outcome, self._wall))
            success = attempt is not None and isinstance(report.outcome, Finished)
            self._scheduler.ended(
                report.attempt, attempt.stage if attempt and success else None, now
            )
        known = dict.fromkeys(request.running)
        for number, attempt in list(self._draft.attempts.items()):
            if attempt.node == pull.node and number not in known:
                self._record(AttemptLost(number, "its node does not know of it", self._wall))

    def _advance(self) -> None:
        """Open the stages that can be opened, and end the job if it is complete or doomed."""
        draft = self._draft
        if draft.ended:
            return
        while draft.doom is None and (stage := draft.next_stage) is not None:
            self._record(StageOpened(stage, self._wall))
        if draft.doom is not None:
            self._record(JobEnded(JobPhase.DEAD, (), draft.doom, self._wall))
        elif draft.complete:
            self._record(JobEnded(JobPhase.READY, draft.final_results(), None, self._wall))

    def _assign(self, pulls: Sequence[_Pull], alive: Sequence[str], now: float) -> None:
        """Deal tasks to the nodes that ask, one to each per round."""
        asking = [pull for pull in pulls if pull.request.slots > 0]
        while asking and not self._draft.ended:
            served = []
            for pull in asking:
                choice = self._scheduler.choose(self._draft, pull.node, alive=alive, now=now)
                if choice.task is None:
                    missing = pull.request.slots - len(pull.assignments)
                    self._peers[pull.node].hungry = missing
                    continue
                pull.assignments.append(self._assignment(choice, choice.task, pull.node, now))
                if len(pull.assignments) < pull.request.slots:
                    served.append(pull)
            asking = served

    def _assignment(self, choice: Choice, key: TaskKey, node: str, now: float) -> Assignment:
        draft = self._draft
        assert draft.spec is not None
        stage, task = key
        number = draft.attempts_given + 1
        inputs = draft.inputs_of(key)
        self._record(Assigned(stage, task, number, node, self._wall, choice.backup))
        self._scheduler.started(number, now)
        return Assignment(
            job=self._job,
            pack=draft.pack,
            stage=stage,
            stage_name=draft.spec.stages[stage].name,
            task=task,
            attempt=number,
            label=draft.task(key).label,
            inputs=inputs,
            partitions=draft.spec.partitions,
            final=stage == len(draft.spec.stages) - 1,
        )

    def _answer(self, pull: _Pull) -> Answer:
        draft = self._draft
        unwanted = [
            number
            for number in pull.request.running
            if number not in draft.attempts and number not in draft.strays
        ]
        answer = ExchangeAnswer(tuple(pull.assignments), tuple(unwanted), draft.ended)
        return Answer(pull.node, pull.request.session, pull.request.number, answer)

    def _offers(self, alive: Sequence[str], now: float) -> tuple[tuple[str, ...], float | None]:
        """Whom to offer work, or to ask about its attempts; and when to look again."""
        if self._draft.ended or self._draft.spec is None:
            return (), None
        offers: dict[str, None] = {}
        again: list[float] = []
        self._offer_to_hungry(alive, now, offers, again)
        self._offer_to_silent(alive, now, offers, again)
        chosen = list(offers)[: self._config.offers_max]
        for node in chosen:
            peer = self._peers.setdefault(node, _Peer())
            peer.offered_at, peer.hungry = now, 0
        if len(offers) > len(chosen):
            again.append(now)
        return tuple(chosen), min(again, default=None)

    def _offer_to_hungry(
        self, alive: Sequence[str], now: float, offers: dict[str, None], again: list[float]
    ) -> None:
        """Nodes that asked in vain and could have something now."""
        budget = sum(len(idle) for idle in self._draft.idle) + 1
        for node in alive:
            peer = self._peers.get(node)
            if peer is None or peer.hungry == 0 or budget <= len(offers):
                continue
            choice = self._scheduler.choose(self._draft, node, alive=alive, now=now)
            if choice.task is not None:
                offers[node] = None
            elif choice.again_at is not None:
                again.append(choice.again_at)

    def _offer_to_silent(
        self, alive: Sequence[str], now: float, offers: dict[str, None], again: list[float]
    ) -> None:
        """Nodes that do not know that there is work, or that should say how theirs is doing."""
        work = any(self._draft.idle)
        holders = dict.fromkeys(attempt.node for attempt in self._draft.attempts.values())
        interval = self._config.offer_interval_s
        for node in alive:
            peer = self._peers.get(node) or _Peer()
            if node in holders:
                due = max(peer.heard_at + self._config.silence_s, peer.offered_at + interval)
            elif work and peer.hungry == 0:
                due = max(peer.heard_at, peer.offered_at) + interval
            else:
                continue
            if due <= now:
                offers[node] = None
            else:
                again.append(due)


def abandoned() -> TaskError:
    """Why a job dies whose functions never arrived."""
    return TaskError(ErrorKind.NODE, "the node that took the job went away before it was stored")
