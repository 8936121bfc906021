"""B7: at rest every node of the core finds the node nearest to any key: see `lookup_rules.py`."""

from __future__ import annotations

from collections.abc import Sequence

from peerdisco.node import Node
from peerdisco_dht.kademlia.crawl import Crawl
from peerdisco_dht.kademlia.messages import Contact
from peerdisco_dht.kademlia.service import CHANNEL
from peerdisco_dht.keys import KEY_BYTES, key_of_node
from peerdisco_sim.arena import Arena
from peerdisco_sim.checkers import taps
from peerdisco_sim.checkers.lookup_rules import Trail, wrong_with

KEYS_PER_NODE = 2
TRIES, LEARNING_S = 4, 10.0
"""A node that has just come back is known to few, and tables are refreshed now and then."""

LOOKUP_S_MAX = 30.0


class LookupChecker:
    """B7 of the list in `__init__.py`."""

    name = "lookups"

    def begin(self, arena: Arena) -> None:
        """See Checker."""
        self._arena = arena
        self._sent: dict[str, int] = {}
        self._key = b""
        self._trail = Trail()
        arena.observe(self._observe)

    def _observe(self, name: str, node: Node) -> None:
        def sent(address: object, channel: int, payload: bytes) -> None:
            del address, payload
            if channel == CHANNEL:
                self._sent[name] = self._sent.get(name, 0) + 1

        taps.before(node.membership._datagrams, "send", sent)
        if node.storage.kademlia is not None:
            taps.before(node.storage.kademlia, "_drive", lambda crawl, *_: self._follow(crawl))

    def _follow(self, crawl: Crawl) -> None:
        """Note how the lookup of this checker comes to know whom it finds; nodes make others."""
        if crawl.target != self._key:
            return
        trail = self._trail
        trail.begun(list(crawl._candidates))

        def answered(key: bytes, contacts: Sequence[Contact], _: float) -> None:
            trail.told(key, [contact.key for contact in contacts])

        taps.before(crawl, "answered", answered)

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
        nodes = [arena.node(each) for each in arena.core if each != name]
        live = [key_of_node(each.identity.node_id) for each in nodes if each is not None]
        if not live:
            return ""
        before = self._sent.get(name, 0)
        self._key, self._trail = key, Trail()
        task = arena.cluster.node(name).spawn(node.storage.kademlia.lookup(key))
        found = [contact.key for contact in arena.world.run_until_done(task, LOOKUP_S_MAX)]
        found = [each for each in found if each in live]
        wrong = wrong_with(key, live, found, self._trail, self._sent.get(name, 0) - before)
        return f"{key.hex()[:8]}: {wrong}" if wrong else ""
