"""One of ten machines is lost for good: everybody must take part in rebuilding what it held.

Real daemons store blobs, then their links become narrow and one machine dies. From the moment at
which the layout drops it until the last blob has all its homes, what each node sends and receives
for repair is counted. Ideal is that all remaining links are full all the time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from peerdisco.node import Node
from peerdisco_dht import Durability
from peerdisco_dht.blobs.identity import partition_of_blob
from peerdisco_dht.blobs.messages import Offer
from peerdisco_sim.checkers.stored import has_intact
from peerdisco_sim.checkers.taps import before
from peerdisco_sim.cluster import Cluster
from peerdisco_sim.daemon import PEER_PORT, Ready, daemon
from peerdisco_sim.network import Conditions
from peerdisco_sim.scenario import Scenario, Tally
from peerdisco_sim.world import World

BLOBS_PER_NODE, BLOB_BYTES = 100, 66_000
"""Many, so that chance shares them out evenly; just too large for the index."""
LINK_BYTES_PER_S = 200_000.0
SHARE_OF_LINKS_MIN = 0.5
"""Of what the links allow together. 60 to 65 % are usual here: the beginning and the end take a
second or two of so short a rebuild, and calls queue behind bulk on links without fair queues."""
START_S_MAX, DROP_S_MAX, REBUILD_S_MAX = 60.0, 60.0, 600.0
STEP_S = 0.25
KNOBS = {
    "layout.dead_after_s": 8.0,
    "storage.retry_s": 0.3,
    "storage.call_timeout_s": 4.0,
}


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """How a rebuild went.

    Attributes:
        seconds: From the layout that drops the lost node to the last copy.
        sent: Bytes that each remaining node has sent for it, copies that came twice left out.
        received: Bytes that each has received, likewise.
        blobs: How many blobs there are.
        faults: What befell the cluster.
    """

    seconds: float
    sent: Mapping[str, int]
    received: Mapping[str, int]
    blobs: int
    faults: Mapping[str, int]

    @property
    def share_of_links(self) -> float:
        """Of what the links of the remaining nodes could have carried together."""
        return sum(self.sent.values()) / (self.seconds * LINK_BYTES_PER_S * len(self.sent))


def measure(world: World, nodes: int) -> Rebuilt:
    """Fill a cluster, lose its last node, and wait until everything is back."""
    sent: dict[str, int] = {}
    received: dict[str, int] = {}
    pushed: dict[tuple[str, str], None] = {}

    def observe(name: str, node: Node) -> None:
        def pushes(peer: str, offer: Offer, *_: object) -> None:
            if name in sent and offer.background and (peer, offer.id) not in pushed:
                pushed[peer, offer.id] = None
                sent[name] += offer.size
                received[ready.names[peer]] += offer.size

        before(node.storage._repair._sender, "_push", pushes)

    cluster, ready = Cluster(world, daemon), Ready(observe)
    first = cluster.start("n1", (), ready, KNOBS)
    for number in range(2, nodes + 1):
        cluster.start(f"n{number}", ((first.ip, PEER_PORT),), ready, KNOBS)
    _until(world, lambda: _sizes(ready) == [nodes] * nodes, START_S_MAX, "no layout of all nodes")
    fills = [cluster.node(name).spawn(_fill(world, ready.nodes[name])) for name in cluster.names]
    blobs = [blob for each in fills for blob in world.run_until_done(each, REBUILD_S_MAX)]
    copies = _Copies(cluster, ready, blobs)
    _until(world, copies.complete, REBUILD_S_MAX, "copies lack")

    victim = f"n{nodes}"
    cluster.degrade(Conditions(bytes_per_s=LINK_BYTES_PER_S))
    cluster.cut_power(victim)
    ready.nodes.pop(victim)
    sent.update(dict.fromkeys(cluster.running, 0))
    received.update(sent)
    _until(world, lambda: nodes - 1 in _sizes(ready), DROP_S_MAX, "the dead node was not dropped")
    began = world.now
    _until(world, copies.complete, REBUILD_S_MAX, "not rebuilt")
    return Rebuilt(world.now - began, sent, received, len(blobs), dict(cluster.faults))


def _play(world: World, nodes: int) -> Tally:
    rebuilt = measure(world, nodes)
    for what, counted in (("sent", rebuilt.sent), ("received", rebuilt.received)):
        if idle := [name for name, count in counted.items() if not count]:
            world.fail("idle peers", f"{', '.join(idle)} {what} nothing")
    if rebuilt.share_of_links < SHARE_OF_LINKS_MIN:
        world.fail("slow rebuild", f"{rebuilt.share_of_links:.2f} of what the links can carry")
    return Tally(rebuilt.blobs, faults=rebuilt.faults)


class _Copies:
    """Which homes of which blobs have their copies, by the disks themselves."""

    def __init__(self, cluster: Cluster, ready: Ready, blobs: Sequence[str]) -> None:
        self._cluster = cluster
        self._ready = ready
        self._blobs = blobs
        self._seen: dict[tuple[str, str], None] = {}

    def complete(self) -> bool:
        """Whether all have."""
        nodes = self._ready.nodes.values()
        keeper = max(nodes, key=lambda node: node.storage.layout.epoch).storage._keeper
        return all(
            self._has(home, blob)
            for blob in self._blobs
            for home in keeper.home(partition_of_blob(blob))
        )

    def _has(self, home: str, blob: str) -> bool:
        name = self._ready.names[home]
        if (name, blob) not in self._seen and has_intact(self._cluster.node(name), blob):
            self._seen[name, blob] = None
        return (name, blob) in self._seen


async def _fill(world: World, node: Node) -> list[str]:
    draws = world.stream(node.identity.node_id, "blobs")
    blobs = []
    for _ in range(BLOBS_PER_NODE):
        data = draws.randbytes(BLOB_BYTES)
        blobs.append((await node.storage.blobs.put_bytes(data, durability=Durability.ALL)).id)
    return blobs


def _sizes(ready: Ready) -> list[int]:
    """How many nodes are in the layout that each node knows."""
    return [len(node.storage.layout.nodes) for node in ready.nodes.values()]


def _until(world: World, holds: Callable[[], bool], seconds: float, failure: str) -> None:
    end = world.now + seconds
    while not holds():
        if world.now > end:
            raise AssertionError(f"{failure} after {seconds:.0f} s")
        world.run_for(STEP_S)


REBUILD = Scenario("rebuild", "one of ten machines is lost, its blobs are rebuilt", 10, _play)
