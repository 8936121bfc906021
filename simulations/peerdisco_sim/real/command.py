"""`peerdisco simulate real`: disasters on real daemons, for minutes or from a file."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import click

from peerdisco.errors import PeerdiscoError
from peerdisco_sim.real.abilities import Abilities, find_abilities
from peerdisco_sim.real.draw import draw_schedule
from peerdisco_sim.real.namespaces import sweep
from peerdisco_sim.real.play import RealReport, play_real
from peerdisco_sim.real.shell import ToolFailed
from peerdisco_sim.schedule import BadSchedule, Schedule, read_schedule

STORM_S = 60.0


@click.command()
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False))
@click.option("--minutes", type=click.FloatRange(min=0.1), default=2.0, show_default=True)
@click.option("--nodes", type=click.IntRange(1, 30), default=5, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True, help="The first seed.")
@click.option("--loopback", is_flag=True, help="No namespaces, no mounts, even as root.")
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON.")
def real(
    file: str | None, minutes: float, nodes: int, seed: int, loopback: bool, as_json: bool
) -> None:
    """Real daemons on this machine, real kills, partitions and power cuts.

    Plays FILE, or schedules of its own until the minutes are over; the exit status is 1 when
    anything was violated. As root each daemon gets a network namespace and a file system of its
    own; what cannot be done here is skipped by name. Nothing is left behind.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    tell = _quiet if as_json else click.echo
    if not loopback:
        _sweep(tell)
    abilities = Abilities("--loopback", "--loopback") if loopback else find_abilities()
    for what, why in (("network", abilities.no_network), ("power", abilities.no_power)):
        if why:
            tell(f"no {what} faults: {why}")
    deadline = time.monotonic() + minutes * 60
    reports: list[RealReport] = []
    while not reports or (file is None and time.monotonic() < deadline):
        schedule = _read(file) if file else draw_schedule(seed + len(reports), nodes, STORM_S)
        try:
            reports.append(play_real(schedule, abilities, tell))
        except (PeerdiscoError, ToolFailed) as error:
            raise click.ClickException(f"the cluster did not start: {error}") from None
        click.echo(reports[-1].text(), err=as_json)
    if as_json:
        click.echo(summary(reports, abilities))
    if any(report.violations for report in reports):
        sys.exit(1)


def summary(reports: list[RealReport], abilities: Abilities) -> str:
    """One JSON object about all plays."""
    kinds: collections.Counter[str] = collections.Counter()
    skipped: collections.Counter[str] = collections.Counter()
    for report in reports:
        kinds += report.faults
        skipped += report.skipped
    times = [report.lasted_s for report in reports]
    return json.dumps(
        {
            "seeds": len(reports),
            "cluster_hours": round(sum(times) / 3600, 4),
            "faults": kinds.total(),
            "ops": sum(report.operations for report in reports),
            "violations": sum(len(report.violations) for report in reports),
            "undecided": 0,
            "cpu_s": round(sum(os.times()[:4]), 3),
            "fault_kinds": dict(sorted(kinds.items())),
            "knobs": {},
            "jobs": sum(report.jobs for report in reports),
            "unknown": sum(report.unknown for report in reports),
            "skipped": dict(sorted(skipped.items())),
            "no_network": abilities.no_network,
            "no_power": abilities.no_power,
            "failed_seeds": [report.seed for report in reports if report.violations],
        }
    )


def _read(file: str) -> Schedule:
    try:
        return read_schedule(Path(file))
    except BadSchedule as error:
        raise click.ClickException(f"{file}: {error}") from None


def _sweep(tell: Callable[[str], object]) -> None:
    with contextlib.suppress(OSError):  # not root, or no `ip`: then there is nothing of ours either
        for name in sweep():
            tell(f"removed {name}, left by a run that was killed")


def _interrupt(_: int, __: FrameType | None) -> None:
    """SIGTERM cleans up as Ctrl-C does."""
    raise KeyboardInterrupt


def _quiet(_: str) -> None:
    """The report at the end is enough."""
