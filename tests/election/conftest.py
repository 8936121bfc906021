"""A cluster of Raft cores without any input or output, and the rules that it must never break.

`Cluster` owns the time, the network and the disks of its members. Whatever a member does is
checked at once (`Oracle`); `storm` throws everything at a cluster that a seed can think of, then
lets it calm down and demands that it works. Tests get these through fixtures.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable, Sequence

import pytest
from peerdisco_election import quorum, storage
from peerdisco_election.config import RaftConfig
from peerdisco_election.core import Core
from peerdisco_election.effects import (
    Apply,
    Effect,
    Persist,
    Proposed,
    ReadFailed,
    ReadReady,
    Restore,
    Send,
)
from peerdisco_election.errors import Dropped, NotLeader
from peerdisco_election.leader import Leader
from peerdisco_election.log import Recovered
from peerdisco_election.membership import configuration, configuration_of
from peerdisco_election.messages import (
    Configuration,
    Entry,
    EntryKind,
    GroupMessage,
    VoteReply,
    decode,
    encode,
)
from peerdisco_election.status import Cause, Role

QUICK = RaftConfig(
    election_timeout=0.2,
    heartbeat_interval=0.07,
    evidence_delay_min=0.005,
    evidence_delay_max=0.03,
    resend_interval=0.06,
    append_entries_max=4,
    inflight_appends_max=4,
    snapshot_chunk_bytes=24,
    trailing_entries=3,
)


class FakeStore:
    """An ordered map whose writes wait until the test says that the disk has synced."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        return self.rows.get(key)

    def scan(
        self, start: bytes, end: bytes, *, limit: int = 1000, reverse: bool = False
    ) -> list[tuple[bytes, bytes]]:
        found = sorted((k, v) for k, v in self.rows.items() if start <= k < end)
        return (found[::-1] if reverse else found)[:limit]

    async def commit(self, writes: Sequence[storage.Write]) -> None:
        self.apply(writes)

    def apply(self, writes: Sequence[storage.Write]) -> None:
        for key, value in writes:
            if value is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = value


class Member:
    """A core with a disk, a state machine that is a list, and a memory of what was sent."""

    def __init__(self, cluster: Cluster, me: str, voters: Sequence[str]) -> None:
        self.cluster = cluster
        self.me = me
        self.store = FakeStore()
        self.unsynced: deque[tuple[Persist, list[storage.Write]]] = deque()
        self.durable: dict[int, int] = {}
        self.durable_from = 0
        self.held: deque[Send] = deque()
        self.applied: list[bytes] = []
        self.position = 0
        self.up = True
        self.lives = 0
        self.last_effects: list[Effect] = []
        self.store.apply(storage.describe("g", configuration(voters)))
        self.boot()

    def boot(self) -> None:
        recovered = storage.recover(self.store, "g")
        assert isinstance(recovered, Recovered)
        self.up = True
        self.lives += 1
        self.applied, self.position = [], 0
        cluster = self.cluster
        self.core = Core(
            self.me, recovered, cluster.config, cluster.rng, cluster.now, watched=cluster.watched
        )
        self.perform(self.core.start(cluster.now), recovered.configuration)

    def crash(self, synced: int = 0) -> None:
        """Lose everything in memory; `synced` of the writes in flight had reached the disk."""
        for _ in range(min(synced, len(self.unsynced))):
            self._write()
        self.unsynced.clear()
        self.held.clear()
        self.up = False

    def sync(self) -> None:
        """The oldest write in flight is done."""
        persist = self._write()
        while self.held and self.held[0].after <= persist.number:
            self.cluster.post(self.me, self.held.popleft())
        self.run(lambda: self.core.persisted(persist.number, self.cluster.now))

    def run(self, act: Callable[[], list[Effect]]) -> list[Effect]:
        """Give the core an input and perform what it asks for."""
        before = self.core.configuration
        self.last_effects = act()
        self.perform(self.last_effects, before)
        return self.last_effects

    def perform(self, effects: list[Effect], before: Configuration) -> None:
        cluster = self.cluster
        cluster.oracle.watch(self)
        seen = [before]
        released = self.unsynced[0][0].number - 1 if self.unsynced else 1 << 60
        for effect in effects:
            match effect:
                case Persist():
                    cluster.oracle.written(self, effect)
                    self.unsynced.append((effect, storage.rows("g", effect)))
                    released = min(released, effect.number - 1)
                    cluster.schedule_sync(self)
                case Send():
                    if effect.after > released:
                        self.held.append(effect)
                    else:
                        cluster.post(self.me, effect)
                case Apply():
                    for entry in effect.entries:
                        cluster.oracle.applied(self, entry, seen)
                        self.position = entry.index
                        if entry.kind is EntryKind.COMMAND:
                            self.applied.append(entry.data)
                case Restore():
                    data = effect.snapshot.data
                    self.applied = decode(data, list[bytes])
                    self.position = effect.snapshot.index
                case ReadReady():
                    cluster.oracle.read(self, effect)
                case ReadFailed():
                    cluster.oracle.read_failed(self, effect)
                case _:
                    pass
        if self.position - self.core.snapshot_index >= cluster.snapshot_entries:
            self.perform(self.core.compact(encode(self.applied), cluster.now), before)

    def _write(self) -> Persist:
        persist, writes = self.unsynced.popleft()
        self.store.apply(writes)
        if persist.erase is not None:
            for index in range(persist.erase[0], persist.erase[1] + 1):
                self.durable.pop(index, None)
        for entry in persist.entries:
            self.durable[entry.index] = entry.term
        if persist.snapshot is not None:
            self.durable_from = max(self.durable_from, persist.snapshot.index)
        return persist

    @property
    def leads(self) -> bool:
        return self.up and self.core.role.name is Role.LEADER


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

    def watch(self, member: Member) -> None:
        core = member.core
        self._monotonic(member)
        if core.role.name in (Role.CANDIDATE, Role.LEADER):
            self.stood[core.term] = None
        assert core.term in self.stood, f"{core.me}: nobody stood for term {core.term}"
        if core.role.name is Role.LEADER and self.leaders.get(core.term) != core.me:
            other = self.leaders.setdefault(core.term, core.me)
            assert other == core.me, f"election safety: two leaders in term {core.term}"
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


class Cluster:
    """Members, a clock, a network that loses, delays and repeats, and disks that take time."""

    def __init__(
        self,
        names: str = "abc",
        voters: str | None = None,
        *,
        seed: int = 1,
        config: RaftConfig = QUICK,
        watched: bool = False,
        snapshot_entries: int = 1 << 30,
    ) -> None:
        self.config = config
        self.watched = watched
        self.snapshot_entries = snapshot_entries
        self.rng = random.Random(seed)
        self.now = 0.0
        self.loss = self.repeat = 0.0
        self.delay = (0.001, 0.002)
        self.disk_delay: tuple[float, float] | None = (0.001, 0.002)
        self.cut: dict[tuple[str, str], None] = {}
        self.hold: Callable[[str, Send], bool] = lambda sender, send: False
        self.trace: list[str] | None = None
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._sequence = itertools.count()
        self._commands = itertools.count(1)
        self._tokens = itertools.count(1)
        self.members: dict[str, Member] = {}
        self.oracle = Oracle(self)
        first = names if voters is None else voters
        for name in names:
            self.members[name] = Member(self, name, first if name in first else "")

    def __getitem__(self, name: str) -> Member:
        return self.members[name]

    # Time.

    def at(self, delay: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + delay, next(self._sequence), act))

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while True:
            due = min(
                (m.core.deadline, name)
                for name, m in [("~", _Never), *self.members.items()]
                if m.up and m.core.deadline is not None
            )
            event = self._events[0][0] if self._events else float("inf")
            if min(due[0], event) > end:
                break
            if event <= due[0]:
                self.now, _, act = heapq.heappop(self._events)
                act()
            else:
                self.now = max(self.now, due[0])
                self._tick(self.members[due[1]])
        self.now = end

    def _tick(self, member: Member) -> None:
        before = member.core.deadline
        member.run(lambda: member.core.tick(self.now))
        assert member.core.deadline != before, "a deadline that is not served"

    def run_until(self, done: Callable[[], bool], limit: float = 5.0) -> None:
        end = self.now + limit
        while not done():
            assert self.now < end, "it did not happen in time"
            self.run(0.005)

    def settle(self) -> None:
        """Deliver and sync all that is under way, in order, without letting timers fire."""
        while self._events:
            _, _, act = heapq.heappop(self._events)
            act()

    # Network and disks.

    def post(self, sender: str, send: Send) -> None:
        self.oracle.sent(sender, send)
        if self.trace is not None:
            self.trace.append(f"  {sender} -> {send.to}  {describe(send.message)}")
        if self.hold(sender, send) or (sender, send.to) in self.cut:
            return
        copies = 1 + (self.rng.random() < self.repeat)
        for _ in range(copies):
            if self.rng.random() >= self.loss:
                self.at(self._delay(self.delay), lambda: self.deliver(sender, send))

    def deliver(self, sender: str, send: Send) -> None:
        member = self.members[send.to]
        if member.up and (sender, send.to) not in self.cut:
            member.run(lambda: member.core.step(sender, send.message, self.now))

    def schedule_sync(self, member: Member) -> None:
        if self.disk_delay is None:
            return
        life = member.lives

        def sync() -> None:
            if member.up and member.lives == life and member.unsynced:
                member.sync()

        self.at(self._delay(self.disk_delay), sync)

    def _delay(self, span: tuple[float, float]) -> float:
        return self.rng.uniform(*span)

    def isolate(self, *names: str) -> None:
        """Cut these off from all the others."""
        for one in names:
            for other in self.members:
                if other not in names:
                    self.cut[one, other] = self.cut[other, one] = None

    def heal(self) -> None:
        self.cut.clear()

    # What users do.

    @property
    def leader(self) -> Member | None:
        leaders = [member for member in self.members.values() if member.leads]
        return max(leaders, key=lambda member: member.core.term, default=None)

    def elect(self, name: str) -> Member:
        """Make this member the leader, and let its first entry be committed."""
        member = self.members[name]
        member.run(lambda: member.core.campaign(self.now))
        self.settle()
        assert member.leads
        return member

    def propose(self, member: Member, count: int = 1) -> list[bytes]:
        commands = [b"%d" % next(self._commands) for _ in range(count)]
        member.run(lambda: member.core.propose(commands, self.now))
        return commands

    def read(self, member: Member) -> None:
        token = next(self._tokens)
        if not isinstance(member.core.role, Leader):
            return
        self.oracle.asked(member, token)
        member.run(lambda: member.core.read_index(token, self.now))


class _Nothing:
    up = True

    class core:  # noqa: N801 - stands in for a Core
        deadline = float("inf")


_Never = _Nothing()


def describe(message: GroupMessage) -> str:
    """A message as one line of a play."""
    words = [type(message).__name__]
    for field in message.__struct_fields__:
        value = getattr(message, field)
        if field == "entries":
            words += [f"[{entry.index}.{entry.term} {_said(entry)}]" for entry in value]
        elif isinstance(value, Configuration):
            words.append(_members(value))
        elif value is True:
            words.append(field)
        elif field in ("granted", "term") or value not in (False, 0, b""):
            words.append(f"{field}={value}")
    return " ".join(words)


def _said(entry: Entry) -> str:
    if entry.kind is EntryKind.CONFIGURATION:
        return _members(configuration_of(entry))
    return entry.data.decode() if entry.kind is EntryKind.COMMAND else "empty"


def _members(value: Configuration) -> str:
    parts = ["".join(value.voters)]
    parts += ["out:" + "".join(value.outgoing)] if value.outgoing else []
    parts += ["learn:" + "".join(value.learners)] if value.learners else []
    return "(" + " ".join(parts) + ")"


class Storm:
    """One seeded run: faults, then calm; any broken rule raises AssertionError."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(f"storm {seed}")
        self.cluster = cluster = Cluster(
            "abcde",
            self.rng.choice(["abc", "abc", "ab", "abcd"]),
            seed=seed,
            snapshot_entries=self.rng.choice([6, 15, 1 << 30]),
        )
        cluster.loss = self.rng.choice([0.0, 0.05, 0.2])
        cluster.repeat = self.rng.choice([0.0, 0.1])
        cluster.delay = self.rng.choice([(0.001, 0.01), (0.001, 0.05), (0.001, 0.25)])
        cluster.disk_delay = self.rng.choice([(0.001, 0.005), (0.001, 0.08)])

    def run(self, seconds: float = 2.5) -> None:
        cluster = self.cluster
        end = cluster.now + seconds
        while cluster.now < end:
            cluster.run(self.rng.uniform(0.005, 0.06))
            self._disturb()
        self._calm()

    def _disturb(self) -> None:
        rng, cluster = self.rng, self.cluster
        member = rng.choice([*cluster.members.values()])
        leader = cluster.leader
        target = leader if leader is not None and rng.random() < 0.5 else member
        dice = rng.random()
        if dice < 0.45:
            self._work(target)
        elif dice < 0.55:
            self._suspect(member)
        elif dice < 0.65:
            self._crash(target)
        elif dice < 0.75:
            cluster.heal()
        elif dice < 0.85:
            names = rng.sample([*cluster.members], rng.choice([1, 2]))
            cluster.isolate(*([target.me] if rng.random() < 0.5 else names))
        elif dice < 0.95 and leader is not None:
            self._change(leader)
        elif leader is not None:
            self._try(leader, lambda: leader.core.transfer(member.me, cluster.now))

    def _work(self, target: Member) -> None:
        if not target.up:
            return
        for leader in [m for m in self.cluster.members.values() if m.leads]:
            self.cluster.read(leader)
            if self.rng.random() < 0.7:
                try:
                    self.cluster.propose(leader, self.rng.choice([1, 1, 3, 9]))
                except Dropped:
                    pass

    def _suspect(self, member: Member) -> None:
        now = self.cluster.now
        if member.up:
            soon = self.rng.random() < 0.7
            member.run(lambda: member.core.suspect(now, Cause.EVIDENCE, soon=soon))

    def _crash(self, member: Member) -> None:
        if not member.up:
            member.boot()
            return
        member.crash(self.rng.choice([0, 0, 1, 9]))
        life = member.lives

        def reboot() -> None:
            if member.lives == life and not member.up:
                member.boot()

        self.cluster.at(self.rng.uniform(0.02, 0.8), reboot)

    def _change(self, leader: Member) -> None:
        names = [*self.cluster.members]
        voters = self.rng.sample(names, self.rng.choice([1, 2, 3, 3, 4]))
        learners = self.rng.sample(names, self.rng.choice([0, 0, 1, 2]))
        self._try(leader, lambda: leader.core.change(voters, self.cluster.now, learners))

    def _try(self, member: Member, act: Callable[[], list[Effect]]) -> None:
        try:
            member.run(act)
        except (Dropped, NotLeader):
            pass

    def _calm(self) -> None:
        """Liveness after the storm: a leader, everything committed, reads answered."""
        cluster = self.cluster
        cluster.heal()
        cluster.loss = cluster.repeat = 0.0
        cluster.delay = (0.001, 0.003)
        cluster.disk_delay = (0.001, 0.003)
        for member in cluster.members.values():
            if not member.up:
                member.boot()
        cluster.run_until(self._quiet, limit=12.0)
        done = cluster.oracle.reads_done
        # A message of the storm may still move the leadership once: then a read is asked again.
        for _ in range(10):
            if cluster.leader is not None:
                cluster.read(cluster.leader)
            cluster.run(0.3)
        assert cluster.oracle.reads_done > done, "a read is answered in a calm cluster"
        cluster.run_until(self._quiet, limit=3.0)
        self._same()

    def _quiet(self) -> bool:
        leader = self.cluster.leader
        if leader is None or leader.core.configuration.outgoing:
            return False
        logs = [self.cluster[name].core.log for name in quorum.everyone(leader.core.configuration)]
        return all(log.committed == log.last == leader.core.log.last for log in logs)

    def _same(self) -> None:
        leader = self.cluster.leader
        assert leader is not None
        for name in quorum.everyone(leader.core.configuration):
            assert leader.applied == self.cluster[name].applied, "equal state after the storm"


@pytest.fixture
def make_cluster() -> Callable[..., Cluster]:
    """Makes a cluster; the arguments are those of `Cluster`."""
    return Cluster


@pytest.fixture
def storm() -> Callable[[int], None]:
    """Runs one seed."""
    return lambda seed: Storm(seed).run()


@pytest.fixture
def describe_message() -> Callable[[GroupMessage], str]:
    """A message as one line of a play."""
    return describe


@pytest.fixture
def fake_store() -> Callable[[], FakeStore]:
    """Makes an in-memory store."""
    return FakeStore


def proposed(effects: list[Effect]) -> Proposed:
    """The Proposed among effects."""
    return next(effect for effect in effects if isinstance(effect, Proposed))
