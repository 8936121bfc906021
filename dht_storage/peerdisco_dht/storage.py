"""The storage of one node: what it is made of, and how the pieces know each other.

Read this first. A node's storage offers `blobs`, `tags` and `registers` to the node's other parts
and the same services to its peers. All of it follows one layout, which the composition root
adopts from the Raft group "layout" (or from gossip); nothing here elects or counts anybody.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from peerdisco_dht.background import Background
from peerdisco_dht.blobs.blobs import Blobs
from peerdisco_dht.blobs.leases import Leases
from peerdisco_dht.blobs.pinning import Pinner
from peerdisco_dht.blobs.putting import Putter
from peerdisco_dht.blobs.sending import Sender
from peerdisco_dht.blobs.service import BlobService
from peerdisco_dht.blobs.shelf import Shelf
from peerdisco_dht.collection.collector import Collector
from peerdisco_dht.collection.marker import Marker, References
from peerdisco_dht.collection.participant import Participant
from peerdisco_dht.config import StorageConfig
from peerdisco_dht.epochs import EpochRpc
from peerdisco_dht.health import Health
from peerdisco_dht.kademlia.service import Kademlia
from peerdisco_dht.keeper import LayoutKeeper
from peerdisco_dht.keys import PARTITIONS
from peerdisco_dht.layout import Command, Layout
from peerdisco_dht.messages import BadMessage
from peerdisco_dht.movement import Movement, movement, shares_of
from peerdisco_dht.pacing import Throttle, Traffic
from peerdisco_dht.ports import Datagrams, Disk, Members, NodeId, Rpc, Store
from peerdisco_dht.quotas import Quotas
from peerdisco_dht.registers.acceptors import Acceptors
from peerdisco_dht.registers.coordinator import Coordinator
from peerdisco_dht.registers.handover import Handover
from peerdisco_dht.registers.messages import RegisterValue
from peerdisco_dht.registers.plain import PlainKind
from peerdisco_dht.registers.registers import PREFIX as PLAIN_PREFIX
from peerdisco_dht.registers.registers import Registers
from peerdisco_dht.registers.router import Router
from peerdisco_dht.registers.rows import AcceptorRows
from peerdisco_dht.registers.service import RegisterService
from peerdisco_dht.registers.value import Kind
from peerdisco_dht.repair import Repair
from peerdisco_dht.space import MembersWithRoom, Room
from peerdisco_dht.tags.head import TagHead, TagKind
from peerdisco_dht.tags.sealing import Sealer
from peerdisco_dht.tags.tags import PREFIX as TAG_PREFIX
from peerdisco_dht.tags.tags import Tags, open_head
from peerdisco_dht.usage import Usage
from peerdisco_dht.wanted import USUAL, Wanted, replicas_of
from peerdisco_dht.wishes import Wishes

SEGMENT_OWNER = "tags"
"""Whose pins hold the segments of tags."""


class Storage:
    """The storage room of one node.

    Args:
        me: This node's id.
        log: Store whose every commit is synced: register rows and the layout.
        index: Store of the local blobs.
        disk: Files.
        rpc: Calls to and from peers; methods are registered under "dht/".
        datagrams: For Kademlia; None for a node without it.
        members: Who seems to be alive.
        rng: Random stream of this room, for pauses; never for names.
        entropy: Unpredictable bytes, for names that must be unique.
        config: Limits and patience.
        wall_time: The calendar: stamped on tags for people, and for the leases of blobs.
        owner_of: The owner that a plain register keeps alive, by key and value, if it does: the
            garbage collection leaves alone what a living owner has put.
        busy: Whether the node works for somebody else, so that repair must yield.
    """

    def __init__(
        self,
        me: NodeId,
        *,
        log: Store,
        index: Store,
        disk: Disk,
        rpc: Rpc,
        datagrams: Datagrams | None,
        members: Members,
        rng: random.Random,
        entropy: Callable[[int], bytes],
        config: StorageConfig | None = None,
        wall_time: Callable[[], float] = lambda: 0.0,
        owner_of: Callable[[str, bytes], str | None] = lambda _key, _value: None,
        busy: Callable[[], bool] = lambda: False,
    ) -> None:
        config = config or StorageConfig()
        names = UniqueNames(entropy)
        self._background, self._keeper = Background(), LayoutKeeper(log)
        epochs = EpochRpc(rpc, self._keeper)
        router = self._make_registers(me, log, epochs, members, names, rng, config)
        self._kinds: dict[str, Kind] = {PLAIN_PREFIX: PlainKind(), TAG_PREFIX: TagKind()}
        leases = Leases(wall_time, config.lease_s)
        self._shelf = Shelf(disk, index, names.next, leases)
        traffic, room, wanted = Traffic(busy), Room(disk, config), Wanted(self._keeper)
        BlobService(
            self._shelf, rpc, lambda peer, blob: wanted.defers(me, peer, blob), room.refusal,
            traffic, _throttle(traffic, config), config.transfers_max,
        )  # fmt: skip
        sender = Sender(self._shelf, rpc, config)
        self._repair = Repair(
            me, self._shelf, sender, _throttle(traffic, config), self._keeper, wanted, members,
            rpc, config,
        )  # fmt: skip
        putter = Putter(
            me, self._shelf, sender, self._keeper, MembersWithRoom(me, members, room),
            self._background, names.next, self._repair.want, config,
        )  # fmt: skip
        pinner = Pinner(self._shelf, epochs, self._keeper, members, names.next, config)
        self.registers = Registers(router)
        self.blobs = Blobs(
            me, self._shelf, putter, pinner, rpc, self._keeper, members, self._background, traffic,
            room.check_put, config,
        )  # fmt: skip
        segments = _Segments(self.blobs)
        self._sealer = Sealer(router, self._background, segments.put_bytes)
        self.tags = Tags(
            router, self._background, epochs, self._keeper, segments, pinner, wall_time, rng,
            entropy, config,
        )  # fmt: skip
        self.usage = Usage(self.tags, self._keeper, members, rpc, config)
        self.quotas = Quotas(self.registers, self.usage, self._background)
        self._wishes = Wishes(
            self._shelf, wanted, self._keeper, rpc, self.tags.named, self._repair.want,
            self._background, config.call_timeout_s,
        )  # fmt: skip
        self._owner_of = owner_of
        Participant(
            me, self._shelf, disk, index, leases, epochs, self._keeper, wanted, self._repair.want,
            config,
        )  # fmt: skip
        self._make_collector(me, epochs, router, members, wall_time, config)
        self.health = Health(
            me, self._shelf, disk, index, room, self._repair, traffic, self._keeper, wanted,
            members, rpc, wall_time, config,
        )  # fmt: skip
        self.kademlia = (
            Kademlia(me, datagrams, members, self._keeper, rng) if datagrams is not None else None
        )

    def _make_collector(
        self,
        me: NodeId,
        epochs: EpochRpc,
        router: Router,
        members: Members,
        wall_time: Callable[[], float],
        config: StorageConfig,
    ) -> None:
        """What runs garbage collections, and reads registers for those of others."""
        Marker(epochs, self._keeper, router, self._references, config)
        self.collector = Collector(
            me, self.registers, epochs, self._keeper, members, self._background, wall_time, config
        )

    def _make_registers(
        self,
        me: NodeId,
        log: Store,
        epochs: EpochRpc,
        members: Members,
        names: UniqueNames,
        rng: random.Random,
        config: StorageConfig,
    ) -> Router:
        """This node's part in all registers; the way to reach them from here."""
        self._rows = AcceptorRows(log, self._keeper)
        acceptors = Acceptors(me, self._rows, epochs, self._background, config)
        coordinator = Coordinator(
            me, self._keeper, acceptors, self._rows, self._background, names.next(), rng,
            self._kind_of, self._observe,
        )  # fmt: skip
        router = Router(
            me, coordinator, epochs, self._keeper, members, acceptors, self._background,
            names.next(), rng, config,
        )  # fmt: skip
        RegisterService(self._rows, coordinator, epochs, config)
        self._handover = Handover(me, self._keeper, epochs, members, coordinator, config)
        return router

    async def run(self) -> None:
        """Serve and look after the data until cancelled."""
        await self._shelf.clean()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._background.run())
            group.create_task(self._keeper.run())
            group.create_task(self._handover.run())
            group.create_task(self._repair.run())
            group.create_task(self.health.run())
            group.create_task(self.collector.run())
            if self.kademlia is not None:
                group.create_task(self.kademlia.run())

    async def wait_started(self) -> None:
        """Return when `run` has begun to serve; before that operations raise Unavailable."""
        await self._background.started.wait()

    @property
    def layout(self) -> Layout:
        """The newest layout that this node has heard of."""
        return self._keeper.layout

    def adopt(self, layout: Layout) -> bool:
        """Take over a newer layout, from whatever source; False when it is not newer."""
        return self._keeper.adopt(layout)

    def subscribe(self, listener: Callable[[Layout], None]) -> None:
        """Be called with every layout that is adopted from now on, from whatever source."""
        self._keeper.subscribe(listener)

    def home(self, key: bytes) -> tuple[NodeId, ...]:
        """The home set of a 160-bit key, first choice first; empty without a layout."""
        return self._keeper.home_of_key(key)

    async def movement(self, command: Command) -> Movement:
        """What a change of the layout would move; nothing is changed."""
        return movement(self.layout, command, (await self.health.census()).sizes())

    def shares(self) -> dict[NodeId, int]:
        """How many partitions each node is a home of."""
        return shares_of([self._keeper.home(partition) for partition in range(PARTITIONS)])

    async def handed_over(self, since: int | None = None) -> bool:
        """Whether all registers are handed over to the present placement.

        The leader of the layout asks this before it proposes FinishHandover; see `upkeep.plan`.
        With `since` the answer is False unless that epoch began the placement meant here, so that
        a leader whose state machine is ahead of this node cannot finish the wrong one.
        """
        if since is not None and since != self.layout.since:
            return False
        return await self._handover.finished()

    def _kind_of(self, name: str) -> Kind:
        kind = self._kinds.get(name[:2])
        if kind is None:
            raise BadMessage(f"no kind of register has names like {name!r:.40}")
        return kind

    async def _references(self, name: str, value: RegisterValue) -> References:
        """What a register names, for the garbage collection."""
        self._kind_of(name)
        if name.startswith(TAG_PREFIX):
            blobs = await self.tags.references(value)
            _, head = open_head(name, value)
            wish = replicas_of(dict(head.attributes)) if head is not None else USUAL
            return References(blobs, replicas=wish)
        if value.data is None:
            return References()
        owner = self._owner_of(name.removeprefix(PLAIN_PREFIX), value.data)
        return References(owners=(owner,) if owner is not None else ())

    def _observe(self, name: str, content: object | None) -> None:
        if isinstance(content, TagHead):
            self._sealer.observe(name, content)
            self._wishes.observe(name, content)


def _throttle(traffic: Traffic, config: StorageConfig) -> Throttle:
    """One for what repair sends, one for what it receives."""
    return Throttle(traffic, config.repair_bytes_per_s, config.repair_busy_bytes_per_s)


class UniqueNames:
    """Names that nobody ever used: a random beginning for each start, then a counter."""

    def __init__(self, entropy: Callable[[int], bytes]) -> None:
        self._beginning = entropy(10).hex()
        self._count = 0

    def next(self) -> str:
        """A new name, of letters, digits and a hyphen."""
        self._count += 1
        return f"{self._beginning}-{self._count}"


class _Segments:
    """Blobs as tags use them for their segments."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    async def put_bytes(self, data: bytes) -> str:
        return (await self._blobs.put_bytes(data, owner=SEGMENT_OWNER)).id

    async def read(self, blob: str, *, limit_bytes: int) -> bytes:
        return await self._blobs.read(blob, limit_bytes=limit_bytes)
