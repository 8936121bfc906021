"""How full this node's disk is, and what it therefore refuses.

Below the *low* mark a node takes no new copies: writers and repair go on to the next node of the
blob's order, and what had to lie there moves home when there is room again. Caches go, the oldest
first. Below the *read-only* mark nobody can put a blob through this node either. Reading, deleting,
tags and garbage collection go on in any case: what they need is held back from blobs.

`state_of` is pure; `Room` asks the disk, at most once in a while.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import Callable

from peerdisco_dht.blobs.messages import Role
from peerdisco_dht.blobs.shelf import Shelf
from peerdisco_dht.config import StorageConfig
from peerdisco_dht.errors import StorageFull
from peerdisco_dht.messages import Message
from peerdisco_dht.ports import Address, Disk, Members, NodeId

logger = logging.getLogger(__name__)

AGE_S = 1.0
"""The disk is asked again when the last answer is older."""
EVICTION_INTERVAL_S = 30.0
PAGE_ROWS = 500
CACHE_REST_S = 600.0
"""A cache that was made or used for a put so short ago is not evicted: somebody may read it."""


class SpaceState(enum.StrEnum):
    """What a node does about the space that is left."""

    OK = "ok"
    LOW = "low"
    """Takes no new copies."""
    READ_ONLY = "read-only"
    """Nor puts of clients."""


class Space(Message, frozen=True, array_like=True):
    """The file system below a node's data.

    Attributes:
        total: Bytes; 0 when it was not asked yet.
        free: Bytes.
        state: What the node does about it.
    """

    total: int = 0
    free: int = 0
    state: SpaceState = SpaceState.OK


def state_of(free: int, total: int, config: StorageConfig) -> SpaceState:
    """What so much free space means."""
    if free < min(config.read_only_bytes, int(config.read_only_share * total)):
        return SpaceState.READ_ONLY
    if free < min(config.low_bytes, int(config.low_share * total)):
        return SpaceState.LOW
    return SpaceState.OK


class Room:
    """The space of one node."""

    def __init__(self, disk: Disk, config: StorageConfig) -> None:
        self._disk = disk
        self._config = config
        self._asked_at = -AGE_S
        self.space = Space()

    async def look(self) -> Space:
        """The space as it is, or was a moment ago."""
        now = asyncio.get_running_loop().time()
        if now - self._asked_at >= AGE_S:
            self._asked_at = now
            try:
                found = await self._disk.space()
            except OSError as error:
                logger.warning(f"event=disk_space_unknown error={error}")
                return self.space
            state = state_of(found.free_bytes, found.total_bytes, self._config)
            if state is not self.space.state:
                logger.warning(f"event=disk_space state={state} free={found.free_bytes}")
            self.space = Space(found.total_bytes, found.free_bytes, state)
        return self.space

    async def check_put(self) -> None:
        """Raises StorageFull when no blob may be put through this node."""
        space = await self.look()
        if space.state is SpaceState.READ_ONLY:
            raise StorageFull(
                f"this node has {space.free} of {space.total} bytes left and takes no blobs; "
                "another node may"
            )

    async def refusal(self) -> str:
        """Why this node takes no new copies; empty when it does."""
        space = await self.look()
        if space.state is SpaceState.OK:
            return ""
        return f"low on space: {space.free} of {space.total} bytes left"


class MembersWithRoom:
    """The members, without this node while it takes no new copies: whom a writer may choose."""

    def __init__(self, me: NodeId, members: Members, room: Room) -> None:
        self._me = me
        self._members = members
        self._room = room

    def alive(self) -> list[NodeId]:
        """See Members."""
        alive = self._members.alive()
        if self._room.space.state is SpaceState.OK:
            return alive
        return [node for node in alive if node != self._me]

    def address_of(self, node: NodeId) -> Address | None:
        """See Members."""
        return self._members.address_of(node)


class Evictor:
    """Drops caches while space is low."""

    def __init__(
        self, room: Room, shelf: Shelf, wall_time: Callable[[], float], lease_s: float
    ) -> None:
        self._room = room
        self._shelf = shelf
        self._wall_time = wall_time
        self._lease_s = lease_s

    async def run(self) -> None:
        """Look now and then until cancelled."""
        while True:
            try:
                if (await self._room.look()).state is not SpaceState.OK:
                    await self.evict()
            except OSError as error:
                logger.warning(f"event=eviction_interrupted error={error}")
            await asyncio.sleep(EVICTION_INTERVAL_S)

    async def evict(self) -> None:
        """Drop caches, the oldest first, until there is room."""
        caches: list[tuple[float, str]] = []
        after = ""
        while rows := self._shelf.scan(after, PAGE_ROWS):
            after = rows[-1][0]
            caches += [(row.lease, blob) for blob, row in rows if row.role is Role.CACHE]
            await asyncio.sleep(0)
        newest = self._wall_time() + self._lease_s - CACHE_REST_S
        for lease, blob in sorted(caches):
            if lease > newest or (await self._room.look()).state is SpaceState.OK:
                return
            if await self._shelf.evict(blob):
                logger.info(f"event=cache_evicted blob={blob}")
