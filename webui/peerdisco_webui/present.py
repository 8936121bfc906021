"""How values look to people: sizes, spans, moments, bars. Pure functions, used by the templates."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from peerdisco_webui.messages import ErrorView, JobState, JobSummary, MemberState, StageView

UNKNOWN = "\N{EN DASH}"
BAR_WIDTH = 1000
_SIZE_UNITS = ("kB", "MB", "GB", "TB", "PB")

_SYMBOLS = {
    MemberState.ALIVE: "●",
    MemberState.SUSPECT: "▲",
    MemberState.DEAD: "✕",
    MemberState.LEFT: "\N{FIGURE DASH}",
    JobState.INITIALIZING: "○",
    JobState.ACTIVE: "▶",
    JobState.READY: "✓",
    JobState.DEAD: "✕",
}


def size(count: int) -> str:
    """Bytes with a decimal unit: `1.4 MB`; negative is unknown."""
    if count < 0:
        return UNKNOWN
    if count < 1000:
        return f"{count} B"
    value, unit = count / 1000, 0
    while value >= 999.5 and unit < len(_SIZE_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    digits = 0 if value >= 99.95 else 1
    return f"{value:.{digits}f} {_SIZE_UNITS[unit]}"


def span(seconds: float) -> str:
    """A length of time: `0.4 s`, `12 s`, `3 min 20 s`, `5 h 2 min`, `3 d 4 h`."""
    seconds = max(seconds, 0.0)
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for large, small, unit_large, unit_small in (
        (86400, 3600, "d", "h"),
        (3600, 60, "h", "min"),
        (60, 1, "min", "s"),
    ):
        if whole >= large:
            return f"{whole // large} {unit_large} {whole % large // small} {unit_small}"
    return f"{whole} s"


def moment(at: float) -> str:
    """A point in time, UTC, to the second; 0 is unknown."""
    if at <= 0:
        return UNKNOWN
    return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%Y-%m-%d %H:%M:%S")


def clock(at: float) -> str:
    """The time of day, UTC, to a tenth of a second."""
    if at <= 0:
        return UNKNOWN
    return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%H:%M:%S.%f")[:-5]


def symbol(state: MemberState | JobState) -> str:
    """A shape for a state, so that colour is never alone."""
    return _SYMBOLS[state]


def lasted(job: JobSummary, now: float) -> str:
    """How long a job ran, or has been running."""
    if job.submitted_at <= 0:
        return UNKNOWN
    return span((job.finished_at or now) - job.submitted_at)


@dataclass(frozen=True, slots=True)
class Piece:
    """One coloured piece of a bar, in units of BAR_WIDTH."""

    kind: str
    x: int
    width: int


def bar(stages: StageView | Iterable[StageView]) -> list[Piece]:
    """Done, running and the rest of one or of many stages as pieces of a bar.

    What runs is never thinner than a hair, so that a single task among thousands is seen.
    """
    chosen = [stages] if isinstance(stages, StageView) else list(stages)
    total = sum(stage.total for stage in chosen)
    if total == 0:
        return []
    done = BAR_WIDTH * sum(stage.done for stage in chosen) // total
    busy = sum(stage.running for stage in chosen)
    running = min(max(BAR_WIDTH * busy // total, 8), BAR_WIDTH - done) if busy else 0
    waiting = BAR_WIDTH * sum(stage.waiting for stage in chosen) // total
    waiting = min(waiting, BAR_WIDTH - done - running)
    pieces = [
        Piece("done", 0, done),
        Piece("running", done, running),
        Piece("waiting", done + running, waiting),
    ]
    return [piece for piece in pieces if piece.width > 0]


def tally(stages: StageView | Iterable[StageView]) -> str:
    """The same in words: `7 of 16 tasks done, 4 running, 1 failed attempt`."""
    chosen = [stages] if isinstance(stages, StageView) else list(stages)
    total = sum(stage.total for stage in chosen)
    if total == 0:
        return "no tasks yet"
    words = [f"{sum(stage.done for stage in chosen)} of {total} tasks done"]
    if running := sum(stage.running for stage in chosen):
        words.append(f"{running} running")
    if failed := sum(stage.failed for stage in chosen):
        words.append(f"{failed} failed attempt" + ("s" if failed > 1 else ""))
    return ", ".join(words)


def place(error: ErrorView) -> str:
    """Where a task failed: `map task 17 on grace at record 48213`, as far as it is known."""
    words = [f"{error.stage} task {error.task}"] if error.stage else []
    if error.node:
        words.append(f"on {error.node}")
    if error.record >= 0:
        words.append(f"at record {error.record}")
    elif error.input:
        words.append("in an input")
    return " ".join(words)


def percent(part: int, whole: int) -> int:
    """A share in whole percent, 0 when nothing is known."""
    return max(0, min(100, round(100 * part / whole))) if whole > 0 else 0


FILTERS: dict[str, Callable[..., object]] = {
    "size": size,
    "span": span,
    "moment": moment,
    "clock": clock,
    "symbol": symbol,
    "lasted": lasted,
    "bar": bar,
    "tally": tally,
    "percent": percent,
    "place": place,
}
