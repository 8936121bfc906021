"""Equal seeds give equal digests: in one process, in another one, under any hash seed."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from peerdisco_sim.scenario import play
from peerdisco_sim.scenarios import SCENARIOS

PROGRAM = "from peerdisco_sim.cli import simulate; simulate()"


def digests_elsewhere(hash_seed: str, seeds: int, *options: str) -> list[str]:
    """The digests of the first seeds, in a process of its own."""
    path = os.pathsep.join(sys.path)
    result = subprocess.run(
        [sys.executable, *options, "-c", PROGRAM, "run", "--seeds", str(seeds), "--json"],
        env={"PYTHONPATH": path, "PYTHONHASHSEED": hash_seed, "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    digests: list[str] = json.loads(result.stdout.splitlines()[-1])["digests"]
    return digests


def test_a_seed_gives_the_same_digest_in_every_process_and_again_in_this_one() -> None:
    here = [play(SCENARIOS["echo"], seed).digest for seed in (1, 2)]
    assert here == digests_elsewhere("0", 2)
    assert here == digests_elsewhere("4242", 2, "-X", "dev")
    assert here == [play(SCENARIOS["echo"], seed).digest for seed in (1, 2)]


def test_another_seed_gives_another_digest() -> None:
    assert play(SCENARIOS["echo"], 1).digest != play(SCENARIOS["echo"], 3).digest
