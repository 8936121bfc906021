"""A program with no cluster at all, and programs that the command line cannot run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from peerdisco.client.resolve import is_node
from peerdisco.client.target import LOCAL
from peerdisco.demo.nodes import DaemonProcess

if TYPE_CHECKING:
    from tests.peerdisco.end_to_end.conftest import CommandLine

pytestmark = pytest.mark.slow

PROGRAM = """
import atexit
import threading

atexit.register(lambda: print([thread.name for thread in threading.enumerate()]))

from peerdisco import Job, result_iterator

def map(line, params):
    for word in line.split():
        yield word, 1

def reduce(iter, params):
    from peerdisco.util import kvgroup
    for word, counts in kvgroup(sorted(iter)):
        yield word, sum(counts)

if __name__ == "__main__":
    job = Job().run(input=["raw://a b a"], map=map, reduce=reduce)
    for word, count in result_iterator(job.wait(show=True)):
        print(word, count)
"""


@pytest.mark.skipif(is_node(LOCAL), reason="needs this machine to run no node on port 8989")
def test_a_program_without_a_cluster_brings_its_own_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PEERDISCO")}
    done = subprocess.run(
        [sys.executable, "-X", "dev", str(tmp_path / "program.py")],
        capture_output=True,
        env={**environment, "TMPDIR": str(tmp_path), "HOME": str(tmp_path)},
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.endswith("a 2\nb 1\n['MainThread']\n"), done.stdout
    assert "started an embedded node" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Warning" not in done.stderr
    assert ["program.py"] == sorted(entry.name for entry in tmp_path.iterdir())


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("x = 1\n", "has neither a Job class nor functions map and reduce"),
        (
            "from peerdisco import Job\nclass A(Job): ...\nclass B(Job): ...\n",
            "has several Job classes (A, B); choose one as ",
        ),
    ],
)
def test_files_that_hold_no_job_are_refused(
    three: list[DaemonProcess], tmp_path: Path, peerdisco: CommandLine, source: str, told: str
) -> None:
    (tmp_path / "odd.py").write_text(source)
    done = peerdisco("job", "submit", str(tmp_path / "odd.py"), peer=three[0].http, code=2)
    assert told in done.stderr
    assert "several" not in told or done.stderr.endswith("odd.py:A\n")
    done = peerdisco("job", "submit", str(tmp_path / "none.py"), peer=three[0].http, code=2)
    assert "none.py is not a Python file on this machine" in done.stderr
