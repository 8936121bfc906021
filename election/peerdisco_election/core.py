"""One group's Raft as a pure state machine: inputs in, effects out, in order.

`Core` holds what every role shares: term, vote, log, configuration. What only one role knows
lives in that role's object (`follower.py`, `candidate.py`, `leader.py`) and dies with it; only the
`become_*` methods replace it. The core reads no clock, sends nothing and writes nothing: every
input takes `now` and returns the list of `Effect`s; `deadline` says when `tick` is due.

With `watched=True` the driver watches the leader's node for all groups at once: a follower that
trusts its leader has no timer (`suspect` gives it one), and a leader has one only while a follower
lags. With `watched=False` the core keeps the timers of the Raft paper. Start reading at `step`.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from peerdisco_election import quorum
from peerdisco_election.candidate import Candidate
from peerdisco_election.config import RaftConfig
from peerdisco_election.effects import Apply, Effect, LeaderChanged, Persist, Restore, Send
from peerdisco_election.errors import NotLeader
from peerdisco_election.follower import Follower
from peerdisco_election.leader import Leader
from peerdisco_election.log import Log, Recovered
from peerdisco_election.membership import configuration_of, well_formed
from peerdisco_election.messages import (
    Append,
    AppendReply,
    Configuration,
    Entry,
    EntryKind,
    GroupMessage,
    HardState,
    Heartbeat,
    Snapshot,
    SnapshotChunk,
    VoteReply,
    VoteRequest,
)
from peerdisco_election.status import Cause, CoreStatus, Election


@dataclass(slots=True)
class _Writing:
    """A persist in flight: up to which entry its completion makes the log durable."""

    number: int
    last: int
    since: float


class Core:
    """A member of one group.

    Attributes:
        me: This node.
        salt: Differs from group to group: which voter stands first when the leader is gone.
        term: The latest term seen.
        vote: Whom it voted for in that term.
        leader: Who leads that term, as far as known.
        log: Its entries.
        configuration: The latest committed one; a change takes effect when it is committed.
        snapshot: The latest one, for followers too far behind.
        role: The object of the present role.
        refused: Messages that no correct peer would have sent, dropped.
        election: The latest one that this node stood in.
    """

    def __init__(
        self,
        me: str,
        recovered: Recovered,
        config: RaftConfig,
        rng: random.Random,
        now: float,
        *,
        watched: bool = False,
        salt: int = 0,
    ) -> None:
        self.me = me
        self.salt = salt
        self.config = config
        self.rng = rng
        self.watched = watched
        self.term = recovered.hard_state.term
        self.vote = recovered.hard_state.vote
        self.leader: str | None = None
        self.snapshot = recovered.snapshot
        self.configuration = recovered.configuration
        self.log = Log(recovered.start, recovered.entries, self.snapshot_index, recovered.floor)
        self.refused = 0
        self.election: Election | None = None
        self._recovered_commit = recovered.hard_state.commit
        self._effects: list[Effect] = []
        self._deferred: list[tuple[str, GroupMessage]] = []
        self._issued = self._completed = 0
        self._writing: deque[_Writing] = deque()
        self._written = (self.term, self.vote)
        self._term_number = 0
        self._announced: tuple[str | None, int] = (None, self.term)
        self._fresh_snapshot: Snapshot | None = None
        self.role: Follower | Candidate | Leader = Follower(self, now)

    # What the driver calls.

    @property
    def deadline(self) -> float | None:
        """When `tick` is due; None while there is nothing to wait for."""
        return self.role.deadline

    def start(self, now: float) -> list[Effect]:
        """Bring the state machine to where this node knows that it may be. Call it once."""
        if self.snapshot is not None:
            self._effects.append(Restore(self.snapshot))
        self.commit_to(self._recovered_commit, now)
        if isinstance(self.role, Follower):
            self.role.rest(now)
        return self.finish(now)

    def tick(self, now: float) -> list[Effect]:
        """Time has passed. Harmless when nothing is due."""
        self.role.tick(now)
        return self.finish(now)

    def step(self, sender: str, message: GroupMessage, now: float) -> list[Effect]:
        """A message came from a peer: terms first (section 5.1), then the role's part."""
        if not well_formed(message):
            self.refused += 1
        elif self._admit_term(sender, message, now):
            if isinstance(message, VoteRequest):
                self._answer_vote_request(sender, message, now)
            else:
                self.role.step(sender, message, now)
        return self.finish(now)

    def campaign(self, now: float, cause: Cause = Cause.ASKED) -> list[Effect]:
        """Stand for election now. Ignored by a leader and by who has no vote."""
        self.stand(cause, now)
        return self.finish(now)

    def propose(self, commands: Sequence[bytes], now: float) -> list[Effect]:
        """Append commands to the log. Raises NotLeader or Dropped, leaving all unchanged.

        The `Proposed` effect says how many of them fitted into the uncommitted backlog.
        """
        self.as_leader().propose(commands, now)
        return self.finish(now)

    def change(
        self, voters: Sequence[str], now: float, learners: Sequence[str] = ()
    ) -> list[Effect]:
        """Replace the members by joint consensus, and leave it without being asked (section 6).

        Raises NotLeader, or Dropped while another change is under way.
        """
        self.as_leader().change(voters, learners, now)
        return self.finish(now)

    def transfer(self, to: str, now: float) -> list[Effect]:
        """Hand the leadership to a voter (dissertation, 3.10). Raises NotLeader or Dropped."""
        self.as_leader().transfer(to, now)
        return self.finish(now)

    def read_index(self, token: int, now: float) -> list[Effect]:
        """Confirm the leadership by a quorum round (section 8), ending in ReadReady or ReadFailed.

        Tokens must grow. Raises NotLeader.
        """
        self.as_leader().read(token, now)
        return self.finish(now)

    def persisted(self, number: int, now: float) -> list[Effect]:
        """The `Persist` of this number, and all before it, are durable. Stale ones are ignored."""
        if self._completed < number <= self._issued:
            self._completed = number
            while self._writing and self._writing[0].number <= number:
                written = self._writing.popleft()
                self.log.stable = max(self.log.stable, written.last)
            self.role.persisted(number, now)
        return self.finish(now)

    def writing(self, now: float) -> None:
        """All persists so far begin to be written now: the disk owes an answer from here on."""
        for writing in self._writing:
            writing.since = max(writing.since, now)

    def stalled(self, seconds: float) -> None:
        """This node itself did nothing for so long: that is not the disk's fault."""
        for writing in self._writing:
            writing.since += seconds

    def suspect(self, now: float, cause: Cause, *, soon: bool) -> list[Effect]:
        """Protect the leader no longer and arm an election, `soon` if there is evidence."""
        if isinstance(self.role, Follower):
            self.role.suspect(now, cause, soon=soon)
        return self.finish(now)

    def trust(self, now: float) -> list[Effect]:
        """The leader was heard after all: withdraw the doubt."""
        if isinstance(self.role, Follower) and self.leader is not None:
            self.role.relieve(now)
        return self.finish(now)

    def forget_leader(self, now: float) -> list[Effect]:
        """As if no leader of this term were known: votes are free again."""
        if isinstance(self.role, Follower) and self.leader is not None:
            self.become_follower(self.term, None, now)
        return self.finish(now)

    def unreachable(self, peer: str, now: float) -> list[Effect]:
        """Messages to the peer were lost: send carefully until it answers."""
        if isinstance(self.role, Leader):
            self.role.unreachable(peer)
        return self.finish(now)

    def silent(self, peer: str, now: float) -> list[Effect]:
        """The peer was not heard for an election timeout; without a quorum a leader steps down."""
        if isinstance(self.role, Leader):
            self.role.silent(peer, now)
        return self.finish(now)

    def audible(self, peer: str, now: float) -> list[Effect]:
        """The peer is heard again: take up sending where it stopped."""
        if isinstance(self.role, Leader):
            self.role.audible(peer, now)
        return self.finish(now)

    def compact(self, data: bytes, now: float) -> list[Effect]:
        """Fold the log away into a snapshot of the state machine, all Apply effects performed."""
        index = self.log.committed
        term = self.log.term(index)
        assert term is not None
        self.snapshot = Snapshot(index, term, self.configuration, data)
        self._fresh_snapshot = self.snapshot
        cut = index - self.config.trailing_entries
        if cut >= self.log.first:
            self.log.compact(cut)
        return self.finish(now)

    def status(self) -> CoreStatus:
        """What an operator wants to know."""
        return CoreStatus(
            me=self.me,
            role=self.role.name,
            term=self.term,
            vote=self.vote,
            leader=self.leader,
            configuration=self.configuration,
            first=self.log.first,
            last=self.log.last,
            stable=self.log.stable,
            commit=self.log.committed,
            snapshot=self.snapshot_index,
            match=self.role.match() if isinstance(self.role, Leader) else {},
            election=self.election,
            refused=self.refused,
        )

    # What the roles call.

    @property
    def snapshot_index(self) -> int:
        """The last entry in the snapshot; 0 when there is none."""
        return self.snapshot.index if self.snapshot else 0

    @property
    def is_voter(self) -> bool:
        """Whether this node may stand for election."""
        return self.me in quorum.electorate(self.configuration)

    @property
    def is_alone(self) -> bool:
        """Whether this node is the whole group."""
        members = self.configuration
        return members.voters == (self.me,) and not (members.outgoing or members.learners)

    @property
    def is_fresh(self) -> bool:
        """Whether nothing ever happened, so that a candidate disturbs no leader."""
        return self.term == 0 and self.log.last == 0

    @property
    def writing_since(self) -> float | None:
        """Since when the disk has owed a completion; None while it owes none."""
        return self._writing[0].since if self._writing else None

    @property
    def next_persist(self) -> int:
        """The number that this input's Persist will bear, if it makes one."""
        return self._issued + 1

    def election_timeout(self) -> float:
        """One to two election timeouts, spread to avoid split votes (section 5.2)."""
        return self.config.election_timeout * (1 + self.rng.random())

    def emit(self, effect: Effect) -> None:
        """Add an effect."""
        self._effects.append(effect)

    def send(self, to: str, message: GroupMessage) -> None:
        """Send at once, or if this term is not durable yet as soon as it is."""
        fresh = self.term != self._written[0]
        number = self.next_persist if fresh else self._term_number
        self._effects.append(Send(to, message, number if number > self._completed else 0))

    def promise(self, to: str, message: GroupMessage) -> None:
        """Send when everything that this node knows now is durable."""
        self._deferred.append((to, message))

    def as_leader(self) -> Leader:
        """The leader's role. Raises NotLeader."""
        if not isinstance(self.role, Leader):
            raise NotLeader(self.leader)
        return self.role

    def stand(self, cause: Cause, now: float, *, transfer: bool = False, attempt: int = 0) -> None:
        """Begin an election, unless this node leads or has no vote."""
        if isinstance(self.role, Leader) or not self.is_voter:
            return
        pre = self.config.pre_vote and not (transfer or self.is_fresh or self.is_alone)
        self.election = Election(cause, self.term + 1, now)
        if pre:
            self.become_pre_candidate(cause, now, attempt=attempt)
        else:
            self.become_candidate(cause, now, transfer=transfer, attempt=attempt)

    def become_follower(self, term: int, leader: str | None, now: float) -> Follower:
        """Follow; in a new term the vote is free again. Invariant: terms never decrease."""
        assert term >= self.term
        self._leave_role()
        if term > self.term:
            self.term, self.vote = term, None
        self.leader = leader
        self.role = follower = Follower(self, now)
        follower.rest(now)
        return follower

    def become_pre_candidate(self, cause: Cause, now: float, *, attempt: int = 0) -> None:
        """Ask whether an election would be won. Invariant: term and vote stay as they are."""
        self._leave_role()
        self.leader = None
        self.role = candidate = Candidate(self, now, cause, pre=True, attempt=attempt)
        candidate.open(now)

    def become_candidate(
        self, cause: Cause, now: float, *, transfer: bool = False, attempt: int = 0
    ) -> None:
        """Stand in a new term. Invariant: the vote of that term is one's own."""
        self._leave_role()
        self.term += 1
        self.vote = self.me
        self.leader = None
        self.role = candidate = Candidate(
            self, now, cause, pre=False, transfer=transfer, attempt=attempt
        )
        candidate.open(now)

    def become_leader(self, now: float) -> None:
        """Lead. Invariant: a quorum voted for this node in this term."""
        self._leave_role()
        self.leader = self.me
        self.role = leader = Leader(self, now)
        leader.open(now)

    def commit_to(self, index: int, now: float) -> int:
        """Everything up to `index` is committed: apply it, configurations included.

        Returns how many bytes of commands that were.
        """
        index, size = min(index, self.log.last), 0
        while self.log.committed < index:
            entries = self.log.slice(
                self.log.committed + 1, index, self.config.apply_bytes_max, 1 << 30
            )
            self.log.committed = entries[-1].index
            self._effects.append(Apply(entries))
            for entry in entries:
                size += len(entry.data)
                if entry.kind is EntryKind.CONFIGURATION:
                    self.adopt(configuration_of(entry), now)
        return size

    @property
    def known_commit(self) -> tuple[int, int]:
        """The commit index and the term of that entry, for who may not know it."""
        return self.log.committed, self.log.term(self.log.committed) or 0

    def learn_commit(self, index: int, term: int, now: float) -> None:
        """A peer says that an entry is committed; if we have the same one, it is."""
        leads = isinstance(self.role, Leader)
        if not leads and index > self.log.committed and self.log.term(index) == term:
            self.commit_to(index, now)

    def write(self, entries: Sequence[Entry]) -> None:
        """Add entries to the log, replacing what is there from the first one's index on.

        Writes in flight vouch no longer for what is replaced, however late they complete.
        """
        for writing in self._writing:
            writing.last = min(writing.last, entries[0].index - 1)
        self.log.append(entries)

    def restore(self, snapshot: Snapshot, now: float) -> None:
        """Replace log, configuration and state machine by the leader's snapshot (section 7)."""
        self.log.reset(snapshot)
        for writing in self._writing:
            writing.last = 0
        self.snapshot = self._fresh_snapshot = snapshot
        self.adopt(snapshot.configuration, now)
        self._effects.append(Restore(snapshot))

    # The core's own parts.

    def _admit_term(self, sender: str, message: GroupMessage, now: float) -> bool:
        """Apply the rules that compare terms; whether the message needs more."""
        if message.term > self.term:
            return self._meet_newer_term(sender, message, now)
        if message.term == self.term:
            return True
        if isinstance(message, Append | Heartbeat | SnapshotChunk):
            # An old leader, or one that this node outran while it was cut off: it must learn of
            # our term from us, since pre-vote and stickiness keep us from disturbing it otherwise.
            self.promise(sender, AppendReply(self.term, 0, commit=self.log.committed))
        elif isinstance(message, VoteRequest):
            reply = VoteReply(self.term, False, message.pre, *self.known_commit)
            self.promise(sender, reply)
        return False

    def _meet_newer_term(self, sender: str, message: GroupMessage, now: float) -> bool:
        match message:
            # A leader that asks for votes leads no more: from itself it is not protected.
            case VoteRequest(transfer=False) if sender != self.leader and self.role.protects_leader(
                now
            ):
                return False
            case VoteRequest(pre=True) | VoteReply(pre=True, granted=True):
                return True
            case Append() | Heartbeat() | SnapshotChunk():
                self.become_follower(message.term, sender, now)
            case _:
                self.become_follower(message.term, None, now)
        return True

    def _answer_vote_request(self, sender: str, request: VoteRequest, now: float) -> None:
        self.learn_commit(request.commit, request.commit_term, now)
        free = self.vote == sender or (self.vote is None and self.leader is None)
        free = free or (request.pre and request.term > self.term)
        granted = free and self.log.up_to_date(request.last_index, request.last_term)
        term = request.term if granted else self.term
        reply = VoteReply(term, granted, request.pre, *self.known_commit)
        if request.pre:
            self.send(sender, reply)
        else:
            self.promise(sender, reply)
            if granted:
                self.vote = sender
        if granted and isinstance(self.role, Follower):
            self.role.voted(now, pre=request.pre)

    def adopt(self, configuration: Configuration, now: float) -> None:
        """These are the members from now on."""
        self.configuration = configuration
        self.role.reconfigured(now)

    def _leave_role(self) -> None:
        if isinstance(self.role, Leader):
            self.role.close()

    def finish(self, now: float) -> list[Effect]:
        """Close an input: announce, persist what is new, release what had to wait for that."""
        self.role.settle(now)
        if (self.leader, self.term) != self._announced and (
            self.leader is not None or self._announced[0] is not None
        ):
            self._announced = (self.leader, self.term)
            self._effects.append(LeaderChanged(self.leader, self.term))
        self._persist(now)
        after = self._issued if self._issued > self._completed else 0
        self._effects.extend(Send(to, message, after) for to, message in self._deferred)
        self._deferred.clear()
        effects, self._effects = self._effects, []
        return effects

    def _persist(self, now: float) -> None:
        erase, entries = self.log.offer()
        snapshot, self._fresh_snapshot = self._fresh_snapshot, None
        if not entries and not erase and not snapshot and self._written == (self.term, self.vote):
            return
        self._issued += 1
        if self.term != self._written[0]:
            self._term_number = self._issued
        self._written = (self.term, self.vote)
        self._writing.append(_Writing(self._issued, self.log.last, now))
        hard_state = HardState(self.term, self.vote, self.log.committed)
        self._effects.append(Persist(self._issued, hard_state, erase, entries, snapshot))
