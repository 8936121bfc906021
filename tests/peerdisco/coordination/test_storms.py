"""Whole jobs while nodes crash and restart, leaders change and answers get lost."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from peerdisco.coordination import JobStatus, JobUnreachable
from peerdisco.messages import Grouping, Stage

if TYPE_CHECKING:
    from tests.peerdisco.coordination.conftest import Fault, MakePack, World

STAGES = (
    Stage("map", Grouping.SPLIT),
    Stage("shuffle", Grouping.GROUP_NODE_LABEL),
    Stage("reduce", Grouping.GROUP_LABEL),
)
WORDS = [f"w{number} common" for number in range(24)]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
async def test_a_job_comes_out_exactly_right_of_any_storm(
    world: World, pack: MakePack, faults: tuple[Fault, Fault], seed: int
) -> None:
    rng = random.Random(seed)
    names = [f"n{number}" for number in range(6)]
    await world.start(*names)
    world.fault = lambda _method: rng.choice(faults) if rng.random() < 0.1 else None
    world.effort = lambda: rng.uniform(0.0, 0.03)
    job = pack(inputs=[f"raw://{text}" for text in WORDS], stages=STAGES)
    await _submit(world, job)
    storm = world.spawn(_storm(world, rng))
    status = await _ended(world)
    storm.cancel()
    expected = {f"w{number}": 1 for number in range(24)} | {"common": 24}
    assert world.counts(status) == expected


async def _submit(world: World, job: bytes) -> None:
    """Submit as a client would: again at another node, until somebody acknowledges."""
    for name in world.nodes:
        try:
            await world.nodes[name].directory.submit(job)
        except JobUnreachable:
            continue
        return


async def _ended(world: World) -> JobStatus:
    """Wait for the end, as a client would, at whichever node is alive."""
    async with asyncio.timeout(60):
        while True:
            reader = next(name for name in world.nodes if world.is_alive(name))
            asking = world.spawn(
                world.nodes[reader].directory.wait("job@1", since=-1, timeout_s=0.0)
            )
            crash = world.spawn(world.nodes[reader].crashed.wait())
            await asyncio.wait([asking, crash], return_when=asyncio.FIRST_COMPLETED)
            crash.cancel()
            if asking.done() and asking.exception() is None:
                status = asking.result()
                if status.status != "active":
                    return status
            asking.cancel()
            await asyncio.sleep(0.005)


async def _storm(world: World, rng: random.Random) -> None:
    """One trouble after another; never two voters away at a time."""
    while True:
        await asyncio.sleep(rng.uniform(0.0, 0.03))
        match rng.choice(["crash", "blink", "depose"]):
            case "crash":
                victim = rng.choice(list(world.nodes))
                await world.crash(victim)
                await asyncio.sleep(rng.uniform(0.0, 0.05))
                await world.restart(victim)
            case "blink":
                victim = rng.choice(list(world.nodes))
                await world.crash(victim, notice=False)
                await world.restart(victim)
            case _:
                for group in list(world.groups.values()):
                    group.depose()
                await asyncio.sleep(rng.uniform(0.0, 0.01))
        world.elect(rng)
