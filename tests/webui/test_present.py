"""How values look to people."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerdisco_webui.messages import ErrorView, JobState, JobSummary, StageView
from peerdisco_webui.present import (
    BAR_WIDTH,
    UNKNOWN,
    bar,
    clock,
    lasted,
    moment,
    percent,
    place,
    size,
    span,
    tally,
)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (-1, UNKNOWN),
        (0, "0 B"),
        (999, "999 B"),
        (1500, "1.5 kB"),
        (2**40, "1.1 TB"),
        (10**18, "1000 PB"),
    ],
)
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0.0 s"),
        (0.42, "0.4 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (200, "3 min 20 s"),
        (18_120, "5 h 2 min"),
        (273_600, "3 d 4 h"),
    ],
)
def test_spans(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_moments() -> None:
    assert moment(0) == clock(0) == UNKNOWN
    assert moment(1_800_000_000.0) == "2027-01-15 08:00:00"
    assert clock(1_800_000_000.25) == "08:00:00.2"


def test_a_job_lasts_until_it_ends() -> None:
    job = JobSummary(name="j", owner="o", state=JobState.READY, submitted_at=10, finished_at=15)
    assert lasted(job, 100) == "5.0 s"
    assert lasted(JobSummary(name="j", owner="o", state=JobState.ACTIVE), 100) == UNKNOWN


COUNTS = st.integers(0, 10**6)


@given(COUNTS, COUNTS, COUNTS, COUNTS)
def test_the_pieces_of_a_bar_never_overlap_nor_overflow(
    waiting: int, pending: int, running: int, done: int
) -> None:
    stage = StageView(name="map", waiting=waiting, pending=pending, running=running, done=done)
    position = 0
    for piece in bar(stage):
        assert piece.x == position
        position += piece.width
    assert position <= BAR_WIDTH
    if done == stage.total > 0:
        assert position == BAR_WIDTH


def test_one_running_task_among_thousands_is_seen() -> None:
    stage = StageView(name="map", done=5000, running=1, waiting=4999)
    assert [piece.kind for piece in bar(stage)] == ["done", "running", "waiting"]


def test_tallies() -> None:
    stages = [StageView(name="map", done=7, running=4, pending=5, failed=1), StageView(name="r")]
    assert tally(stages) == "7 of 16 tasks done, 4 running, 1 failed attempt"
    assert tally([]) == "no tasks yet"


def test_the_place_of_an_error_is_told_as_far_as_it_is_known() -> None:
    full = ErrorView(kind="user", message="m", stage="map", task=17, node="grace", record=3)
    assert place(full) == "map task 17 on grace at record 3"
    assert place(ErrorView(kind="input", message="m", input="blob:x")) == "in an input"
    assert place(ErrorView(kind="node", message="m")) == ""


def test_percentages_of_nothing_are_nothing() -> None:
    assert (percent(1, 0), percent(1, 3), percent(9, 3)) == (0, 33, 100)
