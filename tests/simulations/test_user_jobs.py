"""A user's job under disasters: the command, the reference run, the pytest fixture."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from peerdisco.client import Job, JobError
from peerdisco.client.errors import BadInput, BadJob
from peerdisco_sim.userjob.command import job
from peerdisco_sim.userjob.load import INPUT_BYTES_MAX, load_program
from peerdisco_sim.userjob.reference import run_alone
from peerdisco_sim.userjob.workload import difference

TEXT = "".join(f"the {number % 7} quick {number % 3} foxes\n" for number in range(400))

PROGRAM = """
input = ["{text}"]
partitions = 2

def map(line, params):
    for word in line.split():
        yield word, 1

def reduce(pairs, params):
    totals = {{}}
    for word, number in pairs:
        totals[word] = totals.get(word, 0) + number
    yield from totals.items()
"""

FORGETFUL = """
input = ["{text}"]
tries = []

def map(line, params):
    yield line, 1

def reduce(pairs, params):
    tries.append(1)
    yield "reduced", len(tries)
"""

TEST = """
from pathlib import Path

def test_a_good_job(simulate_job):
    trial = simulate_job("job.py", nodes=3, seeds=1, duration_s=4.0)
    assert trial.facts()["jobs"] >= 1

def test_a_bad_job(simulate_job):
    simulate_job("forgetful.py", nodes=3, seeds=1, duration_s=4.0)
"""


def split(line: str, params: object) -> Iterator[tuple[str, int]]:
    return ((word, 1) for word in line.split())


def total(pairs: Any, params: object) -> Iterator[tuple[str, int]]:
    counts: Counter[str] = Counter()
    for word, number in pairs:
        counts[word] += number
    yield from counts.items()


class Words(Job):
    partitions = 3
    map = staticmethod(split)
    reduce = staticmethod(total)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    (tmp_path / "text").write_text(TEXT)
    path = tmp_path / "job.py"
    path.write_text(PROGRAM.format(text=tmp_path / "text"))
    (tmp_path / "forgetful.py").write_text(FORGETFUL.format(text=tmp_path / "text"))
    return path


def test_a_run_alone_gives_what_plain_python_gives(program: Path) -> None:
    assert Counter(Counter(TEXT.split()).items()) == run_alone(load_program(program, nodes=4))


def test_the_functions_may_come_as_a_class_or_a_mapping(program: Path) -> None:
    text = program.parent / "text"
    by_class = load_program(Words, [text], nodes=2)
    by_name = load_program({"map": split, "reduce": total, "input": text}, nodes=2)
    assert 3 == by_class.partitions
    assert run_alone(by_class) == run_alone(by_name)


def test_pieces_hold_every_line_once_and_whole(program: Path) -> None:
    pieces = load_program(program, nodes=5).pieces
    assert len(pieces) > 3
    assert TEXT.encode() == b"".join(piece.data for piece in pieces)
    assert all(piece.data.endswith(b"\n") for piece in pieces)


def test_a_text_without_a_last_newline_keeps_its_last_line() -> None:
    counted = run_alone(load_program({"map": split, "input": ["raw://a b", "raw://b"]}))
    assert {("a", 1): 1, ("b", 1): 2} == counted


def test_a_job_of_a_reduce_alone_sees_all_of_its_input(program: Path) -> None:
    def count(entries: Any, params: object) -> Iterator[tuple[str, int]]:
        yield "lines", sum(1 for _ in entries)

    alone = run_alone(load_program({"reduce": count, "input": program.parent / "text"}, nodes=3))
    assert {("lines", 400): 1} == alone


def test_a_job_that_fails_alone_is_no_matter_of_disasters(program: Path) -> None:
    def broken(line: str, params: object) -> Iterator[tuple[str, int]]:
        raise ZeroDivisionError(line)

    with pytest.raises(JobError, match="ZeroDivisionError"):
        run_alone(load_program({"map": broken, "input": program.parent / "text"}))


def test_what_cannot_be_run_is_said_in_words(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no input"):
        load_program({"map": split})
    with pytest.raises(BadInput, match="reads files of this machine"):
        load_program({"map": split, "input": ["tag://books"]})
    with pytest.raises(BadJob, match="map or a reduce"):
        load_program({"input": ["raw://a"]})
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate(INPUT_BYTES_MAX + 1)
    with pytest.raises(BadInput, match="Name a sample"):
        load_program({"map": split, "input": big})


def test_differences_are_shown_by_example() -> None:
    words = difference(Counter({("a", 1): 1}), Counter({("a", 2): 1}))
    assert "1 records are missing, such as [('a', 2)]" in words
    assert "1 should not be there, such as [('a', 1)]" in words


@pytest.mark.slow
def test_the_command_says_whether_the_job_was_right_every_time(program: Path) -> None:
    options = [str(program), "--nodes", "3", "--seeds", "2", "--duration", "6", "--jobs", "1"]
    result = CliRunner().invoke(job, [*options, "--json"])
    assert 0 == result.exit_code, result.output
    assert result.output.startswith("Right every time: ")
    found = json.loads(result.output.splitlines()[-1])
    assert found["exact"]
    assert 2 == found["seeds"]
    assert found["attempts"] >= found["tasks"] > 0
    assert found["job_s_max"] >= found["job_s"] > 0
    assert {"ops", "violations", "cluster_hours", "fault_kinds", "knobs", "cpu_s"} <= set(found)


def test_a_job_that_is_not_the_same_every_time_is_found_and_named(program: Path) -> None:
    path = str(program.parent / "forgetful.py")
    result = CliRunner().invoke(job, [path, "--nodes", "3", "--seeds", "0", "--jobs", "1"])
    assert 1 == result.exit_code
    assert "WRONG" in result.output
    assert "replay: peerdisco simulate job" in result.output


def test_a_missing_file_ends_with_a_usage_error(tmp_path: Path) -> None:
    result = CliRunner().invoke(job, [str(tmp_path / "nothing.py")])
    assert 2 == result.exit_code
    assert "not a Python file" in result.output


@pytest.mark.slow
def test_the_fixture_fails_a_test_whose_job_was_ever_wrong(program: Path) -> None:
    (program.parent / "test_jobs.py").write_text(TEST)
    command = [sys.executable, "-m", "pytest", "-p", "peerdisco_sim.pytest_plugin", "-q"]
    answer = subprocess.run(
        [*command, "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", "."],
        cwd=program.parent,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
    )
    assert "1 failed, 1 passed" in answer.stdout, answer.stdout + answer.stderr
    assert "--peerdisco-seed" in answer.stdout
