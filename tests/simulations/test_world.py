"""The clock, the queues, the rules of the world, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import secrets
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from peerdisco_sim.errors import Deadlock, EscapedSimulation
from peerdisco_sim.node import SimNode
from peerdisco_sim.world import World

Run = Callable[[Coroutine[Any, Any, Any]], Any]


def test_time_jumps_to_the_next_event(world: World, run: Run) -> None:
    began = time.perf_counter()
    run(asyncio.sleep(3000))
    assert world.now == pytest.approx(3000)
    assert time.perf_counter() - began < 60


def test_clocks_drift_and_are_skewed_each_for_itself(world: World) -> None:
    seen: dict[str, tuple[float, float]] = {}

    async def look(name: str) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await asyncio.sleep(1000)
        assert loop.time() == time.monotonic() == time.perf_counter()
        seen[name] = (loop.time() - began, time.time())

    fast = SimNode(world, "fast", drift_ppm=1000, skew_s=5)
    slow = SimNode(world, "slow", drift_ppm=-1000)
    fast.run(lambda: look("fast"))
    slow.run(lambda: look("slow"))
    world.run_for(2000)
    assert seen["fast"][0] == pytest.approx(1000)
    assert seen["fast"][1] == pytest.approx(world.epoch + 1000 / 1.001 + 5)
    assert seen["slow"][1] == pytest.approx(world.epoch + 1000 / 0.999)


def test_a_timer_never_fires_before_its_time_on_the_nodes_clock(world: World) -> None:
    early: list[float] = []

    async def wait() -> None:
        loop = asyncio.get_running_loop()
        for number in range(200):
            deadline = loop.time() + 0.1 / (number + 1)
            await asyncio.sleep(deadline - loop.time())
            if loop.time() < deadline:
                early.append(deadline - loop.time())

    node = SimNode(world, "node", drift_ppm=37.77)
    world.run_until_done(node.run(wait), 1000)
    assert [] == early


def test_the_order_of_nodes_and_callbacks_is_first_in_first_out(world: World) -> None:
    order: list[str] = []

    async def note(name: str) -> None:
        for _ in range(2):
            order.append(name)
            await asyncio.sleep(0)

    for name in ("a", "b"):
        SimNode(world, name).run(lambda name=name: note(name))  # type: ignore[misc]  # bound early
    world.run_for(1)
    assert ["a", "b", "a", "b"] == order


def test_a_paused_node_does_nothing_and_then_everything_late(world: World, node: SimNode) -> None:
    ticks: list[float] = []

    async def tick() -> None:
        for _ in range(100):
            await asyncio.sleep(1)
            ticks.append(round(world.now, 3))

    node.spawn(tick())
    world.run_for(2.5)
    node.pause(5)
    world.run_for(6.6)
    assert [1.0, 2.0, 7.5, 8.5] == ticks


def test_a_slow_node_takes_time_for_every_step(world: World, node: SimNode) -> None:
    async def work() -> float:
        for _ in range(100):
            await asyncio.sleep(0)
        return world.now

    node.slow_down(0.01)
    assert world.run_until_done(node.spawn(work()), 10) == pytest.approx(1.0, rel=0.05)


def test_a_dead_process_runs_no_finally_block_until_the_world_ends() -> None:
    ended: list[str] = []

    async def hold() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append("finally")

    with World(1) as world:
        node = SimNode(world, "node")
        node.boot(hold)
        world.run_for(1)
        node.kill()
        world.run_for(10_000)
        gc.collect()
        assert [] == ended
    assert ["finally"] == ended


def test_what_a_dead_process_starts_never_runs_and_warns_nobody(
    world: World, node: SimNode
) -> None:
    loop = node.loop
    assert loop is not None
    node.kill()
    task = loop.create_task(asyncio.sleep(1))
    world.run_for(10)
    assert not task.done()
    del task
    gc.collect()


def test_an_unhandled_exception_in_a_callback_is_a_failure(world: World, node: SimNode) -> None:
    async def spoil() -> None:
        asyncio.get_running_loop().call_later(1, lambda: 1 // 0)

    node.spawn(spoil())
    world.run_for(10)
    (failure,) = world.failures
    assert ("unhandled exception", "node") == (failure.name, failure.node)
    assert "ZeroDivisionError" in failure.line()
    assert world.now == pytest.approx(1)


def test_an_exception_that_nobody_retrieves_is_a_failure(world: World, node: SimNode) -> None:
    async def spoil() -> None:
        asyncio.get_running_loop().create_task(fail())

    async def fail() -> None:
        raise ValueError("lost")

    node.spawn(spoil())
    world.run_for(10)
    assert "ValueError: lost" in world.failures[0].detail


def test_a_failing_main_is_a_failure_and_a_failing_client_is_not(world: World) -> None:
    async def fail() -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        world.run_until_done(SimNode(world, "client").run(fail), 1)
    assert [] == world.failures
    SimNode(world, "daemon").boot(fail)
    world.run_for(1)
    assert ["main failed"] == [failure.name for failure in world.failures]


def test_what_can_never_complete_is_a_deadlock_and_what_is_late_a_timeout(world: World) -> None:
    with pytest.raises(Deadlock):
        world.run_until_done(SimNode(world, "a").run(asyncio.Event().wait), 10)
    with pytest.raises(TimeoutError):
        world.run_until_done(SimNode(world, "b").run(lambda: asyncio.sleep(100)), 10)


def test_spinning_at_one_instant_is_a_livelock(world: World, node: SimNode) -> None:
    world.steps_per_instant_max = 10_000

    async def spin() -> None:
        for _ in range(1_000_000):
            await asyncio.sleep(0)

    node.spawn(spin())
    world.run_for(1)
    assert "livelock" == world.failures[0].name


def test_many_cancelled_timers_do_not_stay_in_the_heap(world: World, run: Run) -> None:
    async def give_deadlines() -> None:
        for _ in range(20_000):
            async with asyncio.timeout(3600):
                await asyncio.sleep(0)

    run(give_deadlines())
    assert len(world._heap) < 3_000


@pytest.mark.parametrize(
    "escape",
    [
        lambda: time.sleep(1),
        lambda: socket.create_connection(("127.0.0.1", 9)),
        lambda: asyncio.get_running_loop().add_reader(0, print),
        lambda: asyncio.get_running_loop().run_forever(),
        lambda: asyncio.get_running_loop().stop(),
    ],
)
def test_what_is_not_simulated_is_refused_and_recorded(
    world: World, node: SimNode, escape: Callable[[], object]
) -> None:
    async def swallow() -> None:
        with pytest.raises(EscapedSimulation):
            escape()

    node.spawn(swallow())
    world.run_for(1)
    assert "escaped" == world.failures[0].name


def test_a_subprocess_is_refused(world: World, node: SimNode) -> None:
    async def start() -> None:
        with pytest.raises(EscapedSimulation):
            await asyncio.create_subprocess_exec(sys.executable, stdin=subprocess.DEVNULL)

    node.spawn(start())
    world.run_for(1)
    assert "escaped" == world.failures[0].name


async def randomness() -> list[Any]:
    return [
        os.urandom(8),
        secrets.token_hex(4),
        uuid.uuid4().hex,
        random.random(),
        random.Random().random(),
        random.SystemRandom().random(),
    ]


def test_library_randomness_follows_from_the_seed_and_is_given_back() -> None:
    def draw(seed: int) -> Any:
        with World(seed) as world:
            return world.run_until_done(SimNode(world, "node").run(randomness), 1)

    outer = random.Random("outer")
    first = outer.random()
    outer.seed("outer")
    state = random.getstate()
    assert draw(1) == draw(1) != draw(2)
    assert state == random.getstate()
    assert first == outer.random()
    assert len({os.urandom(8) for _ in range(3)}) == 3


def test_each_boot_draws_anew(world: World, node: SimNode) -> None:
    before = world.run_until_done(node.spawn(randomness()), 1)
    node.kill()
    after = world.run_until_done(node.run(randomness), 1)
    assert before[0] != after[0]


def test_real_clocks_are_back_after_a_run(world: World, run: Run) -> None:
    real = time.monotonic
    run(asyncio.sleep(1))
    assert real is time.monotonic
    assert gc.isenabled() is False
    world.close()
    assert gc.isenabled()


def test_closing_ends_generators_tasks_and_stubborn_tasks_quietly() -> None:
    ended: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await asyncio.sleep(1)
            ended.append("generator")

    async def stubborn() -> None:
        for _ in range(100):
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                ended.append("cancelled")

    async def read() -> None:
        async for _ in numbers():
            await asyncio.sleep(1000)

    with World(1) as world:
        node = SimNode(world, "node")
        node.boot(read)
        node.spawn(stubborn())
        world.run_for(1)
    assert ended.count("generator") == 1
    assert "cancelled" in ended
    assert [] == world.failures


def test_a_signal_reaches_its_handler(world: World, node: SimNode) -> None:
    got: list[str] = []

    async def listen() -> None:
        asyncio.get_running_loop().add_signal_handler(15, got.append, "term")

    node.spawn(listen())
    world.run_for(1)
    node.signal(15)
    world.run_for(1)
    assert ["term"] == got


@pytest.mark.parametrize("depth", [5, 60])
def test_a_process_that_waits_for_ever_while_it_ends_is_ended_all_the_same(depth: int) -> None:
    ended: list[int] = []

    async def hold(depth: int) -> None:
        try:
            if depth:
                await hold(depth - 1)
            await asyncio.Event().wait()
        finally:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            ended.append(depth)

    with World(1) as world:
        node = SimNode(world, "node")
        node.boot(lambda: hold(depth))
        world.run_for(1)
        node.kill()
        world.run_for(1)
        assert [] == ended
    gc.collect()
    assert [0, 1, 2, 3, 4, 5] == ended[:6]
