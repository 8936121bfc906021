"""The membership protocol of one node, without clock, network or tasks.

Inputs are methods that take `now`; each returns the effects for the driver to perform in order.
Whoever drives it calls `tick` when `deadline` has passed, and before handing over a message that
arrived later than the deadline. A tick that comes late tells the core that this node stood still;
it then grants everybody else the time that it could not listen.

Start reading here: `ledger.py` decides what is believed, `detector.py` who is asked, `outbox.py`
what is sent. The driver is `membership.py`.
"""

from __future__ import annotations

import math
import random
from typing import NamedTuple

from peerdisco_gossip.awareness import Awareness
from peerdisco_gossip.broadcast import BroadcastQueue
from peerdisco_gossip.config import GossipConfig
from peerdisco_gossip.detector import Detector
from peerdisco_gossip.ledger import Ledger
from peerdisco_gossip.members import Address, MemberChanged, Members, MemberState, Record
from peerdisco_gossip.messages import (
    Ack,
    Body,
    Gossip,
    Nack,
    Ping,
    PingRequest,
    Roster,
    Update,
)
from peerdisco_gossip.outbox import Effect, Outbox
from peerdisco_gossip.rosters import differing

DEPART_FANOUT = 32
"""So many members hear of a departure at once, directly."""

RESTORED_TRIES = 3
"""So many of the peers of an earlier life are contacted per reconnect interval."""


class Received(NamedTuple):
    """An authenticated, well-formed packet.

    Attributes:
        sender: Who sealed it.
        address: Where it came from, which is where answers go.
        body: The question or answer.
        updates: The rumours beside it.
    """

    sender: str
    address: Address
    body: Body
    updates: tuple[Update, ...] = ()


class Core:
    """One node's view of the cluster and its part in the conversation about it.

    Args:
        me: This node's id.
        generation: How often it started, this start included.
        advertise: Where others reach it: an address, not a name.
        config: Times and limits.
        rng: This component's own stream of randomness.
        now: The time of the loop. Nothing is due before `start`.
    """

    def __init__(
        self,
        me: str,
        generation: int,
        advertise: Address,
        config: GossipConfig,
        rng: random.Random,
        now: float,
    ) -> None:
        self._config = config
        self._rng = rng
        self.awareness = Awareness(config.awareness_max)
        self._queue = BroadcastQueue(
            config.queue_bytes_max, config.metadata_share, config.retransmit_mult
        )
        self.members = Members()
        self._outbox = Outbox(self._queue, self.members)
        record = Record(me, advertise, generation, 0, MemberState.ALIVE, now)
        self.ledger = Ledger(
            record, self.members, self._queue, self._outbox, self.awareness, config
        )
        self.detector = Detector(self.ledger, self._outbox, self.awareness, config, rng)
        self._next_gossip = self._next_push_pull = self._next_reconnect = math.inf
        self.deadline = self._planned = math.inf
        """When `tick` is to be called at the latest."""
        self._restored: dict[str, Address] = {}
        self.stats = {"stalls": 0, "push_pulls": 0, "reconnects": 0}

    # -- time

    def start(self, now: float) -> None:
        """Begin to take part, in a random phase: who starts together must not tick in step."""
        self.detector.start(now)
        self._next_gossip = now + self._rng.random() * self._config.gossip_interval_s
        self._next_push_pull = now + self._rng.random() * self._push_pull_interval()
        self._next_reconnect = now
        self._plan()

    def _plan(self) -> None:
        """Find out what is due next; every input ends with it.

        `_planned` leaves out the news: they are told when they come, which may be long after a
        moment for them has passed, so that being late with them is no sign of a stall.
        """
        planned = min(self.detector.deadline, self._next_push_pull, self._next_reconnect)
        if self.members.has_suspects:
            for record in self.members.suspects():
                assert record.suspicion is not None
                planned = min(planned, record.suspicion.deadline)
        self._planned = planned
        self.deadline = min(planned, self._next_gossip) if self._queue.has_news else planned

    def tick(self, now: float) -> list[Effect]:
        """Do what is due."""
        self._notice_stall(now)
        self.detector.tick(now)
        self.ledger.declare_overdue_dead(now)
        if self._next_gossip <= now and self.has_news:
            self._next_gossip = now + self._config.gossip_interval_s
            self._gossip(self._config.gossip_fanout, now)
        if self._next_push_pull <= now:
            self._next_push_pull = now + self._push_pull_interval()
            self._push_pull_with_somebody()
        if self._next_reconnect <= now:
            self._next_reconnect = now + self._config.reconnect_interval_s
            self._reconnect()
            self.ledger.forget_old(now)
        return self._finish()

    def _notice_stall(self, now: float) -> None:
        """A late tick means that this node did not run: what it did not hear proves nothing.

        The lateness is only the part of the stall after the deadline, and answers that arrived
        meanwhile are still unread; hence the extra probe timeout that everybody gets.
        """
        late = now - self._planned
        if late <= self._config.stall_tolerance_s:
            return
        self.stats["stalls"] += 1
        self.awareness.worsen()
        earliest = now + self._config.probe_timeout_s
        self.detector.postpone(late, earliest)
        for record in self.members.suspects():
            assert record.suspicion is not None
            record.suspicion.postpone(late, earliest)

    # -- messages

    def receive(self, message: Received, now: float) -> list[Effect]:
        """Take in a packet: its rumours first, since they may change the answer."""
        for update in message.updates:
            self.ledger.apply(update, now)
        if not self.ledger.is_leaving:
            self._hear(message, now)
        return self._finish()

    def _hear(self, message: Received, now: float) -> None:
        match message.body:
            case Ping():
                outdone = any(map(self.ledger.is_outdone, message.updates))
                self.detector.hear_ping(message.sender, message.address, message.body, outdone)
            case Ack():
                self.detector.hear_ack(message.sender, message.body)
            case PingRequest():
                self.detector.hear_request(message.address, message.body, now)
            case Nack():
                self.detector.hear_nack(message.sender, message.body)
            case Gossip():
                pass

    def roster(self, now: float) -> Roster:
        """The full state, for a push-pull or to be kept for the next start."""
        return self.ledger.roster(now)

    def merge(self, roster: Roster, now: float) -> list[Effect]:
        """Take in somebody's state."""
        self.ledger.merge(roster, now)
        return self._finish()

    # -- push-pull: both sides of comparing two views (see `rosters.py`)

    def ask(self) -> Roster:
        """What a comparison begins with: which buckets differ?"""
        return Roster(self.ledger.me.id, (), self.members.sums())

    def answer(self, request: Roster, now: float) -> tuple[Roster, list[Effect]]:
        """What somebody gets who asks what differs, or who sends its state to get ours."""
        if request.sums:
            buckets = differing(self.members.sums(), request.sums)
            return Roster(self.ledger.me.id, (), buckets=buckets), []
        ours = self._state(request.buckets, now)
        return ours, self.merge(request, now)

    def conclude(
        self, request: Roster, answer: Roster, now: float
    ) -> tuple[Roster | None, list[Effect]]:
        """Take in what we got for our request; and what is to be sent now, if anything.

        Who does not know the question (wire version 1) answers with all it knows, and gets the
        same from us.
        """
        effects = self.merge(answer, now)
        if not request.sums or answer.buckets == "":
            return None, effects
        return self._state(answer.buckets, now), effects

    def _state(self, buckets: str | None, now: float) -> Roster:
        if buckets is None:
            return self.ledger.roster(now)
        return self.ledger.roster_of(buckets, now)

    def restore(self, roster: Roster) -> None:
        """Remember where the peers of an earlier life were; they are contacted soon.

        They become members only when somebody confirms that they are there.
        """
        for row in roster.rows[: self._config.members_max]:
            if row.state != MemberState.LEFT and row.id != self.ledger.me.id:
                self._restored[row.id] = (row.host, row.port)

    def strangers(self) -> dict[str, Address]:
        """The peers of an earlier life of whom nothing was heard in this one."""
        return {i: at for i, at in self._restored.items() if self.members.get(i) is None}

    # -- what this node is told

    def evidence(self, node_id: str, now: float) -> list[Effect]:
        """Something outside speaks for this member being gone: ask it at once."""
        record = self.members.get(node_id)
        if record is not None and record.is_present and record is not self.ledger.me:
            self.detector.probe_on_evidence(record, now)
        return self._finish()

    def set_metadata(self, key: str, value: bytes) -> list[Effect]:
        """Change one of this node's own facts. Raises ValueError beyond the limits."""
        self.ledger.set_metadata(key, value)
        return self._finish()

    def depart(self, now: float, back_in_s: float | None) -> list[Effect]:
        """Leave for good (None), or stop and mean to be back in so many seconds.

        There is no way back within this generation.
        """
        if not self.ledger.is_leaving:
            self.ledger.depart(now, back_in_s)
            self.detector.stop()
            self._next_push_pull = self._next_reconnect = math.inf
            self._gossip(DEPART_FANOUT, now)
        return self._finish()

    @property
    def has_news(self) -> bool:
        """Whether rumours wait to be told."""
        return self._queue.has_news

    @property
    def rumours_dropped(self) -> int:
        """How many rumours the queue's byte limits cost."""
        return self._queue.dropped

    # -- spreading

    def _gossip(self, fanout: int, now: float) -> None:
        """Tell the news to those present, and to the recently dead, so that they can object."""
        dead_since = now - self._config.gossip_to_dead_s
        me = self.ledger.me

        def listens(record: Record) -> bool:
            is_dead = record.state == MemberState.DEAD and record.since > dead_since
            return record is not me and (record.is_present or is_dead)

        listeners = self.members.sample(fanout, listens, self._rng)
        if not listeners:
            self._queue.clear()  # whoever comes later gets the full state
        for record in listeners:
            if not self.has_news:
                return
            self._outbox.send(record.address, Gossip(), record.news())

    def _push_pull_interval(self) -> float:
        """Rarer in big clusters, so that the total stays bearable."""
        count = self.members.present_count
        scale = 1 if count <= 32 else math.ceil(math.log2(count) - 5) + 1
        return self._config.push_pull_interval_s * scale

    def _push_pull_with_somebody(self) -> None:
        me = self.ledger.me
        for record in self.members.sample(
            1, lambda record: record.is_present and record is not me, self._rng
        ):
            self._push_pull(record.address)

    def _push_pull(self, address: Address) -> None:
        self.stats["push_pulls"] += 1
        self._outbox.push_pull(address)

    def _reconnect(self) -> None:
        """Try the dead again, so that partitions heal, and the peers of an earlier life.

        All together, the living try each of the dead about once per interval.
        """
        dead = [record for record in self.members.absent() if record.state == MemberState.DEAD]
        if dead and self._rng.random() < len(dead) / max(1, self.members.present_count):
            self.stats["reconnects"] += 1
            self.detector.retry(self._rng.choice(dead))
        self._restored = self.strangers()
        strangers = list(self._restored.values())
        for address in self._rng.sample(strangers, min(RESTORED_TRIES, len(strangers))):
            self._push_pull(address)

    def _finish(self) -> list[Effect]:
        """What every input ends with: newcomers get their turn, the revived are compared with."""
        if self.ledger.revived is not None:
            if not self.ledger.is_leaving:
                self._push_pull(self.ledger.revived)
            self.ledger.revived = None
        effects = self._outbox.drain()
        for effect in effects:
            if isinstance(effect, MemberChanged):
                self.detector.notice(effect.member)
        self._plan()
        return effects
