"""How a node finds its cluster: the seeds it was given, or the peers of its last life.

A node that was given seeds and has never been a member must reach one of them, by TCP and by UDP,
within `JOIN_TIMEOUT_S`, or it says which address did not answer. A node that has been a member
keeps trying for as long as it runs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from peerdisco.addresses import Address, format_address
from peerdisco.errors import JoinFailed
from peerdisco.joining import JOIN_TIMEOUT_S
from peerdisco.machine import Disk
from peerdisco.messages import BadMessage, Message, decode, encode
from peerdisco.reachability import Reachability
from peerdisco_dht import Layout
from peerdisco_gossip import BadMessage as BadGossip
from peerdisco_gossip import Membership, MemberState

logger = logging.getLogger(__name__)

ROSTER_PATH = "identity/roster"
SEEDS_PATH = "identity/seeds"
ROSTER_INTERVAL_S = 10.0
RETRY_S = 0.5
KNOCK_INTERVAL_S = 2.0
"""How often a node that is alone tries the addresses through which it once joined."""

UDP_TIMEOUT_S = 5.0


class Seeds(Message, frozen=True, array_like=True):
    """Addresses through which the cluster was joined."""

    addresses: tuple[Address, ...]


class Entrance:
    """The way into the cluster."""

    def __init__(self, disk: Disk, membership: Membership, reachability: Reachability) -> None:
        self._disk = disk
        self._membership = membership
        self._reachability = reachability
        self._seeds: tuple[Address, ...] = ()
        self.knows_others = False
        self._failed = False

    async def enter(self, seeds: tuple[Address, ...]) -> None:
        """Make contact. Raises JoinFailed when a first join does not succeed."""
        known = await self._read_seeds()
        if await self._restore() or known:
            self.knows_others = True
            await self._try([*seeds, *known])
        elif seeds:
            self.knows_others = True
            await self._join(seeds)
        if seeds and seeds != known:
            await self._disk.write(SEEDS_PATH, encode(Seeds(seeds)))
        self._seeds = tuple(dict.fromkeys([*seeds, *known]))

    async def run(self) -> None:
        """Keep trying to find the cluster again while this node is alone in its own eyes."""
        while True:
            await asyncio.sleep(KNOCK_INTERVAL_S)
            if self._seeds and len(self._membership.alive()) == 1:
                await self._try(list(self._seeds))

    async def _join(self, seeds: tuple[Address, ...]) -> None:
        names = ", ".join(map(format_address, seeds))
        loop = asyncio.get_running_loop()
        deadline = loop.time() + JOIN_TIMEOUT_S - UDP_TIMEOUT_S
        while (failure := await self._try(list(seeds))) is not None:
            if loop.time() > deadline:
                raise JoinFailed(f"could not join: no answer by TCP from {names} ({failure})")
            await asyncio.sleep(RETRY_S)
        if not await self._reachability.reach(list(seeds), timeout=UDP_TIMEOUT_S):
            raise no_datagrams(seeds)

    async def _try(self, addresses: list[Address]) -> OSError | None:
        if not addresses:
            return None
        try:
            await self._membership.join(addresses)
        except OSError as error:
            level = logging.DEBUG if self._failed else logging.INFO
            logger.log(level, "join_failed error=%s", error)
            self._failed = True
            return error
        self._failed = False
        return None

    async def _restore(self) -> bool:
        """Bring back the peers of an earlier life; False when there were none."""
        if await self._disk.size(ROSTER_PATH) is None:
            return False
        try:
            self._membership.restore(await self._disk.read(ROSTER_PATH))
        except BadGossip as error:
            logger.warning("roster_unreadable path=%s error=%s", ROSTER_PATH, error)
            return False
        return True

    async def _read_seeds(self) -> tuple[Address, ...]:
        if await self._disk.size(SEEDS_PATH) is None:
            return ()
        try:
            return decode(await self._disk.read(SEEDS_PATH), Seeds).addresses
        except BadMessage as error:
            logger.warning("seeds_unreadable path=%s error=%s", SEEDS_PATH, error)
            return ()


class Colleagues:
    """Membership as the coordination room sees it: with all who hold data, met in this life or not.

    Whoever starts while most of the others are away has met few of them, and must not take those
    for the whole cluster.
    """

    def __init__(self, membership: Membership, layout: Callable[[], Layout]) -> None:
        self._membership = membership
        self._layout = layout

    def alive(self) -> list[str]:
        """Sorted ids of the nodes that are alive or only suspected, this one included."""
        return self._membership.alive()

    def known(self) -> list[str]:
        """Sorted ids of all nodes that have not left."""
        members = self._membership.members()
        gone = [member.id for member in members if member.state is MemberState.LEFT]
        nodes = [node.id for node in self._layout().nodes if node.id not in gone]
        return sorted({*self._membership.known(), *nodes})

    def subscribe(self, callback: Callable[[object], None]) -> None:
        """Call back on every change of a member."""
        self._membership.subscribe(callback)


def no_datagrams(addresses: tuple[Address, ...]) -> JoinFailed:
    """What to tell a person when TCP works and UDP does not."""
    names = ", ".join(map(format_address, addresses))
    return JoinFailed(
        f"could not join: {names} answers by TCP, but no datagram came back by UDP in "
        f"{UDP_TIMEOUT_S:.0f} s. Open that port for UDP on both machines."
    )


async def keep_roster(disk: Disk, membership: Membership) -> None:
    """Write down who the members are, for the next start, as long as there are others."""
    while True:
        await asyncio.sleep(ROSTER_INTERVAL_S)
        if len(membership.members()) > 1:
            await disk.write(ROSTER_PATH, membership.roster())
