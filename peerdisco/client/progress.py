"""Showing how a job gets on: bars on a terminal, one line for each change elsewhere.

Everything goes to standard error, so that a program's output stays its own; only `json` writes to
standard output, one job status a line.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from peerdisco_webui.messages import JobView

Show = bool | str | None
"""False: nothing. True: text. "nocolor": lines. "json": JSON. None: as PEERDISCO_SHOW says."""


class Display(Protocol):
    """Shows the statuses of one job."""

    def update(self, job: JobView) -> None:
        """Show a newer status."""


@contextmanager
def display(show: Show) -> Iterator[Display | None]:
    """The display that was asked for; None for none."""
    wanted = os.environ.get("PEERDISCO_SHOW", "") if show is None else show
    if not wanted:
        yield None
    elif wanted == "json":
        yield JsonLines()
    elif wanted == "nocolor" or not sys.stderr.isatty() or "NO_COLOR" in os.environ:
        yield Lines()
    else:
        with _bars() as bars:
            yield bars


class JsonLines:
    """One JSON object for each status, on standard output."""

    def update(self, job: JobView) -> None:
        """See Display."""
        sys.stdout.write(msgspec.json.encode(job).decode() + "\n")
        sys.stdout.flush()


class Lines:
    """One line for each change of what people care about."""

    def __init__(self) -> None:
        self._last = ""

    def update(self, job: JobView) -> None:
        """See Display."""
        if not self._last:
            sys.stderr.write(f"{job.name}\n")
        line = f"Status: {job.state.value}"
        for stage in job.stages:
            if stage.total and (stage.running or stage.done):
                line = (
                    f"Status: [{stage.name}] {stage.pending} pending, {stage.waiting} waiting, "
                    f"{stage.running} running, {stage.done} done, {stage.failed} failed"
                )
        if job.state.is_final:
            line = f"Status: {job.state.value}"
        if line != self._last:
            sys.stderr.write(line + "\n")
            sys.stderr.flush()
        self._last = line


class Bars:
    """One bar for each stage."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bars: dict[str, TaskID] = {}

    def update(self, job: JobView) -> None:
        """See Display."""
        if not self._bars:
            self._progress.console.print(job.name, highlight=False, markup=False)
        for stage in job.stages:
            if stage.name not in self._bars:
                self._bars[stage.name] = self._progress.add_task(stage.name, total=None, note="")
            note = f"{stage.running} running" if stage.running else ""
            if stage.failed:
                note += f"{', ' if note else ''}{stage.failed} failed"
            if job.coordinator and not job.state.is_final:
                note += f"{', ' if note else ''}led by {job.coordinator}"
            self._progress.update(
                self._bars[stage.name],
                total=stage.total or None,
                completed=stage.done,
                note=note,
            )


@contextmanager
def _bars() -> Iterator[Bars]:
    # rich costs a tenth of a second, so only a terminal that asks for bars pays it.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}", style="dim", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield Bars(progress)
