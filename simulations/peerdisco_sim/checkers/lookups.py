"""B7: at rest every node of the core finds the node nearest to any key, and asks few for it."""

from __future__ import annotations

from peerdisco.node import Node
from peerdisco_dht.kademlia.service import CHANNEL
from peerdisco_dht.keys import KEY_BYTES, key_of_node
from peerdisco_sim.arena import Arena
from peerdisco_sim.checkers import taps

KEYS_PER_NODE = 2
TRIES, LEARNING_S = 4, 10.0
"""A node that has just come back is known to few, and tables are refreshed now and then."""

LOOKUP_S_MAX = 30.0
ASKS_BASE, ASKS_PER_NODE = 16, 6
"""Datagrams that one lookup may send, answers to others included."""


class LookupChecker:
    """B7 of the list in `__init__.py`."""

    name = "lookups"

    def begin(self, arena: Arena) -> None:
        """See Checker."""
        self._arena = arena
        self._sent: dict[str, int] = {}
        arena.observe(self._observe)

    def _observe(self, name: str, node: Node) -> None:
        def sent(address: object, channel: int, payload: bytes) -> None:
            del address, payload
            if channel == CHANNEL:
                self._sent[name] = self._sent.get(name, 0) + 1

        taps.before(node.membership._datagrams, "send", sent)

    def at_rest(self) -> None:
        """Look for keys from every node of the core."""
        draws = self._arena.world.stream("lookups")
        for name in self._arena.core:
            for _ in range(KEYS_PER_NODE):
                key = draws.randbytes(KEY_BYTES)
                for _ in range(TRIES):
                    wrong = self._look(name, key)
                    if not wrong:
                        break
                    self._arena.world.run_for(LEARNING_S)
                if wrong and not self._arena.world.failures:
                    self._arena.fail("B7 lookup failed", wrong, name)

    def _look(self, name: str, key: bytes) -> str:
        """What is wrong with a lookup; empty when nothing is."""
        arena = self._arena
        node = arena.node(name)
        if node is None or node.storage.kademlia is None or arena.world.failures:
            return ""
        nodes = {each: arena.node(each) for each in arena.core if each != name}
        live = {key_of_node(n.identity.node_id): each for each, n in nodes.items() if n is not None}
        if not live:
            return ""
        before = self._sent.get(name, 0)
        task = arena.cluster.node(name).spawn(node.storage.kademlia.lookup(key))
        found = arena.world.run_until_done(task, LOOKUP_S_MAX)
        order = [live[contact.key] for contact in found if contact.key in live]
        nearest = live[min(live, key=lambda each: _distance(each, key))]
        if order[:1] != [nearest]:
            return f"{key.hex()[:8]}: {nearest} is nearest, found {order}"
        asked = self._sent.get(name, 0) - before
        if asked > ASKS_BASE + ASKS_PER_NODE * len(arena.cluster.names):
            return f"{key.hex()[:8]}: {asked} datagrams"
        return ""


def _distance(node: bytes, key: bytes) -> int:
    return int.from_bytes(node, "big") ^ int.from_bytes(key, "big")
