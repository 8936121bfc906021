"""The commands about schedules: replay, shrink, corpus, soak."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click
import msgspec

from peerdisco_sim.campaign import (
    CORPUS,
    Campaign,
    any_seed,
    corpus_jobs,
    file_job,
    processors,
    run_campaign,
    swarm_job,
    swarm_jobs,
)
from peerdisco_sim.play import play
from peerdisco_sim.recorder import TimedEvent
from peerdisco_sim.result import Result, result_of, summary
from peerdisco_sim.runner import Job
from peerdisco_sim.schedule import BadSchedule, Schedule, decode_schedule
from peerdisco_sim.shrink import RUNS_MAX, NotFailing, Shrinker

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


@click.command()
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--events", is_flag=True, help="Print everything that was recorded.")
@click.option("--log-level", type=click.Choice(LEVELS), default="WARNING", show_default=True)
@click.option("--digest", is_flag=True, help="Print the digest only.")
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON.")
def replay(file: Path, events: bool, log_level: str, digest: bool, as_json: bool) -> None:
    """Play the schedule in FILE again; `-` reads it from standard input."""
    job = _job_of(file)
    began = time.monotonic()
    outcome = play(job.schedule, log_level=logging.getLevelName(log_level))
    result = result_of(outcome, job.label, job.replay, time.monotonic() - began)
    if digest:
        click.echo(result.digest)
        return
    if events:
        for event in outcome.events:
            click.echo(_line(event))
    click.echo(result.text())
    if as_json:
        click.echo(summary([result]))
    if result.violations:
        sys.exit(1)


@click.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--seed", type=int, help="Shrink the schedule of this seed instead of a file.")
@click.option("--jobs", type=click.IntRange(min=1), default=None, help="Plays at a time.")
@click.option("--runs", type=click.IntRange(min=1), default=RUNS_MAX, show_default=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Where to write the result.")
def shrink(
    file: Path | None, seed: int | None, jobs: int | None, runs: int, output: Path | None
) -> None:
    """Reduce a failing schedule to what it takes, and write it down."""
    if (file is None) == (seed is None):
        raise click.UsageError("name a FILE or a --seed")
    job = swarm_job(seed) if seed is not None else _job_of(file or Path())
    shrinker = Shrinker(processes=jobs or processors(), runs_max=runs, say=_to_stderr)
    try:
        shrunk = shrinker.shrink(job.schedule)
    except NotFailing as error:
        raise click.ClickException(str(error)) from None
    violation = shrunk.result.violations[0]
    schedule = msgspec.structs.replace(shrunk.schedule, why=f"{violation.name}: {violation.line()}")
    if output is not None:
        output.write_bytes(schedule.encode())
        _to_stderr(f"written to {output} after {shrunk.runs} runs")
    else:
        click.echo(schedule.encode().decode())


@click.command()
@click.argument("directory", type=click.Path(path_type=Path, exists=True), default=CORPUS)
@click.option("--jobs", type=click.IntRange(min=1), default=None, help="Plays at a time.")
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON.")
def corpus(directory: Path, jobs: int | None, as_json: bool) -> None:
    """Play every schedule that is kept in DIRECTORY; none may fail."""
    try:
        plays = corpus_jobs(directory)
    except BadSchedule as error:
        raise click.ClickException(str(error)) from None
    campaign = run_campaign(plays, processes=jobs or processors(), show=shown(False))
    conclude(campaign, as_json)


@click.command()
@click.option("--minutes", type=click.FloatRange(min=0.0), default=30.0, show_default=True)
@click.option("--seed", type=int, default=None, help="The first seed; any when left out.")
@click.option("--jobs", type=click.IntRange(min=1), default=None, help="Plays at a time.")
@click.option("--keep", type=click.Path(path_type=Path), help="Directory for what failed.")
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON.")
def soak(
    minutes: float, seed: int | None, jobs: int | None, keep: Path | None, as_json: bool
) -> None:
    """Play fresh seeds for as long as told."""
    first = any_seed() if seed is None else seed
    _to_stderr(f"seeds from {first}")
    campaign = run_campaign(
        swarm_jobs(first, None),
        processes=jobs or processors(),
        until=time.monotonic() + 60 * minutes,
        repeat_share=0.0,
        show=shown(True),
        keep=keep,
    )
    conclude(campaign, as_json)


def shown(only_failures: bool) -> Callable[[Result], None]:
    """A function that prints results as they come."""

    def show(result: Result) -> None:
        if result.violations or not only_failures:
            click.echo(result.text())

    return show


def conclude(campaign: Campaign, as_json: bool) -> None:
    """Print what a campaign came to; ends the program with 1 when it failed."""
    for line in campaign.complaints:
        click.echo(f"FAILED: {line}")
    results = campaign.results
    if as_json:
        more = {"repeated": campaign.repeated, "wall_s": round(campaign.wall_s, 1)}
        click.echo(summary(results, complaints=list(campaign.complaints), **more))
    else:
        hours = sum(result.virtual_s for result in results) / 3600
        failed = sum(bool(result.violations) for result in results)
        click.echo(
            f"{len(results)} plays, {hours:.2f} cluster-hours in {campaign.wall_s:.0f} s, "
            f"{failed} failed, {campaign.repeated} repeated elsewhere"
        )
    if campaign.failed:
        sys.exit(1)


def _job_of(file: Path) -> Job:
    try:
        if str(file) == "-":
            return Job(_from_stdin(), "standard input", "peerdisco simulate replay -")
        return file_job(file)
    except (BadSchedule, OSError) as error:
        raise click.ClickException(str(error)) from None


def _from_stdin() -> Schedule:
    return decode_schedule(sys.stdin.buffer.read())


def _line(event: TimedEvent) -> str:
    return f"{event.at:10.4f} {event.node:10} {event.kind:12} {event.detail}"


def _to_stderr(text: str) -> None:
    click.echo(text, err=True)
