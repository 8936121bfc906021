"""A job's group loses its majority for good: it says so, a person recovers it, the job ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from peerdisco import Job, result_iterator
from peerdisco.client import Cluster
from peerdisco.demo.nodes import DaemonProcess, daemons

if TYPE_CHECKING:
    from tests.peerdisco.end_to_end.conftest import CommandLine

pytestmark = pytest.mark.slow

TASKS = 40


def slow(line: str, params: object) -> Iterator[tuple[str, int]]:
    import time

    time.sleep(0.4)
    yield line, 1


def total(records: Iterator[tuple[str, int]], params: object) -> Iterator[tuple[str, int]]:
    yield "total", sum(one for _, one in records)


def test_a_job_whose_group_lost_its_majority_goes_on_with_the_copy_that_is_kept(
    tmp_path: Path,
    peerdisco: CommandLine,
    connect_to: Callable[[DaemonProcess], Cluster],
    until: Callable[..., None],
) -> None:
    """Two of three voters go; the layout's group is left to them, and they come back to it."""
    with daemons(tmp_path, 3, ("--slots", "2")) as nodes:
        kept, *lost = nodes
        job = Job("kept", connect_to(kept)).run(
            input=[f"raw://{number}" for number in range(TASKS)], map=slow, reduce=total
        )
        until(lambda: job.status().stages[0].done >= 1, "the first map is done")
        group = f"job/{job.name}"
        recover = ("raft", "recover", group, "--keep", kept.name)
        assert "needs no recovery" in peerdisco(*recover, peer=kept.http, code=1).stderr

        for node in lost:
            node.kill()

        def state() -> object:
            groups = peerdisco.json("raft", "list", peer=kept.http)
            return next(one["state"] for one in groups if one["name"] == group)

        until(lambda: state() == "no majority", "the group says so", timeout_s=60.0)
        shown = peerdisco("raft", "show", group, peer=kept.http).stdout
        assert "2 of 3 voters do not answer" in shown
        assert f"peerdisco raft recover {group} --keep NODE" in shown

        asked = peerdisco(*recover, peer=kept.http, code=1, stdin="n\n").stderr
        assert "lost is whatever only" in asked
        assert all(node.name in asked for node in lost)
        assert "is the whole group" in peerdisco(*recover, peer=kept.http, stdin="y\n").stdout
        shown = peerdisco.json("raft", "show", group, peer=kept.http)
        assert (kept.name, 1, [kept.name]) == (shown["leader"], shown["era"], shown["voters"])
        assert "lost is whatever only" in shown["recovery"]

        for node in lost:
            node.start()
        for node in nodes:
            node.wait_ready(members=3)
        assert [("total", TASKS)] == list(result_iterator(job.wait(timeout=60)))
