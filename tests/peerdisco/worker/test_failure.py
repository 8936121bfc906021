"""How a task fails: whose fault, where, at which record, and that the worker goes on."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from peerdisco.messages import ErrorKind
from peerdisco.worker.messages import InputKind, LocalInput


def entries(entry: Any, params: Any) -> Any:
    yield entry, 1


def parse(line: str, params: Any) -> Any:
    yield json.loads(line), 1


def test_a_raising_map_is_shown_with_its_own_frames_its_input_and_its_record(bench: Any) -> None:
    inputs = [bench.text("1\n2\n", "good"), bench.text("1\n2\n3\nnot json\n5\n", "bad")]
    error = bench.fail("map", {"map": parse}, *inputs).error
    assert (ErrorKind.USER, "blob:bad", 3) == (error.kind, error.input, error.record)
    assert error.message.startswith("json.decoder.JSONDecodeError: Expecting value")
    lines = error.traceback.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert f'File "{__file__}", line' in lines[1]
    assert "in parse" in lines[1]
    assert lines[-1] == "  (worker under test: map task 3, attempt 7)"
    assert "worker/tasks.py" not in error.traceback


def test_causes_are_shown_too_and_also_without_our_frames(bench: Any) -> None:
    def wrapping(line: str, params: Any) -> Any:
        try:
            yield int(line), 1
        except ValueError as error:
            raise RuntimeError("bad line") from error

    error = bench.fail("map", {"map": wrapping}, bench.text("x\n")).error
    assert "ValueError: invalid literal" in error.traceback
    assert "direct cause" in error.traceback
    assert error.message == "RuntimeError: bad line"


def test_a_raising_reduce_names_the_record_it_had_reached(bench: Any) -> None:
    mapped = bench.map({"map": entries}, bench.text("a\nb\nc\n"), partitions=0)

    def stumble(records: Any, params: Any) -> Any:
        next(records)
        next(records)
        raise LookupError("no")

    [segment] = bench.segments(mapped, 0)
    error = bench.fail("reduce", {"reduce": stumble}, segment).error
    assert (segment.url, 1) == (error.input, error.record)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda line, params: [("a", 1, 2)], r"a record must be a pair"),
        (lambda line, params: None, r"'NoneType' object is not iterable"),
        (lambda line, params: next(iter(())), r"map raised StopIteration"),
        (lambda line: [], r"takes 1 positional argument"),
        (lambda line, params: sys.exit("bye"), r"SystemExit: bye"),
    ],
)
def test_wrong_functions_are_the_users_fault(bench: Any, function: Any, message: str) -> None:
    error = bench.fail("map", {"map": function}, bench.text("a\nb\n")).error
    assert error.kind is ErrorKind.USER
    assert message in error.message


def test_the_worker_goes_on_after_a_failure(bench: Any) -> None:
    bench.fail("map", {"map": parse}, bench.text("x"))
    assert bench.map({"map": entries}, bench.text("x")).records_in == 1


def test_an_input_that_is_gone_is_an_input_error(bench: Any) -> None:
    gone = LocalInput("file:///no/such", InputKind.LINES, "/no/such/file")
    error = bench.fail("map", {"map": entries}, gone).error
    assert (ErrorKind.INPUT, "file:///no/such") == (error.kind, error.input)
    assert error.message == "cannot open file:///no/such: No such file or directory"


def test_a_damaged_segment_is_an_input_error_also_inside_the_users_reduce(bench: Any) -> None:
    mapped = bench.map({"map": entries}, bench.text("a\nb\n"), partitions=0)
    path = bench.root / mapped.outputs[0].url
    path.write_bytes(path.read_bytes()[:-5])
    [segment] = bench.segments(mapped, 0)
    error = bench.fail("reduce", {"reduce": lambda records, params: sorted(records)}, segment).error
    assert (ErrorKind.INPUT, segment.url) == (error.kind, error.input)
    assert "cut short" in error.message


def test_a_users_own_missing_file_is_the_users_fault(bench: Any) -> None:
    def opening(line: str, params: Any) -> Any:
        with open("/no/such/file") as file:
            return file.readlines()

    error = bench.fail("map", {"map": opening}, bench.text("a")).error
    assert error.kind is ErrorKind.USER


def test_a_directory_that_cannot_be_written_is_the_nodes_fault(bench: Any) -> None:
    (bench.root / "blocked").write_text("a file where a directory should be")
    request = bench.request(bench.pack({"map": entries}), "map", [bench.text("a\n")])
    from msgspec.structs import replace

    outcome = bench.run(replace(request, output_directory="blocked/out"))
    assert outcome.error.kind is ErrorKind.NODE


def test_memory_that_ran_out_is_the_nodes_fault(bench: Any) -> None:
    def greedy(line: str, params: Any) -> Any:
        raise MemoryError

    assert bench.fail("map", {"map": greedy}, bench.text("a")).error.kind is ErrorKind.NODE


def test_a_stage_without_its_function_is_explained(bench: Any) -> None:
    error = bench.fail("reduce", {"map": entries}).error
    assert error.message == "the job has a reduce stage, but no reduce function"
    assert "neither map nor reduce" in bench.fail("shuffle", {"map": entries}).error.message
