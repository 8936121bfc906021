"""`peerdisco simulate job`: a user's own job under disasters."""

from __future__ import annotations

import shlex
import sys

import click

from peerdisco.errors import PeerdiscoError
from peerdisco_sim.result import Result
from peerdisco_sim.userjob.load import load_program
from peerdisco_sim.userjob.trial import STORM_S, try_job


@click.command()
@click.argument("file")
@click.option("--input", "inputs", multiple=True, help="What to read instead of the job's input.")
@click.option("--nodes", type=click.IntRange(1, 50), default=5, show_default=True)
@click.option("--seeds", type=click.IntRange(min=0), default=20, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True, help="The first seed.")
@click.option("--duration", type=click.FloatRange(min=1.0), default=STORM_S, show_default=True)
@click.option("--jobs", type=click.IntRange(min=1), default=None, help="Clusters at a time.")
@click.option("--verbose", is_flag=True, help="Print a line for every seed.")
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON.")
def job(
    file: str,
    inputs: tuple[str, ...],
    nodes: int,
    seeds: int,
    seed: int,
    duration: float,
    jobs: int | None,
    verbose: bool,
    as_json: bool,
) -> None:
    """Run the job in FILE under disasters and say whether it was right every time.

    FILE is what `peerdisco job run` takes: functions map and reduce, or a Job class (FILE:CLASS).
    Its results must be those of a run in one process; the exit status is 1 when they ever differ.
    """

    def replay(number: int) -> str:
        words = ["peerdisco", "simulate", "job", file, "--nodes", str(nodes)]
        words += [word for name in inputs for word in ("--input", name)]
        words += ["--seeds", "1" if number else "0", "--seed", str(number or 1)]
        words += ["--duration", f"{duration:g}"] if duration != STORM_S else []
        return shlex.join(words)

    def show(result: Result) -> None:
        if verbose:
            click.echo(result.text())

    try:
        program = load_program(file, inputs or None, nodes=nodes)
        trial = try_job(
            program,
            nodes=nodes,
            seeds=range(seed, seed + seeds),
            replay=replay,
            duration_s=duration,
            processes=jobs,
            show=show,
        )
    except PeerdiscoError as error:
        click.echo(str(error), err=True)
        sys.exit(error.exit_code)
    click.echo(trial.text())
    if as_json:
        click.echo(trial.json())
    if not trial.exact:
        sys.exit(1)
