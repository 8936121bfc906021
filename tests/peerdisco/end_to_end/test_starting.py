"""Start, join, come back, stop: what a person does with nodes, and what must not be left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from peerdisco import DDFS, Job
from peerdisco.client import Cluster
from peerdisco.demo.nodes import DaemonProcess, join_token_of

if TYPE_CHECKING:
    from tests.peerdisco.end_to_end.conftest import CommandLine, Nodes

pytestmark = pytest.mark.slow

Connect = Callable[[DaemonProcess], Cluster]
Until = Callable[..., None]
STOP_S = 5.0


def computes(line: str, params: object) -> Iterator[tuple[int, int]]:
    while True:
        pass
    yield 0, 0


def computes_in_c(line: str, params: object) -> Iterator[tuple[int, int]]:
    yield 0, sum(range(1 << 60))


def children(pid: int) -> list[int]:
    """Processes that a process has started and that live."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError, IndexError):
            stat = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(stat[1]) == pid and stat[0] != "Z":
                found.append(int(entry.name))
    return found


def is_running(pid: int) -> bool:
    """Whether a process lives; one that was only not reaped yet does not."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


needs_proc = pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="needs /proc to find processes"
)


def test_nodes_join_by_token_and_status_says_what_each_number_of_them_survives(
    nodes: Nodes, peerdisco: CommandLine, connect_to: Connect
) -> None:
    """`--join -`, `--join TOKEN`, everybody sees everybody, and the way back into the cluster."""
    first = nodes("first")
    assert (
        "cannot survive the loss of one: add 2 nodes" in peerdisco("status", peer=first.http).stdout
    )

    command = peerdisco("token", "join", peer=first.http).stdout.strip()
    token = command.removeprefix("peerdisco --join ")
    assert token.startswith("pd1.")
    assert f"@127.0.0.1:{first.peer_port}" in token
    second = nodes("second", "--join", token)
    second.wait_ready(members=2)
    assert "add 1 node to be safe" in peerdisco("status", peer=second.http).stdout

    # Names are as good as addresses, in a token and to advertise.
    third = nodes("third", "--advertise", "localhost", join=token.replace("127.0.0.1", "localhost"))
    for node in (first, second, third):
        node.wait_ready(members=3)
        assert "can lose 1 of them" in peerdisco("status", peer=node.http).stdout
        rows = peerdisco.json("nodes", peer=node.http)
        assert ["first", "second", "third"] == sorted(row["name"] for row in rows)
        assert {"alive"} == {row["state"] for row in rows}
        assert [node.name] == [row["name"] for row in rows if row["me"]]

    DDFS(connect_to(third)).tag("kept", ["raw://it"])
    before = connect_to(third).status().facts.node
    assert third.stop() == 0
    third.start()
    third.wait_ready(members=3)
    assert before == connect_to(third).status().facts.node
    assert [["raw://it"]] == DDFS(connect_to(third)).urls("kept")
    # An expired or used token in a unit file does not keep a member from its own cluster.
    assert second.stop() == 0
    second.start()
    second.wait_ready(members=3)


def test_a_lone_node_comes_back_with_identity_data_and_finished_jobs(
    nodes: Nodes, connect_to: Connect
) -> None:
    node = nodes("alone")
    cluster = connect_to(node)
    before = cluster.status().facts
    job = Job("short", cluster).run(input=["raw://x"], map=lambda line, params: [(line, 1)])
    results = list(job.wait(timeout=30))
    DDFS(cluster).tag("kept", ["raw://it"])
    node.kill()
    node.start()
    node.wait_ready()
    cluster = connect_to(node)
    assert (before.cluster, before.node) == (
        cluster.status().facts.cluster,
        cluster.status().facts.node,
    )
    assert [["raw://it"]] == DDFS(cluster).urls("kept")
    assert "ready" == cluster.job(job.name).state.value
    assert results == list(Job(job.name, cluster).wait(timeout=30))


@needs_proc
@pytest.mark.parametrize("work", [computes, computes_in_c])
def test_workers_do_not_survive_their_node(
    nodes: Nodes, connect_to: Connect, until: Until, work: Callable[..., object]
) -> None:
    """Not even while the user's code computes and never looks up, or keeps the interpreter."""
    node = nodes("killed", "--slots", "1")
    job = Job("busy", connect_to(node)).run(input=["raw://x"], map=work)
    until(lambda: job.status().stages[0].running, "the map runs")
    workers = children(node.pid)
    assert workers
    node.kill()
    until(lambda: not any(map(is_running, workers)), "the workers end")


@needs_proc
def test_sigterm_ends_a_node_in_time_also_while_a_job_runs(
    nodes: Nodes, connect_to: Connect, until: Until
) -> None:
    node = nodes("stopped", "--slots", "1")
    job = Job("busy", connect_to(node)).run(input=["raw://x"], map=computes)
    until(lambda: job.status().stages[0].running, "the map runs")
    workers = children(node.pid)
    assert node.process is not None
    with socket.create_connection(("127.0.0.1", node.http_port)) as waiting:
        question = f"GET /api/v1/jobs/{job.name}?since=99999&wait_s=30 HTTP/1.1"
        waiting.sendall(f"{question}\r\nHost: {node.http}\r\n\r\n".encode())
        os.kill(node.pid, signal.SIGTERM)
        assert node.process.wait(STOP_S) == 0
    until(lambda: not any(map(is_running, workers)), "the workers end", 1.0)
    assert "Traceback" not in node.log.read_text()


def test_a_second_signal_ends_a_node_at_once(nodes: Nodes) -> None:
    node = nodes("impatient")
    assert node.process is not None
    os.kill(node.pid, signal.SIGTERM)
    os.kill(node.pid, signal.SIGINT)
    assert node.process.wait(STOP_S) in (128 + signal.SIGTERM, 128 + signal.SIGINT)


def test_a_node_without_peers_finds_its_cluster_when_the_others_come_back(nodes: Nodes) -> None:
    first = nodes("first")
    second = nodes("second", join=join_token_of(first))
    for node in (first, second):
        node.kill()
    second.start()
    time.sleep(1)  # it knocks at a door behind which nobody is yet
    first.start()
    for node in (first, second):
        node.wait_ready(members=2)
