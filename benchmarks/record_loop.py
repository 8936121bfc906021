"""MB/s per core of the record loop: the seed word count, map and reduce, without a cluster.

    python benchmarks/record_loop.py [--megabytes 20] [--maps 4] [--partitions 4] [FILE...]

Without files it reads the sources of this interpreter. It drives the worker's own Service, as a
node does; CPU seconds are those of this process. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sysconfig
import tempfile
import time
from collections import Counter
from pathlib import Path

from peerdisco import jobpack
from peerdisco.dataflow import read_records
from peerdisco.messages import Assignment, Failed, Finished, Grouping, JobSpec, Output, Stage
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

MEMORY_BYTES_MAX = 256 << 20


def map(line, params):  # type: ignore[no-untyped-def]  # noqa: A001 - the seed program, as users write it
    for word in line.split():
        yield word, 1


def reduce(iter, params):  # type: ignore[no-untyped-def]  # noqa: A002 - likewise
    from peerdisco.util import kvgroup

    for word, counts in kvgroup(sorted(iter)):
        yield word, sum(counts)


def gather_text(files: list[str], size: int) -> bytes:
    sources = [Path(name) for name in files]
    if not sources:
        sources = sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*.py"))
    text = bytearray()
    while len(text) < size:
        for source in sources:
            text += source.read_bytes()
            if len(text) >= size:
                break
    return bytes(text)


def cut(text: bytes, parts: int) -> list[bytes]:
    pieces = []
    start = 0
    for number in range(1, parts + 1):
        end = text.find(b"\n", len(text) * number // parts - 1) + 1 or len(text)
        pieces.append(text[start:end])
        start = end
    return pieces


def run(service: Service, task: RunTask) -> Finished:
    *_, last = service.handle(encode(task))
    response = decode_response(last)
    assert isinstance(response, Completed)
    if isinstance(response.outcome, Failed):
        raise SystemExit(response.outcome.error.traceback or response.outcome.error.message)
    return response.outcome


def task(stage: str, number: int, inputs: list[LocalInput], partitions: int) -> RunTask:
    assignment = Assignment(
        "bench", "pack", 0, stage, number, number, number, (), partitions, stage == "reduce"
    )
    return RunTask(assignment, "pack", tuple(inputs), f"{stage}-{number}", MEMORY_BYTES_MAX)


def measure(root: Path, text: bytes, maps: int, partitions: int) -> dict[str, float]:
    stages = (Stage("map", Grouping.SPLIT), Stage("reduce", Grouping.GROUP_LABEL))
    spec = JobSpec("bench", "bench", stages, (), partitions, jobpack.PYTHON)
    (root / "pack").write_bytes(jobpack.build(spec, {"map": map, "reduce": reduce}))
    inputs = []
    for number, piece in enumerate(cut(text, maps)):
        (root / f"input-{number}").write_bytes(piece)
        inputs.append(LocalInput(f"file:{number}", InputKind.LINES, f"input-{number}"))
    service = Service(LocalFiles(root))

    start = time.process_time()
    by_label: dict[int, list[LocalInput]] = {}
    shuffled = 0
    for number, local in enumerate(inputs):
        for output in run(service, task("map", number, [local], partitions)).outputs:
            segment = LocalInput(output.url, InputKind.RECORDS, output.url)
            by_label.setdefault(output.label, []).append(segment)
            shuffled += output.size
    mapped = time.process_time()
    results: list[Output] = []
    for label in sorted(by_label):
        results += run(service, task("reduce", label, by_label[label], partitions)).outputs
    end = time.process_time()

    counts: dict[str, int] = {}
    for output in results:
        with (root / output.url).open("rb") as file:
            counts.update(read_records(file))
    exact = counts == Counter(text.decode("utf-8", "replace").split())
    return {
        "map_cpu_s": round(mapped - start, 2),
        "reduce_cpu_s": round(end - mapped, 2),
        "mb_s_per_core": round(len(text) / 1e6 / (end - start), 1),
        "shuffle_mb": round(shuffled / 1e6, 2),
        "exact": exact,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*")
    parser.add_argument("--megabytes", type=int, default=20)
    parser.add_argument("--maps", type=int, default=4)
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    text = gather_text(arguments.files, arguments.megabytes * 1_000_000)
    rounds = []
    for _ in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as root:
            figures = measure(Path(root), text, arguments.maps, arguments.partitions)
        print(figures)
        rounds.append(figures)
    best = max(rounds, key=lambda figures: figures["mb_s_per_core"])
    print(json.dumps({"megabytes": round(len(text) / 1e6, 1), "words": len(text.split()), **best}))


if __name__ == "__main__":
    main()
