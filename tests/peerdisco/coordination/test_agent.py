"""One node's agent against coordinators that are played by the test."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from peerdisco.coordination.config import Policy
from peerdisco.coordination.messages import (
    Exchange,
    ExchangeAnswer,
    JobPointer,
    Offer,
    PointerState,
    Reply,
    ReplyCode,
)
from peerdisco.messages import Assignment, Input, decode, encode

if TYPE_CHECKING:
    from tests.peerdisco.coordination.conftest import World


class Play:
    """Answers the exchanges of all jobs with as many assignments as `work` allows."""

    def __init__(self, world: World, node: str) -> None:
        self.world, self.node = world, node
        self.work: dict[str, int] = {}
        self.seen: list[Exchange] = []
        self.given = 0
        self.over: list[str] = []
        self.silent = False
        self.leader = ""

    def answer(self, request: Exchange) -> ExchangeAnswer:
        given = []
        for _ in range(min(request.slots, self.work.get(request.job, 0))):
            self.work[request.job] -= 1
            self.given += 1
            read = (Input(("raw://a",)),)
            given.append(
                Assignment(request.job, "p", 0, "map", self.given, self.given, 0, read, 1, True)
            )
        return ExchangeAnswer(tuple(given), (), request.job in self.over)

    async def serve(self, peer: str, body: bytes) -> bytes:
        request = decode(body, Exchange)
        self.seen.append(request)
        if self.silent:
            await asyncio.get_running_loop().create_future()
        if self.leader:
            return encode(Reply(ReplyCode.NOT_LEADER, b"", self.leader, (self.leader,)))
        return encode(Reply(ReplyCode.OK, encode(self.answer(request)), self.node, (self.node,)))

    async def offer(self, to: str, job: str, submitted: float = 1.0) -> None:
        pointer = JobPointer(PointerState.ACTIVE, (self.node,), b"")
        await self.world.registers.create(f"job/{job}", encode(pointer))
        offer = encode(Offer(job, self.node, (self.node,), submitted))
        await self.world.nodes[self.node].rpc.call(to, "job/offer", offer, timeout=1.0)


async def play(world: World, node: str = "boss") -> Play:
    """A node that only plays coordinator."""
    if node not in world.nodes:
        await world.start(node, slots=0)
    played = Play(world, node)
    world.nodes[node].rpc.serve("job/exchange", played.serve)
    return played


def ran(world: World, node: str = "n0") -> list[str]:
    return [assignment.job for assignment in world.nodes[node].execution.ran]


async def test_the_slots_of_a_node_are_shared_by_the_jobs(world: World) -> None:
    await world.start("n0", slots=2)
    boss = await play(world)
    world.gates["map"] = asyncio.Event()
    boss.work = {"a": 100, "b": 100}
    await boss.offer("n0", "a")
    await world.until(lambda: ran(world) == ["a", "a"])
    await boss.offer("n0", "b", 2.0)
    world.gates["map"].set()
    await world.until(lambda: len(ran(world)) > 40)
    assert abs(ran(world)[2:40].count("a") - ran(world)[2:40].count("b")) <= 4


async def test_fifo_serves_the_older_job_first(world: World) -> None:
    world.config = replace(world.config, policy=Policy.FIFO)
    await world.start("n0", slots=1)
    boss = await play(world)
    world.gates["map"] = asyncio.Event()
    boss.work = {"old": 10, "new": 10}
    await boss.offer("n0", "new", 2.0)
    await world.until(lambda: ran(world) == ["new"])
    await boss.offer("n0", "old", 1.0)
    world.gates["map"].set()
    await world.until(lambda: len(ran(world)) == 20)
    assert ran(world)[2:12].count("old") >= 9


async def test_never_more_attempts_run_than_there_are_slots(world: World) -> None:
    await world.start("n0", slots=3)
    boss = await play(world)
    world.gates["map"] = asyncio.Event()
    boss.work = dict.fromkeys("abcde", 5)
    for name in boss.work:
        await boss.offer("n0", name)
    await world.until(lambda: len(ran(world)) == 3)
    await asyncio.sleep(0.02)
    assert world.nodes["n0"].room.agent.running() == 3
    world.gates["map"].set()
    await world.until(lambda: len(ran(world)) == 25)


async def test_outcomes_are_reported_until_a_new_leader_takes_them(world: World) -> None:
    await world.start("n0", slots=1)
    old, new = await play(world, "old"), await play(world, "new")
    world.gates["map"] = asyncio.Event()
    old.work = {"a": 1}
    await old.offer("n0", "a")
    await world.until(lambda: ran(world))
    await world.crash("old")
    world.gates["map"].set()
    await asyncio.sleep(0.02)
    await new.offer("n0", "a")
    await world.until(lambda: any(seen.reports for seen in new.seen))
    assert [report.attempt for report in new.seen[-1].reports or new.seen[-2].reports] == [1]


async def test_an_offer_of_a_new_leader_ends_the_wait_for_the_old_one(world: World) -> None:
    await world.start("n0", slots=1)
    old, new = await play(world, "old"), await play(world, "new")
    old.silent = True
    new.work = {"a": 1}
    await old.offer("n0", "a")
    await world.until(lambda: old.seen)
    await new.offer("n0", "a")
    await world.until(lambda: ran(world) == ["a"])
    assert len(old.seen) == 1


async def test_a_redirection_is_followed(world: World) -> None:
    await world.start("n0", slots=1)
    old, new = await play(world, "old"), await play(world, "new")
    old.leader = "new"
    new.work = {"a": 1}
    await old.offer("n0", "a")
    await world.until(lambda: ran(world) == ["a"])


async def test_a_job_that_is_over_is_forgotten_with_its_attempts(world: World) -> None:
    await world.start("n0", slots=2)
    boss = await play(world)
    world.gates["map"] = asyncio.Event()
    boss.work = {"a": 1}
    await boss.offer("n0", "a")
    await world.until(lambda: ran(world))
    boss.over.append("a")
    await boss.offer("n0", "a")
    await world.until(lambda: world.nodes["n0"].execution.forgotten == ["a"])
    assert world.nodes["n0"].room.agent.running() == 0
    await boss.offer("n0", "a")
    await asyncio.sleep(0.02)
    assert ran(world) == ["a"]


async def test_a_job_whose_pointer_is_done_is_forgotten(world: World) -> None:
    await world.start("n0", slots=1)
    boss = await play(world)
    world.gates["map"] = asyncio.Event()
    boss.work = {"a": 1}
    await boss.offer("n0", "a")
    await world.until(lambda: ran(world))
    done = JobPointer(PointerState.DONE, ("boss",), b"")
    await world.registers.compare_and_set("job/a", 1, encode(done))
    await world.crash("boss")
    world.gates["map"].set()
    await world.until(lambda: world.nodes["n0"].execution.forgotten == ["a"])


async def test_segments_of_jobs_that_ended_unheard_are_swept(world: World) -> None:
    world.config = replace(world.config, garbage_interval_s=0.01)
    await world.start("n0")
    node = world.nodes["n0"]
    node.execution.segments["gone", "x"] = {}
    await world.until(lambda: "gone" in node.execution.forgotten)
