"""`peerdisco simulate`: play scenarios under seeds, and say how to replay what failed."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import click

from peerdisco_sim.campaign import processors, run_campaign, swarm_jobs
from peerdisco_sim.commands import conclude, corpus, replay, shown, shrink, soak
from peerdisco_sim.planted.command import canary, planted
from peerdisco_sim.real.command import real
from peerdisco_sim.report import Report, summary
from peerdisco_sim.scenario import Scenario, play
from peerdisco_sim.scenarios import SCENARIOS
from peerdisco_sim.swarm import DURATION_S
from peerdisco_sim.timeline.command import timeline
from peerdisco_sim.userjob.command import job

_REPEAT = "Share of the storms that another process plays again: the digests must be equal."


def make_commands(scenarios: Mapping[str, Scenario]) -> click.Group:
    """The commands for these scenarios; the first is played unless another is named."""
    names = list(scenarios)

    @click.group()
    def simulate() -> None:
        """Run whole clusters under seeded disasters."""

    @simulate.command()
    @click.option("--scenario", type=click.Choice(names), default=names[0], show_default=True)
    @click.option("--seed", type=int, default=1, show_default=True, help="The first seed.")
    @click.option("--seeds", type=click.IntRange(min=1), default=1, help="How many, counting up.")
    @click.option("--nodes", type=click.IntRange(min=1), default=None, help="Size of the cluster.")
    @click.option("--swarm", is_flag=True, help="Draw a storm for each seed instead of a scenario.")
    @click.option("--duration", type=float, default=DURATION_S, help="Seconds of a drawn storm.")
    @click.option("--jobs", type=click.IntRange(min=1), default=None, help="Storms at a time.")
    @click.option("--repeat", type=click.FloatRange(0, 1), default=0.0, help=_REPEAT)
    @click.option("--keep", type=click.Path(path_type=Path), help="Directory for what failed.")
    @click.option("--json", "as_json", is_flag=True, help="End with one line of JSON.")
    def run(
        scenario: str,
        seed: int,
        seeds: int,
        nodes: int | None,
        swarm: bool,
        duration: float,
        jobs: int | None,
        repeat: float,
        keep: Path | None,
        as_json: bool,
    ) -> None:
        """Play a scenario, or storms; the exit status is 1 when any seed failed."""
        if swarm:
            campaign = run_campaign(
                swarm_jobs(seed, seeds, duration_s=duration, nodes=nodes),
                processes=jobs or processors(),
                repeat_share=repeat,
                show=shown(only_failures=as_json),
                keep=keep,
            )
            conclude(campaign, as_json)
            return
        reports = []
        for number in range(seed, seed + seeds):
            reports.append(play(scenarios[scenario], number, nodes))
            _show(reports[-1], as_json)
        if as_json:
            click.echo(summary(reports))
        if any(report.failures for report in reports):
            sys.exit(1)

    @simulate.command("scenarios")
    def list_scenarios() -> None:
        """List the scenarios."""
        for scenario in scenarios.values():
            click.echo(f"{scenario.name}  {scenario.summary} ({scenario.nodes} nodes)")

    return simulate


def _show(report: Report, only_failures: bool) -> None:
    if report.failures or not only_failures:
        click.echo(report.text())


simulate = make_commands(SCENARIOS)
for _command in (replay, shrink, corpus, soak, canary, job, planted, real, timeline):
    simulate.add_command(_command)
