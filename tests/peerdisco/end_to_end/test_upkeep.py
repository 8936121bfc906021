"""Real daemons: garbage collection, draining a node, and lookups, by command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from peerdisco.client import DDFS
from peerdisco.demo.nodes import join_token_of
from tests.peerdisco.end_to_end.conftest import wait_until

if TYPE_CHECKING:
    from peerdisco.client import Cluster
    from peerdisco.demo.nodes import DaemonProcess
    from tests.peerdisco.end_to_end.conftest import CommandLine, Nodes

pytestmark = pytest.mark.slow


def test_a_dry_run_reads_everything_and_changes_nothing(
    three: list[DaemonProcess], cluster: Cluster, peerdisco: CommandLine
) -> None:
    blob = cluster.put_blob(b"named by a tag")
    cluster.append("upkeep:kept", [[blob.url]])
    wait_until(lambda: not cluster.layout().moving, "the layout is complete")
    view = peerdisco.json("ddfs", "gc", "--dry-run", peer=three[1].http)
    assert view["partitions"] == 4096
    assert view["participants"] == 3
    assert view["references"] >= 1
    assert view["failed"] == ""
    assert peerdisco("ddfs", "gc", "--status", peer=three[2].http).stdout
    assert DDFS(cluster).urls("upkeep:kept") == [[blob.url]]


def test_a_key_is_found_from_any_node(three: list[DaemonProcess], peerdisco: CommandLine) -> None:
    answers = [peerdisco.json("dht", "find", "tag://upkeep:kept", peer=node.http) for node in three]
    assert len({tuple(place["id"] for place in answer["home"]) for answer in answers}) == 1
    assert all(answer["told_by"] for answer in answers)


def test_a_drained_node_moves_its_blobs_first_and_may_then_be_removed(
    nodes: Nodes, peerdisco: CommandLine, connect_to: Any
) -> None:
    first = nodes("a")
    join = join_token_of(first)
    others = [nodes(name, join=join) for name in "bcd"]
    cluster = connect_to(first)
    wait_until(lambda: len(cluster.layout().nodes) == 4, "four nodes hold data")
    wait_until(lambda: not cluster.layout().moving, "the layout is complete")
    blobs = [cluster.put_blob(bytes([n]) * 100_000).id for n in range(20)]
    cluster.append("drained", [[f"blob:{blob}"] for blob in blobs])
    leaving = next(node for node in cluster.layout().nodes if node.name == "d")
    planned = peerdisco.json("layout", "plan", "drain", "d", peer=first.http)
    assert planned["bytes"] > 0
    assert "drain it first" in peerdisco("layout", "remove", "d", peer=first.http, code=1).stderr
    peerdisco("layout", "drain", "d", peer=others[0].http)

    def drained() -> object:
        (node,) = (n for n in cluster.layout().nodes if n.id == leaving.id)
        return node.state == "draining" and node.partitions == 0 and node.blobs == 0

    wait_until(drained, "the node has moved everything", 40.0)
    peerdisco("layout", "remove", "d", peer=first.http)
    others[-1].stop()
    for blob in blobs:
        with cluster.open_blob(blob) as file:
            assert len(file.read()) == 100_000
