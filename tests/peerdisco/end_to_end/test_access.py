"""Off loopback a node speaks TLS to holders of a token; and IPv6 is as good as IPv4."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from peerdisco import DDFS, Job, NoCluster, Refused, result_iterator
from peerdisco.client import Cluster
from peerdisco.client.errors import WrongCluster
from peerdisco.client.session import Session
from peerdisco.client.target import parse_target
from peerdisco.demo.nodes import DaemonProcess
from peerdisco.host.ports import free_ports

if TYPE_CHECKING:
    from tests.peerdisco.end_to_end.conftest import CommandLine, Nodes

pytestmark = pytest.mark.slow

HOST = "127.0.0.1"
Until = Callable[..., None]


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def printed(node: DaemonProcess, label: str) -> str:
    """What the node printed behind a label when it was ready."""
    lines = [line.strip() for line in node.log.read_text().splitlines()]
    found = [line.removeprefix(label).strip() for line in lines if line.startswith(label)]
    return found[-1] if found else ""


def session(client_string: str) -> Cluster:
    return Cluster(Session(parse_target(client_string), patience_s=1.0))


@pytest.fixture
def open_node(nodes: Nodes, until: Until) -> DaemonProcess:
    """A node whose client port anybody on the network can reach."""
    node = DaemonProcess(nodes.root, "open")
    port = node.http_port
    started = nodes(
        "open", "--http", f"0.0.0.0:{port}", "--advertise", f"{HOST}:{node.peer_port}",
        "--listen", f"{HOST}:{node.peer_port}", wait=False,
    )  # fmt: skip
    started.http_port, started.peer_port = port, node.peer_port
    until(lambda: printed(started, "Use:"), "the node is ready")
    return started


def test_off_loopback_only_a_token_over_pinned_tls_opens_the_api(
    open_node: DaemonProcess, peerdisco: CommandLine, tmp_path: Path
) -> None:
    """The node prints a client string to begin with; every other way in is refused."""
    port = open_node.http_port
    use = printed(open_node, "Use:")
    assert use.startswith("PEERDISCO=pdc1.")
    first = use.removeprefix("PEERDISCO=").partition(" ")[0]
    assert printed(open_node, "Look:").startswith(f"https://{HOST}:{port}/")
    own = peerdisco("token", "create", peer=first).stdout.strip()
    assert own.startswith("pdc1.")
    assert own.endswith(f"@{HOST}:{port}")
    assert own != first

    cluster = session(own)
    assert ["open"] == [member.name for member in cluster.members()]
    job = Job("secured", cluster).run(input=["raw://x"], map=lambda line, _: [(line, 1)])
    assert [("x", 1)] == list(result_iterator(job.wait(timeout=30)))
    (tmp_path / "data").write_bytes(b"secret" * 1000)
    DDFS(cluster).push("secured", [tmp_path / "data"])
    assert [b"secret" * 1000] == [file.read() for file in DDFS(cluster).pull("secured")]
    cluster.session.close()

    plain = http.client.HTTPConnection(HOST, port, timeout=5)
    plain.request("GET", "/api/v1/members")
    with pytest.raises((http.client.HTTPException, OSError)):
        plain.getresponse()
    plain.close()
    with pytest.raises(NoCluster):
        session(f"{HOST}:{port}").members()

    head, _, host = own.partition("@")
    mark, _, grant = head.rpartition(".")
    forged = f"{mark}.{grant[:-4]}AAAA@{host}"
    with pytest.raises(Refused, match="send a token of this cluster"):
        session(forged).members()
    done = peerdisco("status", peer=forged, code=1)
    assert "peerdisco token create" in done.stderr
    foreign = f"pdc1.{'a' * 24}.{grant}@{host}"
    with pytest.raises(WrongCluster, match="does not belong to the cluster"):
        session(foreign).members()
    peerdisco("status", peer=foreign, code=4)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for path, status in (("/healthz", 200), ("/ca.pem", 200), ("/api/v1/members", 401), ("/", 401)):
        connection = http.client.HTTPSConnection(HOST, port, timeout=5, context=context)
        connection.request("GET", path)
        assert status == connection.getresponse().status, path
        connection.close()


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")
def test_two_nodes_meet_over_ipv6(nodes: Nodes, peerdisco: CommandLine, until: Until) -> None:
    peer_ports, http_ports = free_ports(HOST, 2), free_ports(HOST, 2)

    def start(number: int, *more: str) -> DaemonProcess:
        return nodes(
            f"six-{number}", "--listen", f"[::1]:{peer_ports[number]}",
            "--http", f"[::1]:{http_ports[number]}", *more, wait=False,
        )  # fmt: skip

    first = start(0)
    until(lambda: printed(first, "Join:"), "the first node is ready")
    address = f"[::1]:{http_ports[0]}"
    assert f"http://{address}/" == printed(first, "Look:")
    token = peerdisco("token", "join", peer=address).stdout.split()[-1]
    assert token.endswith(f"@[::1]:{peer_ports[0]}")
    second = start(1, "--join", token)
    until(lambda: printed(second, "Join:"), "the second node is ready")
    other = f"[::1]:{http_ports[1]}"
    until(
        lambda: 2 == sum(row["storage"] for row in peerdisco.json("nodes", peer=other)),
        "both nodes hold data",
    )
    cluster = Cluster(Session(parse_target(other)))
    job = Job("six", cluster).run(
        input=[f"raw://{n}" for n in range(6)], map=lambda line, _: [(line, 1)], partitions=2
    )
    assert 6 == len(list(result_iterator(job.wait(timeout=30))))
    DDFS(cluster).tag("six", ["raw://6"])
    assert [["raw://6"]] == peerdisco.json("ddfs", "urls", "six", peer=address)
    cluster.session.close()
