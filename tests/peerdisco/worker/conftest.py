"""A worker's Service on a directory, and jobs to run in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from peerdisco import jobpack
from peerdisco.dataflow import read_records
from peerdisco.messages import Assignment, Failed, Finished, Grouping, JobSpec, Output, Stage
from peerdisco.worker.local_files import LocalFiles
from peerdisco.worker.messages import (
    Completed,
    InputKind,
    LocalInput,
    Progress,
    RunTask,
    decode_response,
    encode,
)
from peerdisco.worker.service import Service

STAGES = (Stage("map", Grouping.SPLIT), Stage("reduce", Grouping.GROUP_LABEL))


class Bench:
    """Runs tasks of one job after another, each in its own output directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.service = Service(LocalFiles(root), name="worker under test")
        self.progress: list[Progress] = []
        self.log: list[str] = []
        self._runs = 0

    def text(self, content: str | bytes, name: str = "text") -> LocalInput:
        data = content.encode() if isinstance(content, str) else content
        (self.root / name).write_bytes(data)
        return LocalInput(f"blob:{name}", InputKind.LINES, name, size=len(data))

    def pack(self, functions: Mapping[str, Any]) -> str:
        spec = JobSpec("job", "ada@home", STAGES, (), 1, jobpack.PYTHON)
        self._runs += 1
        (self.root / f"pack-{self._runs}").write_bytes(jobpack.build(spec, functions))
        return f"pack-{self._runs}"

    def request(
        self,
        pack: str,
        stage: str,
        inputs: Sequence[LocalInput],
        *,
        partitions: int = 1,
        memory: int = 1 << 26,
        final: bool = False,
        label: int = 0,
    ) -> RunTask:
        self._runs += 1
        assignment = Assignment("job", pack, 0, stage, 3, 7, label, (), partitions, final)
        return RunTask(assignment, pack, tuple(inputs), f"out-{self._runs}", memory)

    def run(self, request: RunTask) -> Finished | Failed:
        *before, last = map(decode_response, self.service.handle(encode(request)))
        assert isinstance(last, Completed)
        for frame in before:
            assert isinstance(frame, Progress)
            self.progress.append(frame)
            self.log += frame.log
        self.log += last.log
        return last.outcome

    def map(self, functions: Mapping[str, Any], *inputs: LocalInput, **options: Any) -> Finished:
        outcome = self.run(self.request(self.pack(functions), "map", inputs, **options))
        assert isinstance(outcome, Finished), outcome
        return outcome

    def reduce(self, functions: Mapping[str, Any], *inputs: LocalInput, **options: Any) -> Finished:
        outcome = self.run(self.request(self.pack(functions), "reduce", inputs, **options))
        assert isinstance(outcome, Finished), outcome
        return outcome

    def fail(self, stage: str, functions: Mapping[str, Any], *inputs: LocalInput) -> Failed:
        outcome = self.run(self.request(self.pack(functions), stage, inputs))
        assert isinstance(outcome, Failed), outcome
        return outcome

    def records(self, outcome: Finished) -> list[tuple[Any, Any]]:
        return [record for output in outcome.outputs for record in self.read(output)]

    def read(self, output: Output) -> list[tuple[Any, Any]]:
        with (self.root / output.url).open("rb") as file:
            return list(read_records(file, trusted=True))

    def segments(self, outcome: Finished, label: int) -> list[LocalInput]:
        return [
            LocalInput(f"segment://node/{output.url}", InputKind.RECORDS, output.url)
            for output in outcome.outputs
            if output.label == label
        ]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)
