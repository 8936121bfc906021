"""Membership alone at some size: crashes are noticed by all, and a seed stays what it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from peerdisco_gossip.detector import Detector
from peerdisco_sim.scenario import play
from peerdisco_sim.scenarios import SCENARIOS

NODES = 60
PROGRAM = "from peerdisco_sim.cli import simulate; simulate()"


def test_all_notice_a_crash_and_doubt_nobody_else() -> None:
    report = play(SCENARIOS["swim"], 1, NODES)
    assert () == report.failures
    assert report.operations == NODES - 1
    assert report.faults["power cut"] == 1


def test_a_view_that_is_wrong_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Detector, "_fail", lambda *_: None)
    report = play(SCENARIOS["swim"], 1, 10)
    assert ["wrong view"] == [failure.name for failure in report.failures]


def test_the_digest_is_the_same_in_another_process_under_another_hash_seed() -> None:
    result = subprocess.run(
        [
            *(sys.executable, "-c", PROGRAM, "run", "--json"),
            *("--scenario", "swim", "--nodes", str(NODES), "--seed", "3"),
        ],
        env={
            "PYTHONPATH": os.pathsep.join(sys.path),
            "PYTHONHASHSEED": "77",
            "PATH": os.environ["PATH"],
        },
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    elsewhere = json.loads(result.stdout.splitlines()[-1])["digests"]
    assert [play(SCENARIOS["swim"], 3, NODES).digest] == elsewhere
