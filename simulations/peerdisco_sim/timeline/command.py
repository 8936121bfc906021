"""`peerdisco simulate timeline`: a play as one web page."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from peerdisco_sim.campaign import file_job, swarm_job
from peerdisco_sim.play import play
from peerdisco_sim.schedule import BadSchedule
from peerdisco_sim.timeline.page import render
from peerdisco_sim.timeline.watch import MESSAGES_MAX, Watcher


@click.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--seed", type=int, help="Show the storm of this seed instead of a file.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), required=True)
@click.option("--messages", type=click.IntRange(min=0), default=MESSAGES_MAX, show_default=True)
@click.option("--log-level", default="WARNING", show_default=True, help="Of the nodes' logs.")
def timeline(
    file: Path | None, seed: int | None, output: Path, messages: int, log_level: str
) -> None:
    """Play the schedule in FILE and show it as one self-contained HTML page.

    The page has a lane for each node, the faults above, the violations below, and the last
    messages before the first violation on demand. It needs no network.
    """
    if (file is None) == (seed is None):
        raise click.UsageError("name a FILE or a --seed")
    try:
        job = swarm_job(seed) if seed is not None else file_job(file or Path())
        watcher = Watcher(messages)
        level = logging.getLevelNamesMapping().get(log_level.upper(), logging.WARNING)
        outcome = play(job.schedule, log_level=level, watchers=[watcher])
        page = render(outcome, watcher, title=job.label, replay=job.replay)
        output.write_text(page, encoding="utf-8")
    except (BadSchedule, OSError) as error:
        raise click.ClickException(str(error)) from None
    verdict = outcome.failures[0].line() if outcome.failures else "nothing was violated"
    click.echo(f"{output}: {len(outcome.events)} events, {verdict}")
