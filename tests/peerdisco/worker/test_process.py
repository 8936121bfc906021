"""The real process: frames on pipes that nothing the user's code does can touch."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from peerdisco.messages import Failed, Finished
from peerdisco.worker.messages import Completed, Progress, RunTask, decode_response, encode

REPOSITORY = Path(__file__).parents[3]


class Worker:
    def __init__(self, root: Path) -> None:
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "peerdisco.worker"],
            cwd=root,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    @property
    def pipes(self) -> tuple[IO[bytes], IO[bytes], IO[bytes]]:
        process = self.process
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        return process.stdin, process.stdout, process.stderr

    def send(self, frame: bytes) -> None:
        stdin, _, _ = self.pipes
        stdin.write(len(frame).to_bytes(4, "big") + frame)
        stdin.flush()

    def receive(self) -> Any:
        _, stdout, _ = self.pipes
        return decode_response(stdout.read(int.from_bytes(stdout.read(4), "big")))

    def run(self, request: RunTask) -> Completed:
        self.send(encode(request))
        while isinstance(response := self.receive(), Progress):
            pass
        assert isinstance(response, Completed)
        return response

    def end(self) -> str:
        """Close its input, as a node that dies does; its standard error."""
        _, error = self.process.communicate()
        return error.decode()


@pytest.fixture
def start_worker(tmp_path: Path) -> Iterator[Callable[[], Worker]]:
    workers: list[Worker] = []

    def start() -> Worker:
        workers.append(Worker(tmp_path))
        return workers[-1]

    yield start
    for worker in workers:
        worker.process.kill()
        worker.process.wait()
        for pipe in worker.pipes:
            pipe.close()


def meddling(line: str, params: Any) -> Any:
    print("printed")
    os.write(1, b"written to descriptor 1\n")
    sys.__stdout__.write("written around print\n")  # type: ignore[union-attr]  # there is one
    subprocess.run(["echo", "from a child"], check=True)
    yield "stdin", sys.stdin.read()
    yield line, os.getpid()


def test_nothing_that_functions_print_or_read_touches_the_frames(
    bench: Any, start_worker: Callable[[], Worker]
) -> None:
    worker = start_worker()
    request = bench.request(bench.pack({"map": meddling}), "map", [bench.text("x\n")], final=True)
    completed = worker.run(request)
    assert isinstance(completed.outcome, Finished), completed
    assert [("stdin", ""), ("x\n", worker.process.pid)] == bench.records(completed.outcome)
    assert completed.log == ("printed",)
    assert completed.outcome.cpu_s > 0
    error = worker.end()
    for said in ("printed", "written to descriptor 1", "written around print", "from a child"):
        assert said in error


def test_a_worker_is_reused_and_ends_when_its_input_ends(
    bench: Any, start_worker: Callable[[], Worker]
) -> None:
    worker = start_worker()
    pack = bench.pack({"map": lambda line, params: 1 / 0})
    for _ in range(3):
        outcome = worker.run(bench.request(pack, "map", [bench.text("x\n")])).outcome
        assert isinstance(outcome, Failed)
        assert f"peerdisco worker {worker.process.pid}" in outcome.error.traceback
    worker.end()
    assert worker.process.returncode == 0


def test_a_worker_ends_with_its_node_also_amid_a_task(
    bench: Any, start_worker: Callable[[], Worker]
) -> None:
    def endless(line: str, params: Any) -> Any:
        while True:
            yield line, 1

    worker = start_worker()
    worker.send(encode(bench.request(bench.pack({"map": endless}), "map", [bench.text("x\n")])))
    assert isinstance(worker.receive(), Progress)
    stdin, _, _ = worker.pipes
    stdin.close()
    assert worker.process.wait(timeout=20) == 0


def test_files_in_the_data_directory_are_never_imported(
    bench: Any, start_worker: Callable[[], Worker]
) -> None:
    (bench.root / "planted_module.py").write_text("")

    def importing(line: str, params: Any) -> Any:
        import planted_module  # type: ignore[import-not-found]  # that is the point

        yield line, planted_module

    outcome = (
        start_worker()
        .run(bench.request(bench.pack({"map": importing}), "map", [bench.text("x\n")]))
        .outcome
    )
    assert isinstance(outcome, Failed)
    assert "planted_module" in outcome.error.message
