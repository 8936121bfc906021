"""Membership, checked in every view of every node: see `membership_rules.py`.

Beside the rules that hold at any time: nobody is declared dead falsely while nothing disturbs the
cluster (M3), whoever crashes in peace is known to be dead within the bound (M2), and at rest all
views of the core agree with the truth (M1).
"""

from __future__ import annotations

import math
from collections import Counter

from peerdisco.node import Node
from peerdisco_gossip import MemberState
from peerdisco_gossip.broadcast import Rumour, Rumours
from peerdisco_gossip.config import GossipConfig
from peerdisco_gossip.ledger import Ledger
from peerdisco_gossip.members import Record
from peerdisco_gossip.messages import Claim, Dead
from peerdisco_sim.arena import Arena, Phase
from peerdisco_sim.checkers import taps
from peerdisco_sim.checkers.membership_rules import Belief, MembershipRules, TellingRules
from peerdisco_sim.checkers.peace import Peace
from peerdisco_sim.recorder import TimedEvent

PRESENT = (MemberState.ALIVE, MemberState.SUSPECT)


class MembershipChecker:
    """M1 to M7 of the list in `__init__.py`."""

    name = "membership"

    def begin(self, arena: Arena) -> None:
        """See Checker."""
        self._arena = arena
        self._peace = Peace(arena)
        self.rules = MembershipRules(self._fail)
        self._configs: dict[str, GossipConfig] = {}
        self.marks: Counter[str] = Counter()
        arena.observe(self._observe)
        arena.recorder.subscribe(self._happened)

    def waiting_for(self) -> str:
        """M1: until the views of the core are the truth."""
        for name in self._arena.core:
            wrong = self._differences(name, self._arena.core)
            if wrong:
                return f"M1: on {name} {wrong[0]}"
        return ""

    def at_rest(self) -> None:
        """M1, once more."""
        if wrong := self.waiting_for():
            self._arena.fail("M1 views differ", wrong)

    # -- listening ----------------------------------------------------------------------------

    def _observe(self, name: str, node: Node) -> None:
        core = node.membership._core
        ledger, queue = core.ledger, core._queue
        self._configs[name] = core._config
        self.rules.born(ledger.me.id, ledger.me.generation)
        taps.after(ledger, "_raise_incarnation", lambda *_: self._raised(ledger))
        taps.after(ledger, "_add", lambda added, record: self._added(ledger, record, added))
        taps.around(
            ledger, "_believe", lambda claim, record, _: self._believes(ledger, claim, record)
        )
        for rumours in (queue._membership, queue._metadata):
            self._tap_rumours(rumours, name)

    def _tap_rumours(self, rumours: Rumours, name: str) -> None:
        telling = TellingRules(self._arena.fail, name)

        def put(rumour: Rumour) -> None:
            telling.put(rumour.encoded)

        def took(taken: tuple[list[bytes], int], room_bytes: int, told_max: int) -> None:
            del room_bytes
            telling.took(taken[0], told_max)

        taps.before(rumours, "put", put)
        taps.after(rumours, "take", took)

    def _raised(self, ledger: Ledger) -> None:
        self.rules.raised(ledger.me.id, ledger.me.life)

    def _added(self, ledger: Ledger, record: Record, added: bool) -> None:
        if added:
            self.rules.met(ledger.me.id, record.id, record.life)

    def _believes(self, ledger: Ledger, claim: Claim, record: Record) -> taps.Observer:
        before = (Belief(record.state), record.life)

        def finish(_: None) -> None:
            after = (Belief(record.state), record.life)
            if record.id == ledger.me.id:
                self.rules.raised(record.id, record.life)
                return
            self.rules.believed(ledger.me.id, record.id, before, after)
            if after[0] is not before[0]:
                self.marks["member.returned"] += before[0] >= Belief.DEAD > after[0]
                refuted = before[0] is Belief.SUSPECT and after[0] is Belief.ALIVE
                self.marks["member.refuted"] += refuted
                self._note(ledger, record, after[0])
            if isinstance(claim, Dead) and claim.by == ledger.me.id:
                self._declared_dead(ledger, record)

        return finish

    def _note(self, ledger: Ledger, record: Record, belief: Belief) -> None:
        subject, observer = self._arena.name_of(record.id), self._arena.name_of(ledger.me.id)
        self._arena.recorder.note(
            "member", f"{subject} is {belief.name}", observer, subject=subject, state=belief.name
        )

    # -- M3, M2 -------------------------------------------------------------------------------

    def _declared_dead(self, ledger: Ledger, record: Record) -> None:
        """M3: in peace nobody is declared dead who lives."""
        self.marks["member.dead"] += 1
        subject = self._arena.name_of(record.id)
        machine = self._arena.world.nodes.get(subject)
        if machine is not None and machine.is_running and self._peace.undisturbed:
            detail = f"{subject} was declared dead while nothing disturbed anybody"
            self._arena.fail("M3 false death", detail, self._arena.name_of(ledger.me.id))

    def _happened(self, event: TimedEvent) -> None:
        """M2: a crash in peace is known everywhere within the bound."""
        if event.kind != "fault" or self._arena.phase is not Phase.STORM:
            return
        number = self._peace.disturbances
        downs = [n for n in self._arena.cluster.names if not self._arena.cluster.node(n).is_running]
        if not downs or not self._configs:
            return
        bound = detection_bound_s(next(iter(self._configs.values())), len(self._configs))

        def check() -> None:
            if self._peace.disturbances == number and not self._peace.lasting:
                for name in self._arena.up:
                    for wrong in self._differences(name, ()):
                        self._arena.fail("M2 crash unnoticed", wrong, name)

        self._arena.world.after(bound, check)

    def _differences(self, name: str, must_be_alive: tuple[str, ...]) -> list[str]:
        """Who is alive in a node's view and is down, or of those named lives and is not there."""
        node, cluster = self._arena.node(name), self._arena.cluster
        if node is None:
            return []
        wrong = []
        for other in cluster.names:
            member = node.membership.member(self._arena.id_of(other))
            state = None if member is None else member.state
            if other in must_be_alive and other in self._arena.up and state not in PRESENT:
                wrong.append(f"{other} lives, but is {_word(state)} here")
            if state in PRESENT and not cluster.node(other).is_running:
                wrong.append(f"{other} is down, but {_word(state)} here")
        return wrong

    def _fail(self, rule: str, detail: str, node: str) -> None:
        self._arena.fail(rule, detail, self._arena.name_of(node))


def detection_bound_s(config: GossipConfig, nodes: int) -> float:
    """In how many seconds everybody knows of a crash, if nothing else happens.

    Each of the others is probed once in two rounds at the latest, at the slowest pace that local
    health may ask for; then comes the longest suspicion, and the news have to spread.
    """
    periods = 2 * nodes + math.ceil(math.log2(max(nodes, 2))) * config.retransmit_mult + 5
    suspicion = config.suspicion_mult * max(1.0, math.log10(max(nodes, 1)))
    return config.probe_interval_s * (
        config.awareness_max * periods + suspicion * config.suspicion_max_mult
    )


def _word(state: MemberState | None) -> str:
    return state.name if state is not None else "unknown"
