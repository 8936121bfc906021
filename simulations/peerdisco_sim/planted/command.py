"""`peerdisco simulate planted` and `canary`: is the simulator able to find anything?"""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import click

from peerdisco_sim.campaign import processors
from peerdisco_sim.planted import BUGS, CANARY
from peerdisco_sim.planted.bug import swarm_schedule
from peerdisco_sim.planted.search import SEEDS_MAX, Found, expected_rule, play_planted, search
from peerdisco_sim.result import Result

CANARY_SEEDS = 3


@click.command()
@click.option("--only", type=click.Choice(list(BUGS)), multiple=True, help="These bugs only.")
@click.option("--seeds", type=click.IntRange(min=1), default=SEEDS_MAX, show_default=True)
@click.option("--seed", type=int, help="Play this seed once, and show what it finds.")
@click.option("--swarm", is_flag=True, help="Play the general storms, not those for the bug.")
@click.option("--jobs", type=click.IntRange(min=1), default=None, help="Plays at a time.")
@click.option("--verbose", is_flag=True, help="Print every play.")
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON.")
def planted(
    only: tuple[str, ...],
    seeds: int,
    seed: int | None,
    swarm: bool,
    jobs: int | None,
    verbose: bool,
    as_json: bool,
) -> None:
    """Plant bugs and look for them; the exit status is 1 when one is not found."""

    def show(result: Result) -> None:
        if verbose:
            click.echo(result.text())

    bugs = [BUGS[name] for name in only or BUGS]
    if swarm:
        bugs = [replace(bug, schedule=swarm_schedule) for bug in bugs]
    if seed is not None:
        for bug in bugs:
            click.echo(play_planted(bug, seed).text())
        return
    found: list[Found] = []
    for bug in bugs:
        found.append(search(bug, processes=jobs or processors(), seeds_max=seeds, show=show))
        click.echo(found[-1].text())
    hits = [each for each in found if each.rule]
    if as_json:
        click.echo(
            json.dumps(
                {
                    "planted": len(found),
                    "planted_found": len(hits),
                    "max_seeds_to_find": max((each.seeds for each in hits), default=0),
                    "cpu_s": round(sum(each.cpu_s for each in found), 1),
                    "seeds_to_find": {each.bug: each.seeds for each in hits},
                    "rules": {each.bug: each.rule for each in hits},
                    "missed": [each.bug for each in found if not each.rule],
                }
            )
        )
    if len(hits) < len(found):
        sys.exit(1)


@click.command()
def canary() -> None:
    """Play seeds that must fail; the exit status is 1 when one of them does not."""
    for seed in range(1, CANARY_SEEDS + 1):
        result = play_planted(CANARY, seed)
        rule = expected_rule(CANARY, result)
        if not rule:
            click.echo(f"{result.text()}\nThe canary lives: this simulator would find nothing.")
            sys.exit(1)
        click.echo(f"seed {seed} fails, as it must: {rule}")
