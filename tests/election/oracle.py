"""What must hold in every cluster at every time (paper, figure 3), checked as it happens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from peerdisco_election import quorum
from peerdisco_election.core import Core
from peerdisco_election.effects import Persist, ReadFailed, ReadReady, Send
from peerdisco_election.membership import configuration_of
from peerdisco_election.messages import Configuration, Entry, EntryKind, VoteReply
from peerdisco_election.status import Role

if TYPE_CHECKING:
    from tests.election.world import Cluster, Member


class Oracle:
    """What must hold in every cluster at every time."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.leaders: dict[int, str] = {}
        self.stood: dict[int, None] = {0: None}
        self.votes: dict[tuple[str, int], str] = {}
        self.entries: dict[tuple[int, int], tuple[EntryKind, bytes, int | None]] = {}
        self.committed: dict[int, Entry] = {}
        self.top = 0
        self.seen: dict[tuple[str, int], tuple[int, int]] = {}
        self.reads: dict[tuple[str, int, int], int] = {}
        self.reads_done = 0
        self.judging = True
        """Until a person breaks the rules, with a recovery by force."""

    def watch(self, member: Member) -> None:
        if not self.judging:
            return
        core = member.core
        self._monotonic(member)
        if core.role.name in (Role.CANDIDATE, Role.LEADER):
            self.stood[core.term] = None
        assert core.term in self.stood, f"{core.me}: nobody stood for term {core.term}"
        if core.role.name is Role.LEADER and self.leaders.get(core.term) != core.me:
            other = self.leaders.setdefault(core.term, core.me)
            assert other == core.me, f"election safety: two leaders in term {core.term}"
            # One that is elected late may lack what leaders of later terms have committed.
            if core.term == max(self.leaders):
                self._complete(core)

    def _monotonic(self, member: Member) -> None:
        core = member.core
        life = (core.me, member.lives)
        before = self.seen.get(life, (0, 0))
        now = (core.term, core.log.committed)
        assert now[0] >= before[0], "terms never decrease"
        assert now[1] >= before[1], "the commit index never decreases"
        self.seen[life] = now

    def _complete(self, core: Core) -> None:
        """Leader completeness (section 5.4)."""
        assert core.log.last >= self.top, f"leader completeness: {core.me} lacks {self.top}"
        for index in range(core.log.first, self.top + 1):
            expected = self.committed[index].term
            assert core.log.term(index) == expected, f"leader completeness at {index}"

    def written(self, member: Member, persist: Persist) -> None:
        """Log matching (section 5.3): index and term name an entry and its predecessor."""
        for entry in persist.entries:
            if persist.snapshot is not None and entry.index == persist.snapshot.index:
                continue
            previous = member.core.log.term(entry.index - 1)
            known = self.entries.setdefault(
                (entry.index, entry.term), (entry.kind, entry.data, previous)
            )
            assert known[:2] == (entry.kind, entry.data), f"log matching at {entry.index}"
            assert None in (known[2], previous) or known[2] == previous, "log matching below"

    def applied(self, member: Member, entry: Entry, seen: list[Configuration]) -> None:
        """State-machine safety, and durability on a quorum of what is committed first."""
        if not self.judging:
            return
        assert entry.index == member.position + 1, "entries are applied one after another"
        known = self.committed.setdefault(entry.index, entry)
        assert known == entry, f"state-machine safety: two entries committed at {entry.index}"
        if entry.kind is EntryKind.CONFIGURATION:
            seen.append(configuration_of(entry))
        if entry.index > self.top:
            self.top = entry.index
            if seen[0].voters:
                self._durable(entry, seen)

    def _durable(self, entry: Entry, seen: list[Configuration]) -> None:
        here = {
            me: other.durable_from >= entry.index or other.durable.get(entry.index) == entry.term
            for me, other in self.cluster.members.items()
        }
        assert any(quorum.present(one, here) for one in seen), (
            f"entry {entry.index} is committed but durable only at "
            f"{[me for me, durable in here.items() if durable]}"
        )

    def sent(self, sender: str, send: Send) -> None:
        message = send.message
        if isinstance(message, VoteReply) and message.granted and not message.pre:
            other = self.votes.setdefault((sender, message.term), send.to)
            assert other == send.to, f"{sender} voted twice in term {message.term}"

    def asked(self, member: Member, token: int) -> None:
        self.reads[member.me, member.lives, token] = self.top

    def read(self, member: Member, ready: ReadReady) -> None:
        """Linearizable reads: at least what was committed when the read began."""
        for key in [key for key in self.reads if key[:2] == (member.me, member.lives)]:
            if key[2] <= ready.token:
                floor = self.reads.pop(key)
                assert ready.index >= floor, f"stale read: {ready.index} < {floor}"
                self.reads_done += 1

    def read_failed(self, member: Member, failed: ReadFailed) -> None:
        for key in [key for key in self.reads if key[:2] == (member.me, member.lives)]:
            if key[2] <= failed.token:
                del self.reads[key]
