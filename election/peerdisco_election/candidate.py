"""The candidate, and the pre-candidate that only asks whether it would win.

A pre-candidate changes nothing anywhere. A candidate's requests leave when its own vote is
durable: after a crash a node must not find votes for a log or a term that it no longer has.
Requests are repeated to voters that do not answer. Next: `leader.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from peerdisco_election import quorum
from peerdisco_election.messages import (
    Append,
    GroupMessage,
    Heartbeat,
    SnapshotChunk,
    VoteReply,
    VoteRequest,
)
from peerdisco_election.quorum import Vote
from peerdisco_election.status import Cause, Role

if TYPE_CHECKING:
    from peerdisco_election.core import Core

HURRIED = (Cause.EVIDENCE, Cause.DISOWNED)
"""Causes that leave no doubt that there is no leader to wait for."""


class Candidate:
    """A member that collects votes."""

    def __init__(
        self,
        core: Core,
        now: float,
        cause: Cause,
        *,
        pre: bool,
        transfer: bool = False,
        attempt: int = 0,
    ) -> None:
        self._core = core
        self._cause = cause
        self._pre = pre
        self._transfer = transfer
        self._votes: dict[str, bool] = {}
        self._own_vote = 0
        self._attempt = attempt
        self._give_up_at = now + self._patience()
        self._pause = core.config.resend_interval
        if cause in HURRIED:
            # Voters will have evidence of their own in a moment, and protect the leader till then.
            self._pause = min(self._pause, core.config.evidence_delay_max / 4)
        self._ask_again_at = now + self._pause
        # Then nobody else can have learned of a vote that a crash undoes: one commit is saved.
        self._first_and_alone = core.is_alone and core.log.last == 0 and core.term <= 1
        self.name = Role.PRE_CANDIDATE if pre else Role.CANDIDATE

    @property
    def deadline(self) -> float:
        """When to ask again or to start over."""
        return min(self._give_up_at, self._ask_again_at)

    def open(self, now: float) -> None:
        """Vote for oneself and ask the others."""
        core = self._core
        if self._pre or self._first_and_alone:
            self._votes[core.me] = True
        else:
            self._own_vote = core.next_persist
        self._ask()
        self._count(now)

    def tick(self, now: float) -> None:
        """Ask again, or start over in case the vote was split (section 5.2)."""
        if now >= self._give_up_at:
            cause = self._cause if self._cause in HURRIED else Cause.TIMEOUT
            self._core.stand(cause, now, attempt=self._attempt + 1)
        elif now >= self._ask_again_at:
            self._pause = min(2 * self._pause, self._core.config.resend_interval)
            self._ask_again_at = now + self._pause
            self._ask()

    def persisted(self, number: int, now: float) -> None:
        """One's own vote counts when it is durable."""
        if self._own_vote and number >= self._own_vote:
            self._own_vote = 0
            self._votes[self._core.me] = True
            self._count(now)

    def protects_leader(self, now: float) -> bool:  # noqa: ARG002 - part of a role's interface
        """A candidate believes that there is none."""
        return False

    def reconfigured(self, now: float) -> None:
        """The ballot is counted by the new rules when the next vote arrives."""

    def settle(self, now: float) -> None:
        """Stop when the vote was taken away meanwhile."""
        if not self._core.is_voter:
            self._core.become_follower(self._core.term, None, now)

    def step(self, sender: str, message: GroupMessage, now: float) -> None:
        """A message of this term, or a granted pre-vote for the next."""
        core = self._core
        match message:
            case Append() | Heartbeat() | SnapshotChunk():
                core.become_follower(core.term, sender, now)
                core.role.step(sender, message, now)
            case VoteReply(pre=self._pre):
                core.learn_commit(message.commit, message.commit_term, now)
                expected = core.term + 1 if self._pre and message.granted else core.term
                if message.term == expected and core.is_voter:
                    self._votes[sender] = message.granted
                    self._count(now)
            case _:
                # Answers to a role that this member no longer has.
                pass

    def _patience(self) -> float:
        """How long to wait for votes.

        When the leader is known to be gone, a split vote is likelier than a slow voter: start over
        soon, and later each time, so that slow disks do not outlive every attempt.
        """
        core, config = self._core, self._core.config
        if self._cause not in HURRIED:
            return core.election_timeout()
        soon = config.evidence_delay_max * 2.0 ** min(self._attempt, 10)
        return min(soon, config.election_timeout) * (1 + core.rng.random())

    def _ask(self) -> None:
        core = self._core
        term = core.term + 1 if self._pre else core.term
        request = VoteRequest(
            term,
            core.log.last,
            core.log.last_term,
            self._pre,
            self._transfer,
            *core.known_commit,
        )
        for voter in quorum.electorate(core.configuration):
            if voter == core.me or self._votes.get(voter, False):
                continue
            if self._pre:
                core.send(voter, request)
            elif voter not in self._votes:
                core.promise(voter, request)

    def _count(self, now: float) -> None:
        core = self._core
        match quorum.tally(core.configuration, self._votes):
            case Vote.WON if self._pre:
                core.become_candidate(self._cause, now, attempt=self._attempt)
            case Vote.WON:
                core.become_leader(now)
            case Vote.LOST:
                follower = core.become_follower(core.term, None, now)
                if not self._pre and self._cause in HURRIED:
                    # A split vote although all know that the leader is gone: no reason to wait.
                    follower.suspect(now, self._cause, soon=True)
            case Vote.PENDING:
                pass
