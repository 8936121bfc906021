"""The truth about a job: one process, one task after the other, no cluster.

The functions run in the worker's own code, so readers, combiners and sorting mean what they mean on
a cluster; grouping and everything distributed is replaced by a few lines here. What users get on
one machine with no failures is what they must get from many with failures.
"""

from __future__ import annotations

import collections
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import unquote

from peerdisco import jobpack
from peerdisco.client.errors import JobError
from peerdisco.dataflow import read_records
from peerdisco.messages import Assignment, Finished, Grouping, JobSpec, Output
from peerdisco.worker.local_files import LocalFiles
from peerdisco.worker.messages import (
    Completed,
    InputKind,
    LocalInput,
    RunTask,
    decode_response,
    encode,
)
from peerdisco.worker.service import Service
from peerdisco_sim.userjob.load import RAW_SCHEME, Program

MEMORY_BYTES = 256 << 20
PACK = "pack"

Records = collections.Counter[object]
"""What came out, as a multiset: nobody promises an order across partitions."""


def count_records(records: Iterable[object]) -> Records:
    """The multiset of records, whatever they are made of."""
    counted: Records = collections.Counter()
    for record in records:
        try:
            counted[record] += 1
        except TypeError:  # it holds a list or a dictionary
            counted[repr(record)] += 1
    return counted


def run_alone(program: Program) -> Records:
    """The records that the job produces in one process. Raises JobError when its code fails."""
    with tempfile.TemporaryDirectory(prefix="peerdisco-alone-") as directory:
        return _Alone(program, Path(directory)).run()


class _Alone:
    """One run in one directory."""

    def __init__(self, program: Program, root: Path) -> None:
        self._program = program
        self._root = root
        self._service = Service(LocalFiles(root), name="alone")
        spec = JobSpec("alone", "alone", program.stages, (), program.partitions, jobpack.PYTHON)
        (root / PACK).write_bytes(jobpack.build(spec, program.functions))
        self._tasks = 0

    def run(self) -> Records:
        """All stages; what the last one wrote."""
        parts = [(0, self._input(number)) for number in range(len(self._program.pieces))]
        outputs: list[Output] = []
        for index, stage in enumerate(self._program.stages):
            outputs = []
            for label, inputs in _grouped(stage.grouping, parts):
                outputs += self._task(index, label, inputs)
            parts = [(output.label, _records_of(output)) for output in outputs]
        return count_records(record for output in outputs for record in self._records(output.url))

    def _input(self, number: int) -> LocalInput:
        piece = self._program.pieces[number]
        if piece.is_raw:
            text = unquote(piece.name.removeprefix(RAW_SCHEME))
            return LocalInput(piece.name, InputKind.TEXT, text=text)
        path = f"input-{number}"
        (self._root / path).write_bytes(piece.data)
        return LocalInput(f"file:{path}", InputKind.LINES, path, size=len(piece.data))

    def _task(self, index: int, label: int, inputs: list[LocalInput]) -> Sequence[Output]:
        program = self._program
        stage = program.stages[index]
        self._tasks += 1
        assignment = Assignment(
            job="alone",
            pack=PACK,
            stage=index,
            stage_name=stage.name,
            task=self._tasks,
            attempt=self._tasks,
            label=label,
            inputs=(),
            partitions=program.partitions,
            final=index == len(program.stages) - 1,
        )
        request = RunTask(assignment, PACK, tuple(inputs), f"out-{self._tasks}", MEMORY_BYTES)
        *_, last = map(decode_response, self._service.handle(encode(request)))
        assert isinstance(last, Completed)
        if not isinstance(last.outcome, Finished):
            error = last.outcome.error
            raise JobError(program.name, f"alone, without any cluster: {error.traceback or error}")
        return last.outcome.outputs

    def _records(self, path: str) -> Iterable[object]:
        with (self._root / path).open("rb") as file:
            yield from read_records(file, trusted=True)


def _records_of(output: Output) -> LocalInput:
    return LocalInput(f"file:{output.url}", InputKind.RECORDS, output.url)


def _grouped(
    grouping: Grouping, parts: Sequence[tuple[int, LocalInput]]
) -> list[tuple[int, list[LocalInput]]]:
    """What each task of a stage works on: one part, those with one label, or all."""
    if grouping is Grouping.SPLIT:
        return [(label, [local]) for label, local in parts]
    if grouping is Grouping.GROUP_ALL:
        return [(0, [local for _, local in parts])]
    groups: dict[int, list[LocalInput]] = {}
    for label, local in parts:
        groups.setdefault(label, []).append(local)
    return sorted(groups.items())
