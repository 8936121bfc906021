"""Warm workers: kept, reused, replaced, and ended."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from peerdisco.execution.config import ExecutionConfig
from peerdisco.execution.pool import NoSlot, Pool, WorkerLost
from peerdisco.messages import Assignment, Failed
from peerdisco.worker.messages import RunTask

REQUEST = RunTask(
    Assignment("job", "b3-x", 0, "map", 0, 0, 0, (), 0, False), "absent", (), "out", 1 << 20
)


def ignore(progress: Any) -> None:
    """Progress is of no interest here."""


async def run_to_failure(pool: Pool) -> None:
    completed = await pool.execute(REQUEST, ignore)
    assert isinstance(completed.outcome, Failed)


async def test_one_worker_is_warm_before_it_is_asked_and_all_end_with_the_pool(
    world: Any, until: Any
) -> None:
    node = await world.start("one")
    await until(lambda: node.processes.alive == 1)
    pool = Pool(node.processes, ExecutionConfig(slots=2))
    service = asyncio.ensure_future(pool.supervise())
    await until(lambda: node.processes.alive == 2)
    service.cancel()
    await asyncio.wait([service])
    assert node.processes.alive == 1


async def test_a_worker_is_reused_until_it_has_done_its_share(world: Any) -> None:
    node = await world.start("one", workers_warm=0)
    pool = Pool(node.processes, ExecutionConfig(worker_tasks_max=3))
    for _ in range(4):
        await run_to_failure(pool)
    assert [False, True] == [process.alive for process in node.processes.started]


async def test_slots_bound_the_workers_and_waiting_for_one_has_an_end(world: Any) -> None:
    node = await world.start("one", workers_warm=0)
    pool = Pool(node.processes, ExecutionConfig(slots=1, slot_wait_s=0.01))
    await run_to_failure(pool)
    node.processes.started[0].stalls = True
    stuck = asyncio.ensure_future(pool.execute(REQUEST, ignore))
    await asyncio.sleep(0)
    with pytest.raises(NoSlot):
        await pool.execute(REQUEST, ignore)
    stuck.cancel()
    await asyncio.wait([stuck])
    await run_to_failure(pool)
    assert [False, True] == [process.alive for process in node.processes.started]


async def test_a_worker_that_died_while_idle_costs_no_attempt(world: Any) -> None:
    node = await world.start("one", workers_warm=0)
    pool = Pool(node.processes, ExecutionConfig())
    for _ in range(2):
        await run_to_failure(pool)
        node.processes.started[-1].kill()
    await run_to_failure(pool)
    assert [False, False, True] == [process.alive for process in node.processes.started]


async def test_a_worker_that_dies_amid_its_first_task_is_lost(world: Any, until: Any) -> None:
    node = await world.start("one")
    await until(lambda: node.processes.started)
    pool = Pool(node.processes, ExecutionConfig())
    service = asyncio.ensure_future(pool.supervise())
    await until(lambda: len(node.processes.started) == 2)
    node.processes.started[1].dies = True
    with pytest.raises(WorkerLost, match="SIGKILL") as lost:
        await pool.execute(REQUEST, ignore)
    assert lost.value.log_tail == "last words\n"
    service.cancel()
    await asyncio.wait([service])


async def test_a_task_has_a_time_limit(world: Any) -> None:
    node = await world.start("one", workers_warm=0)
    pool = Pool(node.processes, ExecutionConfig(task_timeout_s=0.01))
    await run_to_failure(pool)
    node.processes.started[0].stalls = True
    with pytest.raises(WorkerLost, match="still running"):
        await pool.execute(REQUEST, ignore)
    assert node.processes.alive == 0


async def test_idle_workers_beyond_the_warm_ones_are_ended(world: Any, until: Any) -> None:
    node = await world.start("one", workers_warm=0)
    pool = Pool(node.processes, ExecutionConfig(slots=3, workers_warm=1, worker_idle_s=0.01))
    service = asyncio.ensure_future(pool.supervise())
    await asyncio.gather(*(run_to_failure(pool) for _ in range(3)))
    assert len(node.processes.started) >= 2
    await until(lambda: node.processes.alive == 1)
    await asyncio.sleep(0.03)
    assert node.processes.alive == 1
    service.cancel()
    await asyncio.wait([service])


async def test_a_worker_that_answers_nonsense_is_ended(world: Any) -> None:
    node = await world.start("one", workers_warm=0)

    class Babbling:
        def handle(self, frame: bytes) -> Any:
            return iter([b"nonsense"])

    process = await node.processes.start_worker()
    process._service = Babbling()

    class OneProcess:
        async def start_worker(self) -> Any:
            return process

    pool = Pool(OneProcess(), ExecutionConfig())
    with pytest.raises(WorkerLost, match="nonsense"):
        await pool.execute(REQUEST, ignore)
    assert not process.alive


async def test_an_answer_that_comes_when_the_pool_has_ended_is_of_a_lost_worker(
    world: Any, until: Any
) -> None:
    node = await world.start("one", workers_warm=0)
    process = await node.processes.start_worker()
    answered = asyncio.Event()

    async def late() -> Any:
        await answered.wait()
        return next(process._frames)

    process.receive = late

    class OneProcess:
        async def start_worker(self) -> Any:
            return process

    pool = Pool(OneProcess(), ExecutionConfig(workers_warm=0))
    service = asyncio.ensure_future(pool.supervise())
    attempt = asyncio.ensure_future(pool.execute(REQUEST, ignore))
    await until(lambda: process.busy)
    service.cancel()
    answered.set()
    with pytest.raises(WorkerLost, match="the node stops"):
        await attempt
    await asyncio.wait([service])
