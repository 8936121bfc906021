"""The upkeep of voters on real Raft groups: one voter grows to three, and the dead are replaced."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, cast

from peerdisco.coordination.config import CoordinationConfig
from peerdisco.coordination.messages import Form, JobPointer, PointerState, Reply, ReplyCode
from peerdisco.coordination.pointers import PREFIX, JobPointers
from peerdisco.coordination.ports import Failures, Ports
from peerdisco.coordination.upkeep import VoterUpkeep
from peerdisco.messages import decode, encode
from peerdisco_election import Group, RaftError
from tests.election.nodes import BRISK, Net

JOB = "count"
NAME = PREFIX + JOB
QUICK = dataclasses.replace(CoordinationConfig(), upkeep_interval_s=0.02, voter_missing_s=0.1)


@dataclass(frozen=True, slots=True)
class Versioned:
    version: int
    value: bytes


class Registers:
    """Registers in memory, shared by all nodes."""

    def __init__(self) -> None:
        self.values: dict[str, Versioned] = {}

    async def create(self, key: str, value: bytes) -> bytes:
        return self.values.setdefault(key, Versioned(1, value)).value

    async def read(self, key: str) -> Versioned | None:
        return self.values.get(key)

    async def compare_and_set(self, key: str, expected_version: int, value: bytes) -> bool:
        if self.values[key].version != expected_version:
            return False
        self.values[key] = Versioned(expected_version + 1, value)
        return True


class Site:
    """A net of nodes on which one job has its group, and the upkeep on each of them."""

    def __init__(self) -> None:
        self.net = Net(dataclasses.replace(BRISK, election_timeout=0.4))
        self.registers = Registers()
        self.members: dict[str, Group] = {}

    def alive(self) -> list[str]:
        return sorted(self.net.nodes)

    def known(self) -> list[str]:
        return self.alive()

    def subscribe(self, callback: Callable[[object], None]) -> None:
        """Nobody needs to hear of changes here."""

    async def call(self, peer: str, method: str, body: bytes, *, timeout: float) -> bytes:
        assert method == "job/form"
        if peer not in self.net.nodes:
            raise ConnectionError(peer)
        await self.join(peer, decode(body, Form).voters)
        return encode(Reply(ReplyCode.OK))

    def serve(self, method: str, handler: Callable[[str, bytes], Awaitable[bytes]]) -> None:
        """Nobody calls anything else."""

    async def join(self, node: str, voters: tuple[str, ...]) -> None:
        if node in self.members:
            return
        machine = self.net.machine(node, NAME)
        self.members[node] = await self.net.nodes[node].create(
            NAME, voters, machine, campaign=bool(voters)
        )

    def upkeep(self, node: str) -> VoterUpkeep:
        ports = Ports(
            me=node,
            rpc=self,
            members=self,
            groups=self.net.nodes[node],
            registers=self.registers,
            blobs=cast("Any", None),
            tags=cast("Any", None),
            execution=cast("Any", None),
            failures=Failures(election=(RaftError, OSError), storage=(OSError,)),
            wall_time=lambda: 0.0,
            rng=random.Random(node),
            read_spec=cast("Any", None),
        )
        return VoterUpkeep(JOB, ports, self.members[node], QUICK)

    async def leader(self) -> str:
        return (await self.net.leader(self.members)).core.me

    def settled(self) -> bool:
        """Whether all three living nodes know that they are the voters, and no others."""
        alive = self.alive()
        found = [self.members[node].core.configuration for node in alive if node in self.members]
        return len(found) == len(alive) == 3 and all(
            (list(one.voters), one.outgoing) == (alive, ()) for one in found
        )

    async def pointed_at(self) -> tuple[str, ...]:
        pointer = await JobPointers(self.registers).read(JOB)
        assert pointer is not None
        return pointer.voters


async def test_a_group_of_one_grows_to_three_and_replaces_the_dead_one_after_the_other() -> None:
    """Nothing that was committed is lost on the way, and the pointer follows."""
    site = Site()
    net = site.net
    async with net.running("a"):
        await site.join("a", ("a",))
        await JobPointers(site.registers).create(JOB, JobPointer(PointerState.ACTIVE, ("a",), b""))
        await site.members["a"].propose(b"one", timeout=9)
        for name in "bc":
            net.start(name)
        words = [b"one"]
        for round_number in range(3):
            leader = await site.leader()
            upkeep = asyncio.ensure_future(site.upkeep(leader).run())
            group = site.members[leader]
            await net.until(site.settled)
            upkeep.cancel()
            assert set(site.alive()) == set(await site.pointed_at())
            words.append(b"round %d" % round_number)
            await group.propose(words[-1], timeout=9)
            net.kill(leader)
            del site.members[leader]
            net.start("def"[round_number])
        survivor = await net.leader(site.members)
        await survivor.propose(b"last", timeout=9)
        assert [*words, b"last"] == net.machines[survivor.core.me, NAME].words
