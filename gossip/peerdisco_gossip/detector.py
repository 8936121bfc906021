"""The failure detector: SWIM's probes with Lifeguard's manners (SWIM, section 3.1).

Per interval one member is asked directly; without an answer in time, helpers are asked to ask it;
without any answer by the end of the interval it is suspected. Helpers report failure early enough
that their silence tells the asker about its own hearing. Outside evidence (a refused connection)
starts a short round of its own. Rounds that this node slept through are stretched, not failed.

What becomes of a suspicion is `ledger.py`'s business.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Final

from peerdisco_gossip.awareness import Awareness
from peerdisco_gossip.config import GossipConfig
from peerdisco_gossip.ledger import Ledger
from peerdisco_gossip.limits import COUNT_MAX
from peerdisco_gossip.members import Address, Member, MemberState, Record
from peerdisco_gossip.messages import Ack, Nack, Ping, PingRequest, Update
from peerdisco_gossip.outbox import Outbox
from peerdisco_gossip.probe import Probe, ProbeOrder

RELAYS_MAX: Final = 256
"""More probes than this are not made for others at the same time."""

EVIDENCE_PROBES_MAX: Final = 256
"""Nor more rounds at the same time because of outside evidence."""

STATS: Final = ("probes", "probe_failures", "unexpected", "relays_refused")


@dataclass(slots=True)
class Relay:
    """A probe made for somebody else."""

    asker: Address
    sequence: int
    target: str
    nack_at: float
    ends_at: float

    @property
    def deadline(self) -> float:
        """When something is to be done."""
        return min(self.nack_at, self.ends_at)


class Detector:
    """Rounds in flight, relays in flight, and when the next round begins."""

    def __init__(
        self,
        ledger: Ledger,
        outbox: Outbox,
        awareness: Awareness,
        config: GossipConfig,
        rng: random.Random,
    ) -> None:
        self._ledger = ledger
        self._outbox = outbox
        self._awareness = awareness
        self._config = config
        self._rng = rng
        self._order = ProbeOrder(rng)
        self._sequence = rng.randrange(1 << 31)
        self._probes: dict[int, Probe] = {}
        self._relays: dict[int, Relay] = {}
        self._next_round = math.inf
        self.deadline = math.inf
        """When `tick` has something to do."""
        self.stats = dict.fromkeys(STATS, 0)

    def _plan(self) -> None:
        """Find out anew what is due next."""
        due = self._next_round
        for probe in self._probes.values():
            due = min(due, probe.deadline)
        for relay in self._relays.values():
            due = min(due, relay.deadline)
        self.deadline = due

    def tick(self, now: float) -> None:
        """Ask helpers, end rounds, report failure to those we help, begin the next round."""
        for sequence, probe in list(self._probes.items()):
            if probe.ends_at <= now:
                del self._probes[sequence]
                self._fail(probe, now)
            elif probe.indirect_at is not None and probe.indirect_at <= now:
                self._ask_helpers(sequence, probe, now)
        for sequence, relay in list(self._relays.items()):
            if relay.ends_at <= now:
                del self._relays[sequence]
            elif relay.nack_at <= now:
                relay.nack_at = math.inf  # a late answer is still passed on
                self._outbox.send(relay.asker, Nack(relay.sequence))
        if self._next_round <= now:
            self._begin_round(now)
        self._plan()

    def postpone(self, seconds: float, earliest: float) -> None:
        """Take a stall of this node out of every round in flight."""
        for probe in self._probes.values():
            probe.postpone(seconds, earliest)
        self._plan()

    def start(self, now: float) -> None:
        """Begin to probe, at a random point of the interval."""
        self._next_round = now + self._rng.random() * self._config.probe_interval_s
        self._plan()

    def notice(self, member: Member) -> None:
        """Give a member that has just come to life its place in the order."""
        if member.state == MemberState.ALIVE and member.id != self._ledger.me.id:
            self._order.notice(member.id)

    def stop(self) -> None:
        """Probe nobody any more."""
        self._next_round = math.inf
        self._probes.clear()
        self._relays.clear()
        self._plan()

    # -- asking

    def _begin_round(self, now: float) -> None:
        stretch = self._awareness.multiplier
        self._next_round = now + self._config.probe_interval_s * stretch
        target = self._order.next(self._ledger.members, self._ledger.me.id)
        if target is None:
            return
        self.stats["probes"] += 1
        indirect_at = now + self._config.probe_timeout_s * stretch
        self._start(Probe(target.id, target.life, indirect_at, self._next_round), target)

    def probe_on_evidence(self, record: Record, now: float) -> None:
        """Ask at once: somebody outside has reason to believe that it is gone."""
        running = [probe for probe in self._probes.values() if probe.is_evidence]
        if len(running) >= EVIDENCE_PROBES_MAX or any(p.target == record.id for p in running):
            return
        ends_at = now + self._config.evidence_timeout_s * self._awareness.multiplier
        self._start(Probe(record.id, record.life, None, ends_at, is_evidence=True), record)

    def retry(self, record: Record) -> None:
        """Ask one of the dead, telling it what is believed; only its objection revives it."""
        self._outbox.send(record.address, self._ping(self._new_sequence(), record), record.news())

    def _start(self, probe: Probe, target: Record) -> None:
        sequence = self._new_sequence()
        self._probes[sequence] = probe
        self.deadline = min(self.deadline, probe.deadline)
        self._outbox.send(target.address, self._ping(sequence, target), target.news())

    def _new_sequence(self) -> int:
        self._sequence = (self._sequence + 1) & COUNT_MAX
        return self._sequence

    @staticmethod
    def _ping(sequence: int, target: Record) -> Ping:
        return Ping(sequence, target.id, target.generation, target.digest)

    def _ask_helpers(self, sequence: int, probe: Probe, now: float) -> None:
        probe.indirect_at = None
        target = self._ledger.members.get(probe.target)
        if target is None or not target.is_present:
            return
        me = self._ledger.me

        def can_help(record: Record) -> bool:
            return record.state == MemberState.ALIVE and record is not me and record is not target

        request = PingRequest(sequence, target.id, *target.address, probe.ends_at - now)
        count = self._config.indirect_probes
        for helper in self._ledger.members.sample(count, can_help, self._rng):
            probe.helpers[helper.id] = False
            self._outbox.send(helper.address, request)

    # -- hearing

    def hear_ack(self, sender: str, ack: Ack) -> None:
        """Somebody is there: the target itself, or a helper on its behalf."""
        probe = self._probes.get(ack.sequence)
        if probe is not None and probe.accepts(sender, ack.subject):
            del self._probes[ack.sequence]
            self._awareness.improve()
            self._plan()
            return
        relay = self._relays.get(ack.sequence)
        if relay is not None and relay.target == ack.subject == sender:
            del self._relays[ack.sequence]
            self._outbox.send(relay.asker, Ack(relay.sequence, relay.target))
            self._plan()
            return
        self.stats["unexpected"] += 1

    def hear_nack(self, sender: str, nack: Nack) -> None:
        """A helper hears us and heard nothing of the target."""
        probe = self._probes.get(nack.sequence)
        if probe is not None and sender in probe.helpers:
            probe.helpers[sender] = True
        else:
            self.stats["unexpected"] += 1

    def hear_request(self, asker: Address, request: PingRequest, now: float) -> None:
        """Help somebody with a probe, and promise an answer in time."""
        if len(self._relays) >= RELAYS_MAX:
            self.stats["relays_refused"] += 1
            return
        target = self._ledger.members.get(request.target)
        address = target.address if target is not None else (request.host, request.port)
        sequence = self._new_sequence()
        relay = self._relays[sequence] = Relay(
            asker,
            request.sequence,
            request.target,
            nack_at=now + self._config.nack_share * request.timeout_s,
            ends_at=now + request.timeout_s,
        )
        self.deadline = min(self.deadline, relay.deadline)
        generation, digest = (target.generation, target.digest) if target is not None else (0, 0)
        ping = Ping(sequence, request.target, generation, digest)
        self._outbox.send(address, ping, target.news() if target is not None else ())

    def hear_ping(self, sender: str, address: Address, ping: Ping, is_behind: bool) -> None:
        """Answer, with what the asker lacks about us and with what we wrongly believe of it.

        `is_behind`: it has told us something about us that we contradicted long ago, and whoever
        thinks that we are dead hears of our objection from nobody else.
        """
        me = self._ledger.me
        if ping.target != me.id:
            self.stats["unexpected"] += 1
            return
        asker = self._ledger.members.get(sender)
        first: list[Update] = list(asker.news()) if asker is not None else []
        if is_behind or ping.generation != me.generation:
            first.append(me.claim())
        if ping.generation != me.generation or ping.digest != me.digest:
            missing = self._ledger.own_metadata()
            self._rng.shuffle(missing)  # what does not fit now has its chance next time
            first += missing
        self._outbox.send(address, Ack(ping.sequence, me.id), first)

    def _fail(self, probe: Probe, now: float) -> None:
        self.stats["probe_failures"] += 1
        record = self._ledger.members.get(probe.target)
        if record is None or not record.is_present or record.life != probe.life:
            return  # it is gone already, or spoke up meanwhile with new numbers
        if probe.is_evidence:
            self._ledger.suspect(record, now, due_by=now + self._config.evidence_suspicion_s)
            return
        if not probe.is_stretched:
            # Lifeguard's local health: silent helpers speak against our own hearing.
            self._awareness.worsen(probe.missing_nacks if probe.helpers else 1)
        self._ledger.suspect(record, now)
