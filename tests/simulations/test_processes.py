"""Workers inside the world: costs, order, kills, hangs, crashes, files."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from peerdisco_sim.files import SimFiles
from peerdisco_sim.machine import disk_of
from peerdisco_sim.node import SimNode
from peerdisco_sim.processes import SimProcesses, WorkerCosts
from peerdisco_sim.world import World

Run = Callable[[Coroutine[Any, Any, Any]], Any]


class Echo:
    """Answers a frame with its words; knows a few commands."""

    def __init__(self, files: SimFiles) -> None:
        self.files = files

    def handle(self, frame: bytes) -> Iterator[bytes]:
        if frame == b"raise":
            raise RuntimeError("broken worker")
        if frame.startswith(b"write "):
            with self.files.open_write("out/x.tmp") as file:
                file.write(frame[6:] * 100_000)
                yield b"writing"
            self.files.rename("out/x.tmp", "out/x")
            yield b"written"
        elif frame == b"read":
            with self.files.open_read("out/x") as file:
                file.seek(2)
                yield file.read(3)
        else:
            yield from frame.split()


@pytest.fixture
def processes(node: SimNode) -> SimProcesses:
    processes = SimProcesses(node, disk_of(node), Echo)
    node.devices["processes"] = processes
    return processes


def test_frames_are_answered_in_order_after_their_cost(
    world: World, processes: SimProcesses, run: Run
) -> None:
    async def program() -> list[Any]:
        worker = await processes.start_worker()
        await worker.send(b"a b")
        await worker.send(b"c")
        began = world.now
        answers = [await worker.receive() for _ in range(3)]
        return [answers, world.now - began, worker.pid > 0, worker.log_tail()]

    answers, seconds, has_pid, log = run(program())
    assert ([b"a", b"b", b"c"], True, "") == (answers, has_pid, log)
    assert 0.006 <= seconds < 0.02


def test_bytes_read_and_written_cost_time(processes: SimProcesses, run: Run) -> None:
    processes.costs = WorkerCosts(byte_s=1e-6, jitter=0.0)

    async def program() -> list[Any]:
        loop = asyncio.get_running_loop()
        worker = await processes.start_worker()
        began = loop.time()
        await worker.send(b"write abcdef")
        outcome: list[Any] = [await worker.receive(), await worker.receive()]
        outcome.append(round(loop.time() - began, 1))
        await worker.send(b"read")
        return [*outcome, await worker.receive()]

    assert [b"writing", b"written", 0.6, b"cde"] == run(program())


def test_a_killed_worker_falls_silent_and_its_late_writes_change_nothing(
    processes: SimProcesses, run: Run
) -> None:
    async def program() -> list[Any]:
        worker = await processes.start_worker()
        await worker.send(b"write x")
        await worker.receive()
        worker.kill()
        worker.kill()
        outcome: list[Any] = [await worker.receive(), await worker.wait()]
        with pytest.raises(ConnectionError):
            await worker.send(b"a")
        return outcome

    assert [None, -signal.SIGKILL] == run(program())
    assert processes.running == {}
    files = disk_of(processes.node).files
    assert files.file("out/x") is None


def test_a_worker_that_raises_ends_and_leaves_its_traceback(
    processes: SimProcesses, run: Run
) -> None:
    async def program() -> list[Any]:
        worker = await processes.start_worker()
        await worker.send(b"raise")
        return [await worker.receive(), await worker.wait(), worker.log_tail()]

    answer, status, log = run(program())
    assert (None, 1) == (answer, status)
    assert "RuntimeError: broken worker" in log


def test_a_hanging_worker_answers_no_more_until_it_is_killed(
    processes: SimProcesses, run: Run
) -> None:
    async def program() -> Any:
        worker = await processes.start_worker()
        await worker.send(b"a")
        worker.hang()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1000):
                await worker.receive()
        worker.kill()
        return await worker.receive()

    assert run(program()) is None


@pytest.mark.parametrize("fault", ["hang", "crash"])
def test_faults_strike_by_chance(processes: SimProcesses, run: Run, fault: str) -> None:
    setattr(processes.faults, fault, 0.5)

    async def program() -> int:
        struck = 0
        for _ in range(40):
            worker = await processes.start_worker()
            await worker.send(b"a")
            try:
                async with asyncio.timeout(10):
                    struck += await worker.receive() is None
            except TimeoutError:
                struck += 1
            worker.kill()
        return struck

    assert 10 < run(program()) < 30


def test_workers_die_with_their_daemon(world: World, processes: SimProcesses, run: Run) -> None:
    run(processes.start_worker())
    assert 1 == len(processes.running)
    processes.node.kill()
    assert {} == processes.running
    world.run_for(1)


def test_a_worker_that_is_not_read_stops_computing(processes: SimProcesses, run: Run) -> None:
    async def program() -> list[int]:
        worker = await processes.start_worker()
        await worker.send(b" ".join([b"w"] * 1000))
        await asyncio.sleep(100)
        waiting = len(worker._outbox)
        count = 0
        while count < 1000 and await worker.receive() == b"w":
            count += 1
        return [waiting, count]

    assert [16, 1000] == run(program())
