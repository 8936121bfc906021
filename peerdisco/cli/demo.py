"""`peerdisco demo`: three nodes, one job, one of the nodes killed; told by `peerdisco.demo`."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import click

from peerdisco.cli.output import Output


@click.command()
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--keep", is_flag=True, help="Leave the cluster running until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print figures as JSON.")
def demo(files: tuple[Path, ...], keep: bool, as_json: bool) -> None:
    """Count words on three nodes, kill the one that leads the job, and check every count.

    FILES are the text; without any it is the source code of this Python installation.
    """
    from peerdisco.demo import run_demo

    # The daemons are processes of their own: whatever ends this one has to end them.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    report = run_demo(list(files), lambda line: click.echo(line, err=as_json), keep=keep)
    Output(json=as_json).value(report)
    if not report.exact:
        sys.exit(1)
