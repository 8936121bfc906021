"""All Raft groups of one node: the driver that gives them a clock, a store and a network.

Everything happens in *turns* of one task: deadlines first, then completed writes, frames and
proposals, and at the end one frame to each peer with what all groups have to say to it. A turn is
bounded, so that under load the loop still gets to sockets and heartbeats. A second task commits
what the turns want to be durable (`writer.py`). Quiet groups cost nothing: `pairs.py` watches
nodes instead.

Start reading at `Groups._turn`. What one group does with effects is in `group.py`.
"""

from __future__ import annotations

import asyncio
import logging
import random
import zlib
from collections import deque
from collections.abc import Callable, Sequence

from peerdisco_election import quorum, storage
from peerdisco_election.config import RaftConfig
from peerdisco_election.core import Core
from peerdisco_election.errors import Dropped
from peerdisco_election.group import Group
from peerdisco_election.log import Recovered
from peerdisco_election.membership import configuration
from peerdisco_election.messages import (
    BadMessage,
    Beat,
    BeatReply,
    Envelope,
    Frame,
    GroupMessage,
    Heartbeat,
    HeartbeatReply,
    Leading,
    PairMessage,
    Pulse,
    Recovery,
    decode,
    encode,
)
from peerdisco_election.outbox import Outbox
from peerdisco_election.pairs import Pairs, View
from peerdisco_election.ports import CHANNEL, Address, Counters, Datagrams, Links, StateMachine
from peerdisco_election.recovery import describe
from peerdisco_election.status import Cause
from peerdisco_election.timers import Timers
from peerdisco_election.writer import Writer

logger = logging.getLogger(__name__)


TURN_FRAME_BYTES = 1 << 20
"""Frames taken in one turn; further ones wait for the next."""

STALL_MIN = 0.02
"""A turn that takes longer, or a timer that fires later, in seconds, is a stall of this node."""

TURN_PROPOSALS = 1024
"""Proposals taken in one turn; further groups wait for the next."""


class Groups:
    """The Raft room of a node. `run` must be running for anything to become durable.

    Args:
        me: This node.
        store: Shared by all groups, and by others.
        links: Ordered frames to peers.
        datagrams: For heartbeats; without, they use the links.
        address_of: Where a peer's datagrams go; None while unknown.
        rng: Spreads elections.
        config: Limits and intervals.
        generation: Counts the starts of this node, so that peers notice a restart at once.
    """

    def __init__(
        self,
        me: str,
        store: storage.Store,
        links: Links,
        datagrams: Datagrams | None,
        address_of: Callable[[str], Address | None],
        rng: random.Random,
        config: RaftConfig | None = None,
        *,
        generation: int = 0,
    ) -> None:
        self.me = me
        self.counters = Counters()
        self._store = store
        self._datagrams = datagrams
        self._address_of = address_of
        self._rng = rng
        self._config = config or RaftConfig()
        self._generation = generation
        self._groups: dict[str, Group] = {}
        self._stored = dict.fromkeys(storage.groups(store))
        self._pairs = Pairs(generation, self._config)
        self._changed: dict[Group, None] = {}
        self._outbox = Outbox(links, self._config.frame_bytes_max)
        self._inbox: deque[tuple[str, bytes]] = deque()
        self._woken: dict[Group, None] = {}
        self._completed: list[tuple[Group, int]] = []
        self._timers: Timers[Group] = Timers()
        self._timer: asyncio.TimerHandle | None = None
        self._wake_up = asyncio.Event()
        self._timer_at = float("inf")
        self._writer = Writer(store, self._on_stored)
        self._ended = ""
        if datagrams is not None:
            datagrams.subscribe(CHANNEL, self._receive_datagram)

    # What the node calls.

    async def run(self) -> None:
        """Serve until cancelled. Raises OSError, in a group, when the store fails."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._serve())
                tasks.create_task(self._writer.run())
        finally:
            self._end("this node stops serving its groups")

    async def create(
        self,
        name: str,
        voters: Sequence[str],
        machine: StateMachine,
        *,
        campaign: bool = False,
        era: int = 0,
        floor: tuple[int, int] = (0, 0),
    ) -> Group:
        """Form a group on this node, or return the one that is here; durable when this returns.

        Each voter's node must be asked. `campaign` belongs on one of them, after the others: it
        stands for election at once. A node that is to be added to a group that exists already
        creates it with no voters and learns them from the leader. `floor` is a member's
        `known_commit`: the new one votes for nobody who lacks that entry, although it may have
        dissolved the group before and forgotten what it had. With the leader's `era` it gives
        up what it has of an earlier one (`recovery.py`); the state machine must be new then. Raises
        Dropped when this node stops, and CorruptLog.
        """
        if self._ended:
            raise Dropped(self._ended)
        group = self._groups.get(name)
        if group is None and name in self._stored:
            group = self.open(name, machine)
        if group is not None and (group.superseded or group.era < era):
            await self.dissolve(name)
            group = None
        if group is None:
            group = self._form(
                name, Recovered(configuration(voters), era=era, floor=floor), machine
            )
            if campaign:
                group.campaign(Cause.CREATED)
        if group.formed is not None:
            await asyncio.shield(group.formed)
        return group

    def open(self, name: str, machine: StateMachine) -> Group:
        """Take up a group found in the store. Raises KeyError and CorruptLog.

        The state machine is brought to the last commit index that this node had written.
        """
        if name in self._groups:
            return self._groups[name]
        recovered = storage.recover(self._store, name)
        if recovered is None:
            raise KeyError(name)
        return self._admit(name, recovered, machine)

    def names(self) -> list[str]:
        """All groups of this node, sorted, also those that nobody has opened yet."""
        return sorted({**self._stored, **self._groups})

    def get(self, name: str) -> Group | None:
        """A group that is open."""
        return self._groups.get(name)

    async def dissolve(self, name: str) -> None:
        """Forget the group on this node, durably. Idempotent."""
        group = self._groups.pop(name, None)
        if group is not None:
            group.close("the group was dissolved on this node")
            self._timers.set(group, None)
            self._pairs.see(name, None, self.now())
        self._stored.pop(name, None)
        if self._ended:
            raise Dropped(self._ended)
        self._wake_up.set()
        await self._writer.erase(name)

    async def recover(self, name: str, *, timeout: float) -> Recovery:
        """Make this node the whole of a group that lost its majority for good (`recovery.py`).

        Returns what was kept and given up, once that is durable and the group works again. Raises
        KeyError, Dropped when it must not be done, and Unknown after `timeout` seconds.
        """
        group = self._groups[name]
        recovery = group.recover()
        logger.warning(
            "event=group_recovered group=%s era=%d %s", name, recovery.era, describe(recovery)
        )
        await group.wait_for_leader(timeout=timeout)
        await group.read_index(timeout=timeout)
        return recovery

    def receive(self, peer: str, frame: bytes) -> None:
        """A frame came on the link of an authenticated peer."""
        if len(self._inbox) >= self._config.inbox_frames_max:
            self.counters.full_inbox += 1
            return
        self._inbox.append((peer, frame))
        self._wake_up.set()

    def link_lost(self, peer: str) -> None:
        """The stream to the peer closed and the reconnect was refused: it is gone."""
        self.evidence(peer, suspected=True)
        for group in self._led_with(peer):
            group.unreachable(peer)

    def evidence(self, peer: str, suspected: bool) -> None:
        """Membership doubts the peer, or has withdrawn its doubt."""
        if self._ended:
            return
        self._count_pairs()
        now = self.now()
        if suspected:
            self._pairs.doubt(peer, now)
        else:
            self._pairs.trust(peer, now)
        for group in self._led_by(peer):
            if suspected:
                group.suspect(Cause.EVIDENCE, soon=True)
            else:
                group.trust()
        self._wake_up.set()

    # What a group calls (its Hub).

    def now(self) -> float:
        """The loop's clock."""
        return asyncio.get_running_loop().time()

    def wake(self, group: Group) -> None:
        """Give the group a turn."""
        self._woken[group] = None
        self._wake_up.set()

    def persist(self, group: Group, number: int, writes: Sequence[storage.Write]) -> None:
        """Commit these with the next batch."""
        self._writer.persist(group, number, writes)

    def post(self, to: str, group: str, message: GroupMessage) -> None:
        """Send with the frame that closes this turn."""
        known = self._groups.get(group)
        self._outbox.add(to, Envelope(group, message, known.era if known else 0))
        self._wake_up.set()

    def rearm(self, group: Group) -> None:
        """The group's deadline may have changed."""
        if self._timers.set(group, None if group.closed else group.core.deadline):
            self._wake_up.set()

    def leadership_changed(self, group: Group) -> None:
        """What this node does in the group must be looked at anew."""
        self._changed[group] = None
        self._wake_up.set()

    # Turns.

    async def _serve(self) -> None:
        while True:
            await self._wake_up.wait()
            self._turn()
            self._wake_up.clear()
            if self._inbox or self._woken or self._completed:
                # Whatever else is ready in this loop goes first: its input joins the next turn.
                self._wake_up.set()
                await asyncio.sleep(0)

    def _turn(self) -> None:
        """Deadlines before messages, so that a flood cannot postpone an election."""
        now = self.now()
        self._discount(now - self._timer_at)
        completed, self._completed = self._completed, []
        for group, number in completed:
            if not group.closed:
                group.persisted(number, now)
        self._expire(now)
        taken = 0
        while self._inbox and taken < TURN_FRAME_BYTES:
            peer, frame = self._inbox.popleft()
            taken += len(frame)
            self._receive(peer, frame, now)
        self._flush(now)
        self._count_pairs()
        self.counters.full_links += self._outbox.flush()
        self._discount(self.now() - now)
        self._arm()

    def _discount(self, stall: float) -> None:
        """Hold against neither peers nor disk what this node missed while it was busy or frozen."""
        if stall >= STALL_MIN:
            self._pairs.stalled(stall)
            for group in self._timers.armed():
                group.stalled(stall)

    def _flush(self, now: float) -> None:
        """Give the groups that callers have woken what they asked for, in the order of asking."""
        woken, self._woken = self._woken, {}
        taken = 0
        for group in woken:
            if taken < TURN_PROPOSALS:
                taken += group.flush(now)
            else:
                self._woken[group] = None

    def _expire(self, now: float) -> None:
        self._count_pairs()
        due = self._pairs.tick(now)
        for peer, also_link in due.beats:
            self._send_pair(peer, self._pairs.beat(peer), link=also_link)
        for peer in due.silent:
            for group in self._led_with(peer):
                group.silent(peer)
        for peer in due.missing:
            for group in self._led_by(peer):
                group.suspect(Cause.TIMEOUT, soon=False)
        while (one := self._timers.due(now)) is not None:
            one.tick(now)

    def _arm(self) -> None:
        at = self._timers.deadline
        if self._pairs.deadline is not None:
            at = min(at, self._pairs.deadline)
        # A timer that fires too early only costs a turn, so it is not moved for every turn.
        if self._timer is not None and self.now() < self._timer_at <= at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_at = None, at
        if at < float("inf"):
            self._timer = asyncio.get_running_loop().call_at(at, self._wake_up.set)

    def _receive(self, peer: str, frame: bytes, now: float) -> None:
        try:
            parts = decode(frame, Frame).parts
        except BadMessage as error:
            self.counters.bad_frames += 1
            logger.debug("event=bad_frame peer=%s error=%s", peer, error)
            return
        self._heard(peer, now)
        for part in parts:
            match part:
                case Envelope():
                    self._deliver(peer, part, now)
                case Leading():
                    self._on_leading(peer, part, now)
                case Beat() | BeatReply():
                    self._on_pair(peer, part, now, link=True)

    def _deliver(self, peer: str, envelope: Envelope, now: float) -> None:
        group = self._groups.get(envelope.group)
        if group is None:
            self.counters.unknown_groups += 1
        elif group.admits(envelope.era):
            group.step(peer, envelope.message, now)
        else:
            self.counters.other_eras += 1
            if envelope.era < group.era:
                # Any message will do: its era tells the peer that it was given up.
                self.post(peer, group.name, HeartbeatReply(0))

    def _receive_datagram(self, peer: str, address: Address, payload: bytes) -> None:  # noqa: ARG002
        try:
            message = decode(payload, Pulse).part
        except BadMessage:
            self.counters.bad_frames += 1
            return
        if not self._ended:
            now = self.now()
            self._heard(peer, now)
            self._on_pair(peer, message, now, link=False)
            self._wake_up.set()

    # Pairs of nodes.

    def _heard(self, peer: str, now: float) -> None:
        if self._pairs.heard(peer, now):
            for group in self._led_with(peer):
                group.audible(peer)

    def _on_pair(self, peer: str, message: PairMessage, now: float, *, link: bool) -> None:
        self._count_pairs()
        if isinstance(message, Beat):
            reply, withdrawn = self._pairs.beaten(peer, message, now)
            if withdrawn:
                for group in self._led_by(peer):
                    group.trust()
            self._send_pair(peer, reply, link=link)
        elif not self._pairs.answered(peer, message):
            led = self._led_with(peer)
            terms = tuple((group.name, group.term) for group in led)
            eras = tuple((group.name, group.era) for group in led if group.era)
            self._outbox.add(peer, Leading(self._generation, terms, eras))

    def _on_leading(self, peer: str, leading: Leading, now: float) -> None:
        """The full exchange: believe what is listed, and doubt what is not."""
        self._count_pairs()
        withdrawn = self._pairs.listed(peer, leading.generation, now)
        terms, eras = dict(leading.groups), dict(leading.eras)
        for group in self._led_by(peer):
            if group.name not in terms:
                group.disown()
            elif withdrawn:
                group.trust()
        for name, term in leading.groups:
            listed = self._groups.get(name)
            if listed is not None and (listed.leader, listed.term) != (peer, term):
                self._deliver(peer, Envelope(name, Heartbeat(term), eras.get(name, 0)), now)

    def _send_pair(self, peer: str, message: PairMessage, *, link: bool) -> None:
        address = None if self._datagrams is None else self._address_of(peer)
        if self._datagrams is not None and address is not None:
            self._datagrams.send(address, CHANNEL, encode(Pulse(message)))
        else:
            link = True
        if link:
            self._outbox.add(peer, message)
            self._wake_up.set()

    def _count_pairs(self) -> None:
        while self._changed:
            changed, self._changed = self._changed, {}
            for group in changed:
                if group.closed:
                    continue
                if group.is_leader:
                    view = View(group.term, led=self._others(group))
                else:
                    view = View(group.term, followed=group.leader)
                for peer in self._pairs.see(group.name, view, self.now()):
                    group.silent(peer)

    def _others(self, group: Group) -> tuple[str, ...]:
        members = quorum.everyone(group.core.configuration)
        return tuple(peer for peer in members if peer != self.me)

    def _led_by(self, peer: str) -> list[Group]:
        self._count_pairs()
        return [self._groups[name] for name in self._pairs.led_by(peer)]

    def _led_with(self, peer: str) -> list[Group]:
        self._count_pairs()
        return [self._groups[name] for name in self._pairs.led_with(peer)]

    # Groups come and go.

    def _form(self, name: str, new: Recovered, machine: StateMachine) -> Group:
        group = self._admit(name, new, machine)
        group.formed = asyncio.get_running_loop().create_future()
        self.persist(group, 0, storage.describe(name, new.configuration, new.era, new.floor))
        return group

    def _admit(self, name: str, recovered: Recovered, machine: StateMachine) -> Group:
        core = Core(
            self.me,
            recovered,
            self._config,
            self._rng,
            self.now(),
            watched=True,
            salt=zlib.crc32(name.encode()),
        )
        group = self._groups[name] = Group(self, name, core, machine, recovered)
        group.start()
        return group

    def _on_stored(self, group: Group, number: int) -> None:
        self._stored[group.name] = None
        self._completed.append((group, number))
        if group.formed is not None and not group.formed.done():
            group.formed.set_result(None)
        self._wake_up.set()

    def _end(self, reason: str) -> None:
        self._ended = reason
        if self._timer is not None:
            self._timer.cancel()
        for group in self._groups.values():
            group.close(reason)
        self._writer.end(reason)
