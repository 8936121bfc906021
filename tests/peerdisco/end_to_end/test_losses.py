"""Nodes die and the cluster goes on: what three nodes promise, and what one still can do."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from peerdisco import DDFS, Job, Unavailable, result_iterator
from peerdisco.client import Cluster
from peerdisco.client.session import Session
from peerdisco.client.target import parse_target
from peerdisco.demo.nodes import DaemonProcess, daemons

pytestmark = pytest.mark.slow

Connect = Callable[[DaemonProcess], Cluster]
Until = Callable[..., None]
TASKS = 12


def slow(line: str, params: object) -> Iterator[tuple[str, int]]:
    import time

    time.sleep(0.4)
    yield line, 1


def total(records: Iterator[tuple[str, int]], params: object) -> Iterator[tuple[str, int]]:
    yield "total", sum(one for _, one in records)


def impatient(node: DaemonProcess) -> Cluster:
    return Cluster(Session(parse_target(node.http), patience_s=3.0))


def test_one_of_three_may_die_amid_everything_and_two_leave_what_they_must(
    tmp_path: Path, connect_to: Connect, until: Until
) -> None:
    """One story, since a cluster of its own takes seconds to start."""
    data = random.Random(1).randbytes(2 * (1 << 20))
    (tmp_path / "data").write_bytes(data)
    with daemons(tmp_path / "nodes", 3, ("--slots", "2")) as nodes:
        cluster = connect_to(nodes[0])
        files = DDFS(cluster)
        files.push("kept:data", [tmp_path / "data"])
        for number in range(20):
            files.tag(f"kept:{number:02}", [f"raw://{number}"])

        job = Job("survives", cluster).run(
            input=[f"raw://{number}" for number in range(TASKS)], map=slow, reduce=total
        )
        until(lambda: job.status().stages[0].done >= 1, "the first maps are done")
        # The node that this client talks to; of three, one leads the job and any may hold its maps.
        leader = job.status().coordinator
        nodes[0].kill()
        survivors = nodes[1:]
        assert [("total", TASKS)] == list(result_iterator(job.wait(timeout=60)))
        assert leader

        for node in survivors:
            other = DDFS(connect_to(node))
            assert [data] == [file.read() for file in other.pull("kept:data")]
            assert [["raw://7"]] == other.urls("kept:07")
            assert 21 == len(list(other.list("kept:")))

        two = DDFS(connect_to(survivors[0]))
        (tmp_path / "more").write_bytes(data[::-1])
        blob = connect_to(survivors[0]).put_blob(data[::-1])
        assert 2 == blob.copies
        two.push("kept:more", [tmp_path / "more"])
        again = Job("again", connect_to(survivors[1])).run(input=["raw://x"], map=slow)
        assert [("x", 1)] == list(result_iterator(again.wait(timeout=60)))

        survivors[0].kill()
        last = impatient(survivors[1])
        started = time.monotonic()
        with pytest.raises(Unavailable, match="too few of the nodes that keep the tag 'kept:data'"):
            DDFS(last).tag("kept:data", ["raw://late"])
        assert time.monotonic() - started < 20
        url = f"blob:{blob.id}"
        with last.open_blob(url.removeprefix("blob:")) as file:
            assert data[::-1] == file.read()
        last.session.close()
        until(
            lambda: 2 == connect_to(survivors[1]).status().dead, "the last node knows of the loss"
        )
        verdict = connect_to(survivors[1]).status().verdict
        assert "1 node alive" in verdict.headline or "1 of 3" in verdict.headline

        for node in nodes[:2]:
            node.start()
        for node in nodes:
            node.wait_ready(members=3)
        back = DDFS(connect_to(nodes[0]))
        until(lambda: [["raw://3"]] == back.urls("kept:03"), "tags can be read again")
        back.tag("kept:03", ["raw://new"])
        assert [["raw://new"], ["raw://3"]] == DDFS(connect_to(nodes[2])).urls("kept:03")
        assert [("total", TASKS)] == list(
            result_iterator(Job(job.name, connect_to(nodes[0])).wait(timeout=30))
        )
