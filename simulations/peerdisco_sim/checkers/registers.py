"""The acceptors of tags and job pointers, checked at every answer: see `register_rules.py`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from peerdisco.node import Node
from peerdisco_dht.registers.messages import Accept, Ask, Held, Prepare
from peerdisco_sim.arena import Arena
from peerdisco_sim.checkers import taps
from peerdisco_sim.checkers.register_rules import AcceptorRules, Ballot


class RegisterChecker:
    """T1 and T2: what an acceptor has answered binds it for ever."""

    name = "registers"

    def begin(self, arena: Arena) -> None:
        """See Checker."""
        self._arena = arena
        self.rules = AcceptorRules(self._fail)
        self.marks: Counter[str] = Counter()
        arena.observe(self._observe)

    def at_rest(self) -> None:
        """Nothing: the rules hold at all times."""

    def _observe(self, _: str, node: Node) -> None:
        # By id, not by name: a machine whose disk was lost comes back as another acceptor.
        me, keeper = node.identity.node_id, node.storage._keeper

        def asked(asks: Sequence[Ask]) -> taps.Observer:
            epoch = keeper.epoch
            self.rules.asked(me, epoch)
            self.marks["register.joint"] += bool(keeper.layout.previous)

            def answered(held: Sequence[Held]) -> None:
                self.rules.answered(me, epoch)
                for ask, answer in zip(asks, held, strict=True):
                    if answer.granted:
                        self._granted(me, ask)
                    else:
                        self.marks["register.outdone"] += 1

            return answered

        taps.around_async(node.storage._rows, "answer", asked)

    def _granted(self, me: str, ask: Ask) -> None:
        if isinstance(ask, Prepare):
            self.rules.promise(me, ask.name, _ballot(ask))
        elif isinstance(ask, Accept):
            upcoming = (ask.upcoming.round, ask.upcoming.node)
            self.rules.accept(me, ask.name, _ballot(ask), upcoming)

    def _fail(self, rule: str, detail: str, node: str) -> None:
        self._arena.fail(rule, detail, self._arena.name_of(node))


def _ballot(ask: Prepare | Accept) -> Ballot:
    return (ask.ballot.round, ask.ballot.node)
