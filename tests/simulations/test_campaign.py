"""Campaigns as people start them: forked plays, repeated elsewhere, kept when they fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from peerdisco_sim.schedule import Fault, Schedule, read_schedule


def simulate(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own: it forks, which a test process must not."""
    return subprocess.run(
        [sys.executable, "-m", "peerdisco_sim", *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_forked_plays_and_fresh_interpreters_give_the_same_digests() -> None:
    """Under different hash seeds; what a fork inherits must not show."""
    done = simulate(
        "run", "--swarm", "--seeds", "2", "--duration", "6", "--nodes", "3", "--repeat", "1",
        "--jobs", "2", "--json",
    )  # fmt: skip
    assert "digest" not in done.stdout.splitlines()[0], done.stdout
    summary = json.loads(done.stdout.splitlines()[-1])
    assert 2 == summary["seeds"] == summary["repeated"]
    assert not [line for line in summary["complaints"] if "digest" in line], done.stdout
    assert 0 == summary["violations"], done.stdout


def test_a_file_is_replayed_and_summed_up(tmp_path: Path) -> None:
    mine = Schedule(nodes=1, duration_s=1.0, faults=(Fault(0.5, "clock_jump", "n1"),))
    file = tmp_path / "mine.json"
    file.write_bytes(mine.encode())
    done = simulate("replay", str(file), "--json")
    summary = json.loads(done.stdout.splitlines()[-1])
    assert 0 == done.returncode, done.stdout
    assert {"clock_jump": 1} == summary["fault_kinds"]
    assert mine.faults == read_schedule(file).faults


def test_what_is_no_schedule_is_refused_in_words(tmp_path: Path) -> None:
    file = tmp_path / "odd.json"
    file.write_text('{"nodes": 0}')
    done = simulate("replay", str(file))
    assert 1 == done.returncode
    assert "nodes must be" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_does_not_fail_cannot_be_shrunk(tmp_path: Path) -> None:
    file = tmp_path / "fine.json"
    file.write_bytes(Schedule(nodes=1, duration_s=1.0, checkers=("hygiene",)).encode())
    done = simulate("shrink", str(file), "--jobs", "1")
    assert 1 == done.returncode
    assert "no violation" in done.stderr
