"""A cluster of Raft cores without any input or output: its clock, its network and its disks.

Whatever a member does is checked at once by the `Oracle` (`oracle.py`). Tests get `Cluster` through
the fixtures in `conftest.py`.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable, Sequence

from peerdisco_election import storage
from peerdisco_election.config import RaftConfig
from peerdisco_election.core import Core
from peerdisco_election.effects import (
    Apply,
    Effect,
    Persist,
    ReadFailed,
    ReadReady,
    Restore,
    Send,
)
from peerdisco_election.leader import Leader
from peerdisco_election.log import Recovered
from peerdisco_election.membership import configuration
from peerdisco_election.messages import (
    Configuration,
    EntryKind,
    GroupMessage,
    decode,
    encode,
)
from peerdisco_election.status import Role
from tests.election import script
from tests.election.oracle import Oracle

QUICK = RaftConfig(
    election_timeout=0.2,
    heartbeat_interval=0.07,
    evidence_delay_min=0.005,
    evidence_delay_max=0.03,
    resend_interval=0.06,
    notice_delay=0.0,
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
        self.written = 0
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

    def begin_anew(self, floor: tuple[int, int]) -> None:
        """The group was dissolved here, and the node joins it again, with nothing of its past."""
        self.crash()
        self.store.rows.clear()
        self.durable.clear()
        self.durable_from = 0
        self.store.apply(storage.describe("g", configuration(()), floor=floor))
        self.boot()

    def sync(self) -> None:
        """The oldest write in flight is done."""
        persist = self._write()
        self.written = persist.number
        self.cluster.trace(f"{self.me} has written {persist.number}")
        while self.held and self.held[0].after <= persist.number:
            self.cluster.post(self.me, self.held.popleft())
        self.run(lambda: self.core.persisted(persist.number, self.cluster.now))

    def run(self, act: Callable[[], list[Effect]]) -> list[Effect]:
        """Give the core an input and perform what it asks for."""
        before = self.core.configuration
        self.last_effects = act()
        self.perform(self.last_effects, before)
        return self.last_effects

    def step(self, sender: str, message: GroupMessage) -> list[Effect]:
        """A message comes, past the network."""
        return self.run(lambda: self.core.step(sender, message, self.cluster.now))

    def perform(self, effects: list[Effect], before: Configuration) -> None:
        cluster = self.cluster
        cluster.oracle.watch(self)
        seen = [before]
        for effect in effects:
            if (line := script.effect(effect)) is not None:
                cluster.trace(f"{self.me} {line}")
            match effect:
                case Persist():
                    cluster.oracle.written(self, effect)
                    self.unsynced.append((effect, storage.rows("g", effect)))
                    cluster.schedule_sync(self)
                case Send():
                    if effect.after > self.written:
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
        self.delay = (0.001, 0.001)
        self.disk_delay: tuple[float, float] | None = (0.001, 0.002)
        self.cut: dict[tuple[str, str], None] = {}
        self.hold: Callable[[str, Send], bool] = nothing
        self.trace: Callable[[str], None] = lambda line: None
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
            deadlines = [
                (member.core.deadline, name)
                for name, member in self.members.items()
                if member.up and member.core.deadline is not None
            ]
            due = min(deadlines, default=(float("inf"), ""))
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
        self.trace(f"{sender} -> {send.to}: {script.message(send.message)}")
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
        for _ in range(3):
            # The first attempt of one that was away may only teach it the term.
            if not member.leads:
                member.run(lambda: member.core.campaign(self.now))
                self.settle()
        assert member.leads
        return member

    def drop(self, what: Callable[[str, Send], bool]) -> None:
        """Lose all messages of which this is true; `drop(nothing)` ends it."""
        self.hold = what

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


def nothing(sender: str, send: Send) -> bool:
    """Of no message."""
    return False
