"""The runner with real worker processes, also when one is killed amid its task."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from peerdisco.execution import ExecutionConfig, Runner
from peerdisco.host.processes import HostProcess, HostProcesses
from peerdisco.messages import ErrorKind, Failed, Finished, Input


def suicidal(line: str, params: Any) -> Any:
    print("my last line", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def process_id(line: str, params: Any) -> Any:
    yield os.getpid(), line


def endless(line: str, params: Any) -> Any:
    while True:
        yield os.getpid(), 1


class Started(HostProcesses):
    """Remembers the processes, to release their logs."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.all: list[HostProcess] = []

    async def start_worker(self) -> HostProcess:
        self.all.append(await super().start_worker())
        return self.all[-1]


@pytest.fixture
async def runner(world: Any, until: Any) -> AsyncIterator[Runner]:
    node = await world.start("one", workers_warm=0)
    processes = Started(node.root)
    runner = Runner(
        "one",
        "host-one",
        node.disk,
        processes,
        world.blobs,
        node.rpc,
        ExecutionConfig(slots=2),
    )
    async with AsyncExitStack() as stack:
        service = asyncio.ensure_future(runner.serve())
        stack.callback(service.cancel)
        yield runner
        await until(lambda: runner._pool._idle)  # none is just being started
        service.cancel()
        await asyncio.wait([service])
    for process in processes.all:
        process._log.close()


async def test_tasks_share_a_warm_worker(world: Any, runner: Runner) -> None:
    pack = world.pack({"map": process_id})
    outcomes = [
        await runner.run(world.assignment(pack, "map", [Input(("raw://x",))], final=True))
        for _ in range(3)
    ]
    ids = {key for outcome in outcomes for key, _ in world.results(outcome)}
    assert len(ids) == 1
    assert os.getpid() not in ids


async def test_a_killed_worker_leaves_its_last_words_and_a_successor(
    world: Any, runner: Runner
) -> None:
    lost = await runner.run(
        world.assignment(world.pack({"map": suicidal}), "map", [Input(("raw://x",))])
    )
    assert isinstance(lost, Failed)
    assert lost.error.kind is ErrorKind.WORKER_LOST
    assert "SIGKILL" in lost.error.message
    assert "my last line" in lost.error.traceback
    pack = world.pack({"map": process_id})
    again = await runner.run(world.assignment(pack, "map", [Input(("raw://x",))]))
    assert isinstance(again, Finished)


async def test_cancelling_an_attempt_ends_its_process(
    world: Any, runner: Runner, until: Any
) -> None:
    pack = world.pack({"map": endless})
    attempt = asyncio.ensure_future(
        runner.run(world.assignment(pack, "map", [Input(("raw://x",))]))
    )
    await until(lambda: any(running.records_out for running in runner.running()))
    [worker] = runner._pool._busy
    attempt.cancel()
    await asyncio.wait([attempt])
    async with asyncio.timeout(10):
        assert await worker.process.wait() == -signal.SIGKILL
