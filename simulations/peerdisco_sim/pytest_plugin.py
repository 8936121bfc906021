"""A pytest fixture that runs your job under disasters: `simulate_job`.

    def test_counts_survive_anything(simulate_job):
        trial = simulate_job(WordCount, input=["tests/words.txt"], nodes=5, seeds=20)
        assert trial.facts()["job_s"] < 30

The job is a `Job` class or object, a file, or a mapping of its functions. It runs once in this
process and then, for every seed, on a simulated cluster whose nodes are killed, cut off and
unplugged; any result that differs fails the test and names the seed. `--peerdisco-seed 17` repeats
one seed, `--peerdisco-seeds 500` takes more of them than the tests ask for.

Registered as an entry point of pytest; nothing is imported before the fixture is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from peerdisco.client.inputs import Input
    from peerdisco_sim.userjob.load import Source
    from peerdisco_sim.userjob.trial import Trial

NODES, SEEDS = 5, 10
STORM_S = 30.0

SimulateJob = Callable[..., "Trial"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Two options, to repeat one seed or to take more."""
    group = parser.getgroup("peerdisco", "jobs under simulated disasters")
    group.addoption("--peerdisco-seed", type=int, help="play this seed only")
    group.addoption("--peerdisco-seeds", type=int, help="how many seeds instead of the tests' own")


@pytest.fixture
def simulate_job(request: pytest.FixtureRequest) -> SimulateJob:
    """Runs a job under disasters; the test fails when a result is ever wrong.

    The function takes:

    - `job`: a Job class or object, a path, or a mapping of functions;
    - `input`: what it reads instead of its own `input`;
    - `nodes`, `seeds`, `first_seed`: how big a cluster, and which disasters;
    - `duration_s`: how long each storm lasts, in virtual seconds;
    - `processes`: how many clusters at a time, one unless told otherwise;

    and returns the Trial, whose `facts()` tell what the failures cost.
    """

    def simulate(
        job: Source,
        *,
        input: Iterable[Input] | None = None,  # noqa: A002 - the name that jobs use
        nodes: int = NODES,
        seeds: int = SEEDS,
        first_seed: int = 1,
        duration_s: float = STORM_S,
        processes: int = 1,
    ) -> Trial:
        from peerdisco_sim.userjob.load import load_program
        from peerdisco_sim.userjob.trial import try_job

        trial = try_job(
            load_program(job, input, nodes=nodes),
            nodes=nodes,
            seeds=_chosen(request.config, first_seed, seeds),
            replay=lambda seed: f"pytest '{request.node.nodeid}' --peerdisco-seed {seed}",
            duration_s=duration_s,
            processes=processes,
        )
        if not trial.exact:
            pytest.fail(trial.text(), pytrace=False)
        return trial

    return simulate


def _chosen(config: Any, first: int, number: int) -> Iterable[int]:
    one = config.getoption("--peerdisco-seed")
    if one is not None:
        return [one]
    return range(first, first + (config.getoption("--peerdisco-seeds") or number))
