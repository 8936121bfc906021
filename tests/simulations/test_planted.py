"""The simulator finds what is planted: a few bugs here, all of them in `.ci/run`."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from peerdisco_sim.planted import BUGS, CANARY
from peerdisco_sim.planted.command import canary, planted
from peerdisco_sim.planted.search import SEEDS_MAX
from peerdisco_sim.play import check

ASKED_FOR = (
    "missing-sync",
    "missing-directory-sync",
    "figure-8",
    "stale-read",
    "no-fencing",
    "double-output",
    "lost-append",
    "early-acknowledgement",
    "live-blob-collected",
    "resurrection",
    "no-deduplication",
    "retry-storm",
)
QUICK = ("missing-sync", "missing-directory-sync", "no-fencing", "early-acknowledgement")


def test_everything_that_must_be_found_is_planted() -> None:
    assert set(ASKED_FOR) <= set(BUGS)
    assert SEEDS_MAX <= 300


def test_every_bug_fits_the_product_as_it_is_and_plays_a_valid_schedule() -> None:
    program = "from peerdisco_sim.planted import *; [b.plant() for b in (*BUGS.values(), CANARY)]"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    answer = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True
    )
    assert 0 == answer.returncode, answer.stderr
    for bug in (*BUGS.values(), CANARY):
        assert bug.expected
        for seed in (1, 2):
            check(bug.schedule(seed))
            assert bug.schedule(seed) == bug.schedule(seed)


def test_only_expected_rules_count_as_found() -> None:
    bug = BUGS["no-fencing"]
    assert bug.is_found_by(["N1 logged an error", "F1 not assigned"])
    assert not bug.is_found_by(["N1 logged an error"])
    assert not bug.is_found_by([])


@pytest.mark.slow
def test_the_canary_dies_of_every_seed() -> None:
    result = CliRunner().invoke(canary, [])
    assert 0 == result.exit_code, result.output
    assert result.output.count("fails, as it must") == 3


@pytest.mark.slow
def test_bugs_of_some_kinds_are_found_within_a_few_seeds() -> None:
    names = [word for name in QUICK for word in ("--only", name)]
    result = CliRunner().invoke(planted, [*names, "--seeds", "12", "--jobs", "1", "--json"])
    assert 0 == result.exit_code, result.output
    found = json.loads(result.output.splitlines()[-1])
    assert len(QUICK) == found["planted"] == found["planted_found"]
    assert found["max_seeds_to_find"] <= 12
    assert set(QUICK) == set(found["rules"])
    assert [] == found["missed"]
