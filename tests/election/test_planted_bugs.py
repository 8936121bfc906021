"""The storms are only worth something if they notice: every planted bug must be found by a seed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from peerdisco_election import candidate, core, follower, leader, log, quorum
from peerdisco_election.effects import ReadReady
from peerdisco_election.log import Log
from peerdisco_election.membership import enter_joint
from peerdisco_election.messages import (
    AppendReply,
    Configuration,
    Entry,
    GroupMessage,
    Heartbeat,
    Snapshot,
    VoteRequest,
)
from tests.election.plays import PLAYS

Plant = Callable[[pytest.MonkeyPatch], None]

SEEDS = 300


def votes_without_looking_at_the_log(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Log, "up_to_date", lambda self, last_index, last_term: True)


def acknowledges_before_it_is_durable(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(core.Core, "promise", core.Core.send)


def answers_reads_without_a_quorum(patch: pytest.MonkeyPatch) -> None:
    def ask(self: leader.Leader) -> None:
        finished = self._reads.confirm(self._reads.latest)
        if finished is not None:
            self._core.emit(ReadReady(*finished))

    patch.setattr(leader.Leader, "_ask_quorum", ask)


def counts_one_too_few(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(quorum, "size", lambda voters: max(1, len(voters) // 2))


def commits_by_one_half_of_a_joint_configuration(patch: pytest.MonkeyPatch) -> None:
    real = quorum.agreed
    patch.setattr(quorum, "agreed", lambda one, values: real(Configuration(one.voters), values))


def elects_by_one_half_of_a_joint_configuration(patch: pytest.MonkeyPatch) -> None:
    real = quorum.tally

    class Half:
        def __getattr__(self, name: str) -> Any:
            return getattr(quorum, name)

        @staticmethod
        def tally(one: Configuration, votes: dict[str, bool]) -> quorum.Vote:
            return real(Configuration(one.voters), votes)

    patch.setattr(candidate, "quorum", Half())


def heartbeats_commit_past_what_matches(patch: pytest.MonkeyPatch) -> None:
    def beat(self: leader.Leader, peer: str, progress: object) -> None:
        own = self._core
        own.send(peer, Heartbeat(own.term, own.log.committed, self._reads.latest))

    patch.setattr(leader.Leader, "_beat", beat)


def a_pre_vote_raises_terms(patch: pytest.MonkeyPatch) -> None:
    real = core.Core._meet_newer_term

    def meet(self: core.Core, sender: str, message: GroupMessage, now: float) -> bool:
        if isinstance(message, VoteRequest) and message.pre:
            self.become_follower(message.term, None, now)
        return real(self, sender, message, now)

    patch.setattr(core.Core, "_meet_newer_term", meet)


def accepts_acknowledgements_of_old_terms(patch: pytest.MonkeyPatch) -> None:
    real = core.Core._admit_term

    def admit(self: core.Core, sender: str, message: GroupMessage, now: float) -> bool:
        if isinstance(message, AppendReply) and message.term < self.term:
            return True
        return real(self, sender, message, now)

    patch.setattr(core.Core, "_admit_term", admit)


def begins_a_term_without_an_empty_entry(patch: pytest.MonkeyPatch) -> None:
    def begin(self: leader.Leader, now: float) -> None:
        self._meet_members(now)
        self._broadcast()

    patch.setattr(leader.Leader, "open", begin)


def a_snapshot_forgets_the_configuration(patch: pytest.MonkeyPatch) -> None:
    def restore(self: core.Core, snapshot: Snapshot, now: float) -> None:
        real(self, Snapshot(snapshot.index, snapshot.term, self.configuration, snapshot.data), now)

    real = core.Core.restore
    patch.setattr(core.Core, "restore", restore)


def keeps_its_vote_in_a_new_term(patch: pytest.MonkeyPatch) -> None:
    real = core.Core.become_follower

    def become(self: core.Core, term: int, leader: str | None, now: float) -> follower.Follower:
        vote = self.vote
        result = real(self, term, leader, now)
        self.vote = vote
        return result

    patch.setattr(core.Core, "become_follower", become)


def commits_old_terms_by_counting(patch: pytest.MonkeyPatch) -> None:
    """Figure 8 of the paper."""

    def advance(self: leader.Leader, now: float) -> None:
        own = self._core
        index = quorum.agreed(own.configuration, self.match())
        if index > own.log.committed:
            own.commit_to(index, now)
            self._broadcast()
            if self._reads.begin(own.log.committed):
                self._ask_quorum()

    patch.setattr(leader.Leader, "_advance", advance)


def votes_twice_in_one_term(patch: pytest.MonkeyPatch) -> None:
    real = core.Core._answer_vote_request

    def answer(self: core.Core, sender: str, request: VoteRequest, now: float) -> None:
        if not request.pre and isinstance(self.role, follower.Follower) and self.leader is None:
            self.vote = None
        real(self, sender, request, now)

    patch.setattr(core.Core, "_answer_vote_request", answer)


def truncates_a_suffix_that_matches(patch: pytest.MonkeyPatch) -> None:
    def conflict(self: Log, entries: Sequence[Entry]) -> Entry | None:
        return next((entry for entry in entries if entry.index > self.committed), None)

    patch.setattr(log.Log, "conflict", conflict)


def commits_past_the_last_new_entry(patch: pytest.MonkeyPatch) -> None:
    real = follower.Follower._append

    def append(self: follower.Follower, sender: str, message: Any, now: float) -> None:
        real(self, sender, message, now)
        self._core.commit_to(message.commit, now)

    patch.setattr(follower.Follower, "_append", append)


def counts_learners(patch: pytest.MonkeyPatch) -> None:
    real = quorum.halves

    def halves(one: Configuration) -> tuple[tuple[str, ...], ...]:
        return tuple(tuple(sorted({*half, *one.learners})) for half in real(one))

    patch.setattr(quorum, "halves", halves)


def allows_two_changes_at_once(patch: pytest.MonkeyPatch) -> None:
    def change(
        self: leader.Leader, voters: Sequence[str], learners: Sequence[str], now: float
    ) -> None:
        simple = Configuration(self._core.configuration.voters)
        self._propose_configuration(enter_joint(simple, voters, learners))

    patch.setattr(leader.Leader, "change", change)


def a_change_ends_before_that_is_written(patch: pytest.MonkeyPatch) -> None:
    def settle(self: leader.Leader, now: float) -> None:
        if self._left_joint:
            self._left_joint, self._settling = False, True
        real(self, now)

    real = leader.Leader.settle
    patch.setattr(leader.Leader, "settle", settle)


def who_joins_forgets_what_is_committed(patch: pytest.MonkeyPatch) -> None:
    def up_to_date(self: Log, last_index: int, last_term: int) -> bool:
        return (last_term, last_index) >= (self.last_term, self.last)

    patch.setattr(Log, "up_to_date", up_to_date)


BUGS: list[Plant] = [
    votes_without_looking_at_the_log,
    acknowledges_before_it_is_durable,
    answers_reads_without_a_quorum,
    counts_one_too_few,
    commits_by_one_half_of_a_joint_configuration,
    elects_by_one_half_of_a_joint_configuration,
    heartbeats_commit_past_what_matches,
    a_pre_vote_raises_terms,
    accepts_acknowledgements_of_old_terms,
    begins_a_term_without_an_empty_entry,
    a_snapshot_forgets_the_configuration,
    keeps_its_vote_in_a_new_term,
    commits_old_terms_by_counting,
    votes_twice_in_one_term,
    truncates_a_suffix_that_matches,
    commits_past_the_last_new_entry,
    counts_learners,
    allows_two_changes_at_once,
    a_change_ends_before_that_is_written,
    who_joins_forgets_what_is_committed,
]


@pytest.mark.slow
@pytest.mark.parametrize("plant", BUGS, ids=lambda plant: plant.__name__)
def test_a_planted_bug_is_found(
    plant: Plant, storm: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A play or a seed breaks a rule of the oracle, or an assertion of the core itself."""
    plant(monkeypatch)
    trials: list[Callable[[], object]] = [*PLAYS]
    trials += [functools.partial(storm, seed) for seed in range(SEEDS)]
    for trial in trials:
        try:
            trial()
        except AssertionError:
            return
    pytest.fail(f"{SEEDS} seeds did not notice")
