"""One group on this node: performs what its core asks for, and settles what callers wait for.

Every future that leaves here is settled: by the entry that is applied at its index, by a refusal,
or by its caller's timeout. All work happens in the turns of `Groups` (`groups.py`), which also
owns the clock, the store and the links.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from peerdisco_election import storage
from peerdisco_election.core import Core
from peerdisco_election.effects import (
    Apply,
    Changed,
    Effect,
    LeaderChanged,
    Persist,
    Proposed,
    ReadFailed,
    ReadReady,
    Restore,
    Send,
)
from peerdisco_election.errors import Dropped, NotLeader, RaftError, Unknown
from peerdisco_election.log import Recovered
from peerdisco_election.membership import configuration
from peerdisco_election.messages import (
    Configuration,
    Entry,
    EntryKind,
    GroupMessage,
    Recovery,
    Snapshot,
)
from peerdisco_election.outcomes import fail, settled, succeed
from peerdisco_election.ports import StateMachine
from peerdisco_election.recovery import force, plan, resign
from peerdisco_election.status import Cause, GroupStatus

logger = logging.getLogger(__name__)


class Hub(Protocol):
    """What a group needs from the node: `groups.py`."""

    def now(self) -> float:
        """The loop's clock."""

    def wake(self, group: Group) -> None:
        """Give the group a turn."""

    def persist(self, group: Group, number: int, writes: Sequence[storage.Write]) -> None:
        """Commit these with the next batch, then call `group.persisted(number)`."""

    def post(self, to: str, group: str, message: GroupMessage) -> None:
        """Send with the frame that closes this turn."""

    def rearm(self, group: Group) -> None:
        """The group's deadline may have changed."""

    def leadership_changed(self, group: Group) -> None:
        """What this node does in the group must be looked at anew."""


class Group:
    """A member of one Raft group. Made by `Groups.create` and `Groups.open` only."""

    def __init__(
        self, hub: Hub, name: str, core: Core, machine: StateMachine, recovered: Recovered
    ) -> None:
        self.name = name
        self.core = core
        self.era = recovered.era
        self.recovery = recovered.recovery
        self.superseded = False
        self.formed: asyncio.Future[None] | None = None
        self.closed = ""
        self._hub = hub
        self._machine = machine
        self._applied = 0
        self._applied_bytes = 0
        self._durable = 0
        self._era_is_news = False
        self._held: deque[Send] = deque()
        self._queued: list[tuple[bytes, asyncio.Future[object]]] = []
        self._offered: list[asyncio.Future[object]] = []
        self._changes: list[asyncio.Future[object]] = []
        self._open: dict[int, tuple[int, asyncio.Future[object]]] = {}
        self._changing: list[asyncio.Future[object]] = []
        self._readers: list[asyncio.Future[object]] = []
        self._reading: deque[tuple[int, list[asyncio.Future[object]]]] = deque()
        self._token = 0
        self._watchers: list[asyncio.Future[object]] = []
        self._callbacks: list[Callable[[LeaderChanged], None]] = []

    # What callers see.

    @property
    def leader(self) -> str | None:
        """Who leads, as far as this node knows."""
        return self.core.leader

    @property
    def term(self) -> int:
        """The latest term that this node has seen."""
        return self.core.term

    @property
    def is_leader(self) -> bool:
        """Whether this node leads."""
        return self.core.leader == self.core.me

    @property
    def voters(self) -> tuple[str, ...]:
        """The voters of the committed configuration; while it changes, the new ones."""
        return self.core.configuration.voters

    @property
    def known_commit(self) -> tuple[int, int]:
        """Index and term of the newest entry that is known here to be committed."""
        return self.core.known_commit

    async def propose(self, command: bytes, *, timeout: float) -> object:
        """Replicate a command; returns what the state machine's `apply` returned here.

        Raises NotLeader or Dropped when it will never be committed, and Unknown when nobody can
        say, which includes that `timeout` seconds have passed.
        """
        self._require_leader()
        config = self.core.config
        if len(command) > config.command_bytes_max:
            raise Dropped(f"a command of more than {config.command_bytes_max} bytes")
        if len(self._queued) >= config.proposals_max:
            raise Dropped("too many proposals wait")
        outcome = self._future()
        self._queued.append((command, outcome))
        self._hub.wake(self)
        return await settled(outcome, timeout)

    async def read_index(self, *, timeout: float) -> None:
        """Return when this node's state machine holds all that was committed before the call.

        The barrier of a linearizable read (section 8). Raises NotLeader, Dropped, or Unknown when
        no quorum answered within `timeout` seconds; reading again elsewhere is always safe.
        """
        self._require_leader()
        if len(self._readers) + len(self._reading) >= self.core.config.reads_max:
            raise Dropped("too many reads wait")
        outcome = self._future()
        self._readers.append(outcome)
        self._hub.wake(self)
        await settled(outcome, timeout)

    async def change_voters(
        self, voters: Sequence[str], *, timeout: float, learners: Sequence[str] = ()
    ) -> None:
        """Replace the members by joint consensus (section 6); done when the old ones are out.

        New members must have been created on their nodes, with no voters and from this leader's
        `known_commit`. Raises as `propose` does.
        """
        self._require_leader()
        outcome = self._future()
        self._changes.append(outcome)
        try:
            self._perform(self.core.change(voters, self._hub.now(), learners))
        finally:
            self._changes.clear()
            self._hub.wake(self)
        await settled(outcome, timeout)

    async def transfer(self, to: str, *, timeout: float = 5.0) -> None:
        """Hand the leadership to a voter; done when somebody else is known to lead.

        Raises NotLeader, Dropped, or Unknown after `timeout` seconds, mostly still leading.
        """
        self._require_leader()
        self._perform(self.core.transfer(to, self._hub.now()))
        self._hub.wake(self)
        try:
            async with asyncio.timeout(timeout):
                while self.is_leader or self.leader is None:
                    await self._next_leader()
        except TimeoutError:
            raise Unknown(f"the leadership did not move within {timeout} s") from None

    async def wait_for_leader(self, *, timeout: float) -> str:
        """Who leads, as soon as anybody is known to. Raises Unknown after `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                while self.core.leader is None:
                    await self._next_leader()
        except TimeoutError:
            raise Unknown(f"no leader is known within {timeout} s") from None
        return self.core.leader

    def subscribe(self, callback: Callable[[LeaderChanged], None]) -> None:
        """Call back, inside a turn, whenever this node's view of the leader changes."""
        self._callbacks.append(callback)

    def status(self) -> GroupStatus:
        """For operators."""
        core = self.core.status()
        members = {*core.configuration.voters, *core.configuration.outgoing}
        return GroupStatus(
            name=self.name,
            core=core,
            applied=self._applied,
            waiting=len(self._open) + len(self._queued),
            removed=bool(members) and core.me not in members | {*core.configuration.learners},
            era=self.era,
            superseded=self.superseded,
            recovery=self.recovery,
        )

    # What Groups calls.

    def start(self) -> None:
        """Bring the state machine to where this node knows that it may be."""
        self._perform(self.core.start(self._hub.now()))

    def campaign(self, cause: Cause) -> None:
        """Stand for election."""
        self._perform(self.core.campaign(self._hub.now(), cause))

    def tick(self, now: float) -> None:
        """The deadline has passed."""
        self._perform(self.core.tick(now))

    def admits(self, era: int) -> bool:
        """Whether a message of that era is for this member (see `recovery.py`).

        A member without a past joins any era; any other one that hears of a later era resigns.
        """
        if era > self.era:
            core = self.core
            if core.log.last == 0 and not core.configuration.voters:
                self.era, self._era_is_news = era, True
                core.log.floor = (0, 0)
            elif not self.superseded:
                self.superseded = True
                self._perform(resign(core, self._hub.now()))
                self._hub.leadership_changed(self)
        return era == self.era and not self.superseded

    def recover(self) -> Recovery:
        """Be the whole group by force. Raises Dropped when that would be wrong."""
        self._require_open()
        recovery = self.recovery = plan(self.core, self.era)
        self.era = recovery.era
        writes = storage.describe(self.name, configuration([self.core.me]), self.era)
        self._hub.persist(self, self._durable, writes + storage.note(self.name, recovery))
        self._perform(force(self.core, self._hub.now()))
        return recovery

    def step(self, sender: str, message: GroupMessage, now: float) -> None:
        """A message came."""
        self._perform(self.core.step(sender, message, now))

    def suspect(self, cause: Cause, *, soon: bool) -> None:
        """The leader's node is doubted."""
        self._perform(self.core.suspect(self._hub.now(), cause, soon=soon))

    def disown(self) -> None:
        """The leader's node says that it does not lead this group."""
        now = self._hub.now()
        self._perform(self.core.forget_leader(now))
        self._perform(self.core.suspect(now, Cause.DISOWNED, soon=True))

    def trust(self) -> None:
        """The leader's node is well after all."""
        self._perform(self.core.trust(self._hub.now()))

    def unreachable(self, peer: str) -> None:
        """Frames to the peer were lost."""
        self._perform(self.core.unreachable(peer, self._hub.now()))

    def silent(self, peer: str) -> None:
        """The peer was not heard for an election timeout."""
        self._perform(self.core.silent(peer, self._hub.now()))

    def audible(self, peer: str) -> None:
        """The peer is heard again."""
        self._perform(self.core.audible(peer, self._hub.now()))

    def writing(self) -> None:
        """All that was to be persisted is on its way to the disk."""
        self.core.writing(self._hub.now())
        self._hub.rearm(self)

    def stalled(self, seconds: float) -> None:
        """This node did nothing for so long."""
        self.core.stalled(seconds)
        self._hub.rearm(self)

    def persisted(self, number: int, now: float) -> None:
        """All up to this persist is durable: release what waited for it."""
        self._durable = number
        while self._held and self._held[0].after <= number:
            send = self._held.popleft()
            self._hub.post(send.to, self.name, send.message)
        self._perform(self.core.persisted(number, now))

    def flush(self, now: float) -> int:
        """Hand all that callers have queued to the core; returns how many proposals there were."""
        if self.closed:
            return 0
        queued, self._queued = self._queued, []
        queued = [waiting for waiting in queued if not waiting[1].done()]
        readers, self._readers = self._readers, []
        if queued:
            self._offered = [outcome for _, outcome in queued]
            commands = [command for command, _ in queued]
            try:
                self._perform(self.core.propose(commands, now))
            except (NotLeader, Dropped) as error:
                fail(self._offered, error)
            self._offered = []
        if readers:
            self._token += 1
            self._reading.append((self._token, readers))
            try:
                self._perform(self.core.read_index(self._token, now))
            except NotLeader as error:
                self._reading.pop()
                fail(readers, error)
        return len(queued)

    def close(self, reason: str) -> None:
        """The group is gone from this node: nothing that waits will be settled otherwise."""
        self.closed = reason
        fail([outcome for _, outcome in self._queued], Dropped(reason))
        fail([outcome for _, outcome in self._open.values()], Unknown(reason))
        fail(self._changing, Unknown(reason))
        fail([outcome for _, readers in self._reading for outcome in readers], Unknown(reason))
        fail([*self._readers, *self._watchers], Unknown(reason))
        if self.formed is not None:
            fail([self.formed], Unknown(reason))

    # Effects.

    def _perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Persist():
                    self._persist(effect)
                case Send():
                    if effect.after > self._durable:
                        self._held.append(effect)
                    else:
                        self._hub.post(effect.to, self.name, effect.message)
                case Apply():
                    for entry in effect.entries:
                        self._apply(entry)
                case Proposed():
                    self._take(effect)
                case Restore():
                    self._restore(effect.snapshot)
                case ReadReady():
                    self._finish_reads(effect.token, None)
                case ReadFailed():
                    self._finish_reads(effect.token, NotLeader(self.core.leader))
                case Changed():
                    changing, self._changing = self._changing, []
                    succeed(changing, None)
                case LeaderChanged():
                    self._announce(effect)
        if self._applied - self.core.snapshot_index >= self.core.config.snapshot_entries:
            self._fold()
        self._hub.rearm(self)

    def _fold(self) -> None:
        """Fold the log away when it has outgrown the last snapshot in bytes too (section 7).

        So the work on snapshots, which are made in one piece, stays in proportion to what was
        applied, however large the state is.
        """
        core = self.core
        if self._applied_bytes < (len(core.snapshot.data) if core.snapshot else 0):
            return
        data = self._machine.snapshot()
        self._applied_bytes = 0
        if len(data) <= core.config.snapshot_bytes_max:
            self._perform(core.compact(data, self._hub.now()))
            return
        # Followers would refuse it: better a long log, until the state has shrunk.
        logger.warning("event=snapshot_too_large group=%s bytes=%d", self.name, len(data))
        self._applied_bytes = -len(data)

    def _persist(self, effect: Persist) -> None:
        writes = storage.rows(self.name, effect)
        if self._era_is_news:
            self._era_is_news = False
            writes += storage.describe(self.name, Configuration(()), self.era)
        self._hub.persist(self, effect.number, writes)

    def _take(self, proposed: Proposed) -> None:
        offered = self._changes or self._offered
        for index, outcome in enumerate(offered[: proposed.count], proposed.index):
            replaced = self._open.get(index)
            self._open[index] = (proposed.term, outcome)
            if replaced is not None:
                # Of an earlier leadership of this node.
                fail([replaced[1]], Unknown("this node has lost the entry; another may have it"))
        fail(offered[proposed.count :], Dropped("too many bytes wait to be committed"))

    def _apply(self, entry: Entry) -> None:
        assert entry.index > self._applied
        result: object = None
        if entry.kind is EntryKind.COMMAND:
            result = self._machine.apply(entry.index, entry.data)
        elif entry.kind is EntryKind.CONFIGURATION:
            self._hub.leadership_changed(self)
        self._applied = entry.index
        self._applied_bytes += len(entry.data)
        term, outcome = self._open.pop(entry.index, (0, None))
        if outcome is None:
            return
        if term != entry.term:
            fail([outcome], Dropped("another leader's entry took its place"))
        elif entry.kind is EntryKind.CONFIGURATION:
            # The joint one: done when the old members may go.
            self._changing.append(outcome)
        elif not outcome.done():
            outcome.set_result(result)

    def _restore(self, snapshot: Snapshot) -> None:
        self._machine.restore(snapshot.data)
        self._applied = snapshot.index
        self._applied_bytes = 0
        self._hub.leadership_changed(self)
        for index in [index for index in self._open if index <= snapshot.index]:
            fail([self._open.pop(index)[1]], Unknown("its outcome is folded into a snapshot"))

    def _finish_reads(self, token: int, error: RaftError | None) -> None:
        while self._reading and self._reading[0][0] <= token:
            readers = self._reading.popleft()[1]
            if error is None:
                succeed(readers, None)
            else:
                fail(readers, error)

    def _announce(self, change: LeaderChanged) -> None:
        self._hub.leadership_changed(self)
        watchers, self._watchers = self._watchers, []
        succeed(watchers, None)
        for callback in self._callbacks:
            callback(LeaderChanged(change.leader, change.term, self.name))

    async def _next_leader(self) -> None:
        self._require_open()
        watcher = self._future()
        self._watchers.append(watcher)
        await watcher

    def _require_leader(self) -> None:
        self._require_open()
        if not self.is_leader:
            raise NotLeader(self.core.leader)

    def _require_open(self) -> None:
        if self.closed:
            raise Dropped(self.closed)

    def _future(self) -> asyncio.Future[object]:
        return asyncio.get_running_loop().create_future()
