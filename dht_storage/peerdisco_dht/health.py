"""The health of the storage: what nodes hold, how full they are, what they are busy with.

A census counts rows when it is asked. A condition counts nothing: each node answers from memory,
so it may be asked often.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from peerdisco_dht.backlog import RepairProgress
from peerdisco_dht.blobs.shelf import Shelf
from peerdisco_dht.census import Census, Counter
from peerdisco_dht.config import StorageConfig
from peerdisco_dht.fanout import ask_all
from peerdisco_dht.keeper import LayoutKeeper
from peerdisco_dht.messages import Message, decode, encode
from peerdisco_dht.pacing import Throttle, Traffic
from peerdisco_dht.ports import Disk, Members, NodeId, Rpc, Store
from peerdisco_dht.repair import Repair
from peerdisco_dht.scrub import Scrub, ScrubState
from peerdisco_dht.space import Evictor, Room, Space
from peerdisco_dht.wanted import Wanted

CONDITION = "dht/condition"
SCRUB = "dht/scrub/now"


class Condition(Message, frozen=True, array_like=True):
    """The state of one node's storage.

    Attributes:
        repair: How far its share of the repair is.
        scrub: Where its scrub is.
        space: How full its disk is.
    """

    repair: RepairProgress = RepairProgress()
    scrub: ScrubState = ScrubState(0.0)
    space: Space = Space()


class Health:
    """Looks after this node's copies beside repair, and knows how all nodes are.

    Args:
        me: This node.
        shelf: Its copies.
        disk: Where their files lie.
        index: Where the scrub keeps its place.
        room: How full the disk is.
        repair: Its progress is told to others.
        traffic: Tells when background work must yield.
        keeper: The layout.
        wanted: Who shall have copies.
        members: Who seems alive.
        rpc: Calls to and from peers.
        wall_time: The calendar.
        config: Limits.
    """

    def __init__(
        self,
        me: NodeId,
        shelf: Shelf,
        disk: Disk,
        index: Store,
        room: Room,
        repair: Repair,
        traffic: Traffic,
        keeper: LayoutKeeper,
        wanted: Wanted,
        members: Members,
        rpc: Rpc,
        wall_time: Callable[[], float],
        config: StorageConfig,
    ) -> None:
        self._keeper = keeper
        self._members = members
        self._rpc = rpc
        self._timeout_s = config.call_timeout_s
        self._room = room
        self._repair = repair
        self._counter = Counter(me, shelf, keeper, wanted, members, rpc, config)
        throttle = Throttle(traffic, config.scrub_bytes_per_s, config.scrub_bytes_per_s)
        self._scrub = Scrub(shelf, disk, index, throttle, wall_time, config)
        self._evictor = Evictor(room, shelf, wall_time, config.lease_s)
        rpc.serve(CONDITION, self._answer)
        rpc.serve(SCRUB, self._begin_scrub)

    async def run(self) -> None:
        """Scrub, and make room when it is needed, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._scrub.run())
            group.create_task(self._evictor.run())

    async def census(self) -> Census:
        """What every node holds, as counted now."""
        return await self._counter.census()

    def condition(self) -> Condition:
        """How this node is."""
        return Condition(self._repair.progress(), self._scrub.state, self._room.space)

    async def conditions(self) -> Mapping[NodeId, Condition]:
        """How each node of the layout is that answers."""
        alive = self._members.alive()
        nodes = [node.id for node in self._keeper.layout.nodes if node.id in alive]

        async def ask(node: NodeId) -> Condition:
            data = await self._rpc.call(node, CONDITION, b"", timeout=self._timeout_s)
            return decode(data, Condition)

        answers = await ask_all(nodes, ask)
        return {node: each for node, each in answers.items() if isinstance(each, Condition)}

    async def scrub(self) -> tuple[NodeId, ...]:
        """Let every node begin to scrub now; returns those that do not answer."""
        nodes = [node.id for node in self._keeper.layout.nodes]
        answers = await ask_all(
            nodes, lambda node: self._rpc.call(node, SCRUB, b"", timeout=self._timeout_s)
        )
        return tuple(node for node, answer in answers.items() if isinstance(answer, Exception))

    async def _answer(self, peer: NodeId, body: bytes) -> bytes:
        del peer, body
        return encode(self.condition())

    async def _begin_scrub(self, peer: NodeId, body: bytes) -> bytes:
        del peer, body
        self._scrub.ask()
        return b""
