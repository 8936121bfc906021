"""Failing over: any node will do, and the next one when it dies."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import msgspec
import pytest

from peerdisco.client import Cluster, NoCluster, NotFound, Refused, Unavailable
from peerdisco.client.session import Session
from peerdisco.client.target import parse_target

if TYPE_CHECKING:
    from tests.webui.backend import Backend, Servers


def a_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_the_other_nodes_are_learned_and_used_when_one_dies(
    cluster: Cluster, servers: Servers
) -> None:
    assert cluster.status().alive == 2
    assert len(cluster.session.addresses) == 2
    servers.stop(0)
    blob = cluster.put_blob(b"still here")
    assert cluster.open_blob(blob.id).read() == b"still here"
    assert cluster.session.addresses[0] == parse_target(servers.addresses[1]).addresses[0]


def test_a_dead_address_in_the_list_is_skipped(servers: Servers) -> None:
    target = parse_target(f"127.0.0.1:{a_free_port()},{servers.addresses[0]}")
    session = Session(target)
    assert Cluster(session).status().facts.name == "node-a"
    session.close()


def test_no_node_at_all_is_said_with_the_addresses() -> None:
    port = a_free_port()
    session = Session(parse_target(f"127.0.0.1:{port}"), patience_s=0.1)
    with pytest.raises(NoCluster, match=f"127.0.0.1:{port}.*PEERDISCO") as caught:
        Cluster(session).status()
    assert caught.value.exit_code == 4


def test_a_node_of_another_cluster_is_passed_over(
    cluster: Cluster, servers: Servers, backend: Backend
) -> None:
    cluster.status()
    backend.cluster.facts = msgspec.structs.replace(backend.cluster.facts, cluster="other")
    with pytest.raises(NoCluster, match="another cluster"):
        cluster.status()


def test_refusals_come_with_the_words_of_the_node(cluster: Cluster) -> None:
    with pytest.raises(NotFound, match="there is no tag x"):
        cluster.tag("x")
    with pytest.raises(Refused, match="not a job pack") as caught:
        cluster.submit(b"rubbish")
    assert caught.value.status == 400


def test_an_unavailable_cluster_is_tried_for_a_while(cluster: Cluster, backend: Backend) -> None:
    async def fails(*_: object, **__: object) -> None:
        raise TimeoutError("too few homes answer")

    backend.files.tag = fails  # type: ignore[assignment,method-assign]  # no majority
    with pytest.raises(Unavailable, match="too few homes answer"):
        cluster.tag("x")


def test_connections_are_kept(cluster: Cluster) -> None:
    cluster.status()
    kept = list(cluster.session._idle)
    cluster.status()
    cluster.members()
    assert cluster.session._idle == kept
