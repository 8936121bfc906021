"""The walking skeleton in the simulator: real daemons, one job, its coordinator killed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from peerdisco_sim.scenario import play
from peerdisco_sim.scenarios.mapreduce import MAPREDUCE

SEED = 17


def digest_in_another_process(hash_seed: str) -> str:
    program = (
        "from peerdisco_sim.scenario import play\n"
        "from peerdisco_sim.scenarios.mapreduce import MAPREDUCE\n"
        f"report = play(MAPREDUCE, {SEED})\n"
        "assert not report.failures, report.text()\n"
        "print(report.digest, report.steps)\n"
    )
    environment = {
        **os.environ,
        "PYTHONHASHSEED": hash_seed,
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    answer = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


@pytest.mark.slow
def test_a_replay_in_other_processes_with_other_hash_seeds_is_bit_identical() -> None:
    assert digest_in_another_process("1") == digest_in_another_process("2")


@pytest.mark.parametrize("seed", range(1, 6))
def test_the_job_is_exact_although_its_coordinator_is_killed(seed: int) -> None:
    report = play(MAPREDUCE, seed)
    assert not report.failures, report.text()
    assert report.faults["kill"] == 1
