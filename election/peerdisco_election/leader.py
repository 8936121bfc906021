"""The leader: replicates its log, counts acknowledgements, confirms reads.

Appends leave before the leader's own entries are durable; its own acknowledgement is
`Core.persisted`. Everything lost is repeated by the reminder timer, which under a driver that
watches nodes runs only while an active follower lags or a read waits. Its parts: `progress.py`,
`reads.py`, `membership.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from peerdisco_election import quorum
from peerdisco_election.effects import Changed, Proposed, ReadFailed, ReadReady
from peerdisco_election.errors import Dropped
from peerdisco_election.membership import configuration_entry, enter_joint, leave_joint
from peerdisco_election.messages import (
    Append,
    AppendReply,
    Configuration,
    Entry,
    EntryKind,
    GroupMessage,
    Heartbeat,
    HeartbeatReply,
    SnapshotChunk,
    SnapshotReply,
    TimeoutNow,
)
from peerdisco_election.progress import Phase, Progress
from peerdisco_election.reads import Reads
from peerdisco_election.status import Role

if TYPE_CHECKING:
    from peerdisco_election.core import Core


class Leader:
    """The member that a quorum elected for this term."""

    name = Role.LEADER

    def __init__(self, core: Core, now: float) -> None:
        self._core = core
        self._progress: dict[str, Progress] = {}
        self._reads = Reads()
        self._transferee: str | None = None
        self._transfer_until = 0.0
        # An unfinished change of a predecessor may stand anywhere in the log.
        self._change_index = core.log.last
        self._uncommitted = sum(
            len(entry.data)
            for entry in core.log.slice(core.log.committed + 1, core.log.last, 1 << 62, 1 << 62)
        )
        self._left_joint = False
        self._settling = False
        self._remind_at: float | None = None
        self._tell_at: float | None = None
        self._check_at = now + core.config.election_timeout

    def open(self, now: float) -> None:
        """Start with an empty entry: it commits what predecessors left (sections 5.4.2 and 8)."""
        self._meet_members(now)
        self._append([(EntryKind.EMPTY, b"")])
        self._broadcast()

    def close(self) -> None:
        """The leadership has ended: reads cannot be confirmed any more."""
        if self._reads.last:
            self._core.emit(ReadFailed(self._reads.last))

    def match(self) -> dict[str, int]:
        """What each member, oneself included, is known to hold durably."""
        matched = {peer: progress.match for peer, progress in self._progress.items()}
        return {self._core.me: self._core.log.stable, **matched}

    # Inputs.

    def propose(self, commands: Sequence[bytes], now: float) -> None:  # noqa: ARG002 - as the others
        """Append as many of the commands as the backlog allows."""
        if self._transferee is not None:
            raise Dropped("the leadership is being transferred")
        room = self._core.config.uncommitted_bytes_max - self._uncommitted
        taken: list[tuple[EntryKind, bytes]] = []
        for command in commands:
            room -= len(command)
            if room < 0:
                break
            taken.append((EntryKind.COMMAND, command))
        if not taken:
            raise Dropped("too many bytes wait to be committed")
        self._propose(taken)

    def change(self, voters: Sequence[str], learners: Sequence[str], now: float) -> None:  # noqa: ARG002
        """Enter a joint configuration. One change at a time, or majorities might not overlap."""
        core = self._core
        if self._transferee is not None:
            raise Dropped("the leadership is being transferred")
        if core.configuration.outgoing or self._change_index > core.log.committed:
            raise Dropped("another change of members is under way")
        if not voters:
            raise Dropped("a group needs a voter")
        self._propose_configuration(enter_joint(core.configuration, voters, learners))

    def transfer(self, to: str, now: float) -> None:
        """Bring the voter up to date, then ask it to stand. Given up after an election timeout."""
        core = self._core
        if to not in self._progress or to not in quorum.electorate(core.configuration):
            raise Dropped("the leadership goes to another voter only")
        self._transferee = to
        self._transfer_until = now + core.config.election_timeout
        if not self._hand_over(to):
            self._send(to, force=True)

    def read(self, token: int, now: float) -> None:  # noqa: ARG002 - as the others
        """Start or postpone a read."""
        core = self._core
        if core.log.term(core.log.committed) != core.term:
            self._reads.postpone(token)
            return
        self._reads.add(token, core.log.committed)
        self._ask_quorum()

    def tick(self, now: float) -> None:
        """Remind, check the quorum, give up a transfer, notice a stuck disk."""
        core = self._core
        if self._transferee is not None and now >= self._transfer_until:
            self._transferee = None
        if self._disk_deadline is not None and now >= self._disk_deadline:
            core.become_follower(core.term, None, now)
            return
        if self._tell_at is not None and now >= self._tell_at:
            self._tell_at = None
            self._broadcast(tell=True)
        if self._remind_at is not None and now >= self._remind_at:
            self._remind_at = None
            self._remind()
        if not core.watched and now >= self._check_at:
            self._check_at = now + core.config.election_timeout
            for progress in self._progress.values():
                if now - progress.heard_at >= core.config.election_timeout:
                    progress.active = False
            self._check_quorum(now)

    @property
    def deadline(self) -> float | None:
        """The nearest of the leader's timers."""
        times = [self._tell_at, self._remind_at, self._disk_deadline]
        if self._transferee is not None:
            times.append(self._transfer_until)
        if not self._core.watched:
            times.append(self._check_at)
        return min((time for time in times if time is not None), default=None)

    def persisted(self, number: int, now: float) -> None:  # noqa: ARG002 - as the other roles
        """One's own acknowledgement."""
        self._advance(now)

    def protects_leader(self, now: float) -> bool:  # noqa: ARG002 - as the other roles
        """As long as it leads it has a quorum, or is about to notice that it has none."""
        return self._core.config.check_quorum

    def unreachable(self, peer: str) -> None:
        """Messages may be lost: what is in flight will not be waited for."""
        progress = self._progress.get(peer)
        if progress is not None and progress.phase is Phase.REPLICATE:
            progress.become_probe()

    def silent(self, peer: str, now: float) -> None:
        """Do not count the peer, and send nothing more until it is heard."""
        progress = self._progress.get(peer)
        if progress is not None:
            progress.active = False
            self.unreachable(peer)
            self._check_quorum(now)

    def audible(self, peer: str, now: float) -> None:
        """The peer is heard again."""
        progress = self._progress.get(peer)
        if progress is not None and not progress.active:
            self._heard(progress, now)
            progress.paused = False
            self._send(peer, force=True)

    def reconfigured(self, now: float) -> None:
        """Members came or went, or majorities are counted by other rules."""
        self._left_joint = not self._core.configuration.outgoing
        for peer in self._meet_members(now):
            self._send(peer, force=True)

    def settle(self, now: float) -> None:
        """Leave a joint configuration, step down when not needed, keep the reminder armed."""
        core = self._core
        if core.configuration.outgoing and self._change_index <= core.log.committed:
            self._propose_configuration(leave_joint(core.configuration), quiet=True)
        if self._left_joint:
            # Who has this entry has written that the change is committed: see the README.
            self._left_joint, self._settling = False, True
            self._change_index = core.log.last + 1
            self._append([(EntryKind.EMPTY, b"")])
            self._broadcast()
        if self._settling and self._change_index <= core.log.committed:
            self._settling = False
            core.emit(Changed(core.configuration))
            if not core.is_voter:
                self._retire(now)
                return
        if self._remind_at is None and (not core.watched or self._unsettled()):
            self._remind_at = now + core.config.heartbeat_interval

    def step(self, sender: str, message: GroupMessage, now: float) -> None:
        """A message of this term."""
        progress = self._progress.get(sender)
        if progress is None:
            return
        match message:
            case AppendReply() if message.index <= self._core.log.last:
                self._heard(progress, now)
                self._on_append_reply(sender, progress, message, now)
            case HeartbeatReply():
                self._heard(progress, now)
                self._on_heartbeat_reply(sender, progress, message)
            case SnapshotReply():
                self._heard(progress, now)
                self._on_snapshot_reply(sender, progress, message)
            case AppendReply() | Append() | Heartbeat() | SnapshotChunk():
                # An entry that we never had, or a second leader in one term.
                self._core.refused += 1
            case _:
                # Late votes, and requests that are answered in the core.
                pass

    # Answers.

    def _on_append_reply(
        self, peer: str, progress: Progress, reply: AppendReply, now: float
    ) -> None:
        progress.commit = max(progress.commit, reply.commit)
        if reply.rejected:
            # Up to hint_index the follower has no term above hint_term: skip what we have of such.
            hint = reply.hint_index
            if reply.hint_term:
                hint, _ = self._core.log.agree_below(reply.hint_index, reply.hint_term)
            if progress.reject(reply.index, hint):
                self._send(peer, force=True)
            return
        news = progress.acknowledge(reply.index)
        if progress.phase is Phase.PROBE or progress.has_snapshot():
            progress.become_replicate()
        if news:
            self._advance(now)
        self._fill(peer, tell=self._tell_at is None)
        if self._transferee == peer:
            self._hand_over(peer)

    def _on_heartbeat_reply(self, peer: str, progress: Progress, reply: HeartbeatReply) -> None:
        # A follower that restarted may know less than before: what it knew was not written.
        progress.commit = reply.commit
        progress.confirmed = max(progress.confirmed, reply.context)
        progress.paused = False
        if self._lags(progress):
            # Appends, or their acknowledgements, may be lost. An Append after the last one sent
            # finds out: it is acknowledged, or rejected, and then `progress` starts over.
            progress.told = progress.commit
            self._send(peer, force=True)
        self._confirm_reads()

    def _on_snapshot_reply(self, peer: str, progress: Progress, reply: SnapshotReply) -> None:
        if progress.phase is not Phase.SNAPSHOT or progress.snapshot is None:
            return
        snapshot = progress.snapshot
        # An answer that moves nothing is a repeated one, or a refusal: the reminder tries again.
        moves = reply.received != progress.snapshot_offset
        if moves and reply.index == snapshot.index and reply.received <= len(snapshot.data):
            progress.snapshot_offset = reply.received
            progress.paused = False
            self._send(peer)

    def _heard(self, progress: Progress, now: float) -> None:
        progress.heard_at = now
        progress.active = True

    # Sending.

    def _broadcast(self, *, tell: bool = False) -> None:
        for peer in self._progress:
            self._fill(peer, tell=tell)

    def _tell(self, now: float) -> None:
        """Let the followers know of a commit: at once, or with entries that come shortly."""
        delay = self._core.config.notice_delay
        if not delay:
            self._broadcast(tell=True)
        elif self._tell_at is None:
            self._tell_at = now + delay

    def _fill(self, peer: str, *, tell: bool) -> None:
        """Use the whole window of a follower that streams."""
        while self._send(peer, tell=tell) and self._progress[peer].phase is Phase.REPLICATE:
            pass

    def _send(self, peer: str, *, force: bool = False, tell: bool = False) -> bool:
        """Send the next Append; whether something left.

        Without entries it leaves only to `tell` a commit index that is news, or when forced.
        """
        core, log, progress = self._core, self._core.log, self._progress.get(peer)
        if progress is None or not progress.active or not progress.may_send():
            return False
        previous = progress.next - 1
        previous_term = log.term(previous)
        if progress.phase is Phase.SNAPSHOT or previous_term is None:
            return self._send_chunk(peer, progress)
        entries: tuple[Entry, ...] = ()
        if progress.phase is Phase.PROBE or progress.has_window(core.config):
            config = core.config
            entries = log.slice(
                progress.next, log.last, config.append_bytes_max, config.append_entries_max
            )
        told = min(log.committed, previous + len(entries))
        if not entries and not force and not (tell and told > progress.told):
            return False
        core.send(peer, Append(core.term, previous, previous_term, log.committed, entries))
        progress.told = max(progress.told, told)
        last = entries[-1].index if entries else 0
        progress.sent(last, sum(len(entry.data) for entry in entries))
        return True

    def _send_chunk(self, peer: str, progress: Progress) -> bool:
        """Send the next piece of the snapshot that the follower is given (section 7)."""
        core = self._core
        if progress.snapshot is None:
            assert core.snapshot is not None, "the log is cut only behind a snapshot"
            progress.become_snapshot(core.snapshot)
        snapshot = progress.snapshot
        assert snapshot is not None
        offset = progress.snapshot_offset
        chunk = SnapshotChunk(
            core.term,
            snapshot.index,
            snapshot.term,
            snapshot.configuration,
            len(snapshot.data),
            offset,
            snapshot.data[offset : offset + core.config.snapshot_chunk_bytes],
        )
        core.send(peer, chunk)
        progress.paused = True
        return True

    def _remind(self) -> None:
        core = self._core
        for peer, progress in self._progress.items():
            if not core.watched or (progress.active and (self._reads or self._lags(progress))):
                self._beat(peer, progress)

    def _beat(self, peer: str, progress: Progress) -> None:
        # A commit index beyond match might name an entry that the follower has differently.
        commit = min(progress.match, self._core.log.committed)
        self._core.send(peer, Heartbeat(self._core.term, commit, self._reads.latest))

    def _lags(self, progress: Progress) -> bool:
        log = self._core.log
        return progress.match < log.last or progress.commit < log.committed

    def _unsettled(self) -> bool:
        return bool(self._reads) or any(
            progress.active and self._lags(progress) for progress in self._progress.values()
        )

    @property
    def _disk_deadline(self) -> float | None:
        core = self._core
        if core.writing_since is None or core.is_alone or not core.config.check_quorum:
            return None
        return core.writing_since + core.config.election_timeout

    # Appending and committing.

    def _propose(self, items: Sequence[tuple[EntryKind, bytes]]) -> None:
        core = self._core
        core.emit(Proposed(core.log.last + 1, core.term, len(items)))
        self._append(items)
        self._broadcast()

    def _append(self, items: Sequence[tuple[EntryKind, bytes]]) -> None:
        core = self._core
        first = core.log.last + 1
        core.write([Entry(first + at, core.term, *item) for at, item in enumerate(items)])
        self._uncommitted += sum(len(data) for _, data in items)

    def _propose_configuration(self, configuration: Configuration, *, quiet: bool = False) -> None:
        core = self._core
        self._change_index = core.log.last + 1
        entry = configuration_entry(self._change_index, core.term, configuration)
        if not quiet:
            core.emit(Proposed(entry.index, entry.term, 1))
        self._append([(entry.kind, entry.data)])
        self._broadcast()

    def _advance(self, now: float) -> None:
        """Commit what a quorum holds, but count only for entries of this term (section 5.4.2)."""
        core, log = self._core, self._core.log
        before = log.committed
        while True:
            index = quorum.agreed(core.configuration, self.match())
            if index <= log.committed or log.term(index) != core.term:
                break
            self._uncommitted -= core.commit_to(index, now)
        if log.committed > before:
            self._tell(now)
            if self._reads.begin(log.committed):
                self._ask_quorum()

    def _ask_quorum(self) -> None:
        for peer in quorum.electorate(self._core.configuration):
            if peer in self._progress:
                self._beat(peer, self._progress[peer])
        self._confirm_reads()

    def _confirm_reads(self) -> None:
        core = self._core
        confirmed = {peer: progress.confirmed for peer, progress in self._progress.items()}
        confirmed[core.me] = self._reads.latest
        finished = self._reads.confirm(quorum.agreed(core.configuration, confirmed))
        if finished is not None:
            core.emit(ReadReady(*finished))

    # Members.

    def _meet_members(self, now: float) -> list[str]:
        """Keep one `Progress` for each other member; returns those that are new."""
        core = self._core
        members = [peer for peer in quorum.everyone(core.configuration) if peer != core.me]
        fresh = [peer for peer in members if peer not in self._progress]
        for peer in [peer for peer in self._progress if peer not in members]:
            # The last thing it hears: the commit index that removes it. Losing it is harmless.
            self._send(peer, tell=True)
            del self._progress[peer]
            if self._transferee == peer:
                self._transferee = None
        for peer in fresh:
            self._progress[peer] = Progress(core.log.last + 1, now)
        return fresh

    def _check_quorum(self, now: float) -> None:
        core = self._core
        here = {peer: progress.active for peer, progress in self._progress.items()}
        here[core.me] = True
        if core.config.check_quorum and not quorum.present(core.configuration, here):
            core.become_follower(core.term, None, now)

    def _hand_over(self, peer: str) -> bool:
        """Ask the voter to stand, if it has everything."""
        if self._progress[peer].match < self._core.log.last:
            return False
        self._core.send(peer, TimeoutNow(self._core.term))
        return True

    def _retire(self, now: float) -> None:
        """Step down after removing oneself (section 6), naming the best successor."""
        core = self._core
        voters = [peer for peer in core.configuration.voters if self._progress[peer].active]
        if voters:
            best = max(voters, key=lambda peer: self._progress[peer].match)
            core.send(best, TimeoutNow(core.term))
        core.become_follower(core.term, None, now)
