"""A node that cannot start says why, with the right exit code, and leaves everything as it was."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from peerdisco import DDFS
from peerdisco.client import Cluster
from peerdisco.demo.nodes import HOST, DaemonProcess, join_token_of
from peerdisco.host.ports import free_ports
from peerdisco.membership import Seeds
from peerdisco.messages import encode
from peerdisco.security.secrets import ClusterSecret
from peerdisco.security.tokens import make_grant

if TYPE_CHECKING:
    from tests.peerdisco.end_to_end.conftest import CommandLine, Nodes

pytestmark = pytest.mark.slow

Connect = Callable[[DaemonProcess], Cluster]
USAGE, UNREACHABLE, CONFIGURATION = 2, 4, 78
JOIN_S = 15.0


class NewNode:
    """Options of a node that is about to be refused."""

    def __init__(self, root: Path) -> None:
        self.root = root / "refused"
        self.peer_port, self.http_port = free_ports(HOST, 2)

    def options(self, *more: str, listen: str = "", http: str = "") -> list[str]:
        return [
            "--data", str(self.root),
            "--listen", listen or f"{HOST}:{self.peer_port}",
            "--http", http or f"{HOST}:{self.http_port}",
            *more,
        ]  # fmt: skip

    @property
    def has_identity(self) -> bool:
        """Whether anything but the marks of a data directory was written."""
        return (self.root / "identity").exists()


@pytest.fixture
def new(tmp_path: Path) -> NewNode:
    return NewNode(tmp_path)


@contextlib.contextmanager
def taken(kind: socket.SocketKind) -> Iterator[int]:
    """A port that somebody else has."""
    with socket.socket(type=kind) as other:
        other.bind((HOST, 0))
        if kind is socket.SOCK_STREAM:
            other.listen()
        yield other.getsockname()[1]


@pytest.mark.parametrize(
    ("kind", "name"), [(socket.SOCK_STREAM, "TCP"), (socket.SOCK_DGRAM, "UDP")]
)
def test_a_taken_peer_port_is_named_with_its_protocol(
    new: NewNode, peerdisco: CommandLine, kind: socket.SocketKind, name: str
) -> None:
    with taken(kind) as port:
        done = peerdisco(*new.options(listen=f"{HOST}:{port}"), code=CONFIGURATION)
    assert f"cannot listen on {HOST}:{port} ({name}): Address already in use" in done.stderr
    assert "--listen" in done.stderr
    assert not new.has_identity


def test_a_taken_client_port_is_named(new: NewNode, peerdisco: CommandLine) -> None:
    with taken(socket.SOCK_STREAM) as port:
        done = peerdisco(*new.options(http=f"{HOST}:{port}"), code=CONFIGURATION)
    assert f"cannot listen on {HOST}:{port} (TCP)" in done.stderr
    assert "--http" in done.stderr


def test_addresses_and_options_that_are_none_are_refused(
    new: NewNode, peerdisco: CommandLine
) -> None:
    done = peerdisco(*new.options(listen="127.0.0.1:nonsense"), code=CONFIGURATION)
    assert "--listen: not an address" in done.stderr
    done = peerdisco(*new.options("--advertise", "a b"), code=CONFIGURATION)
    assert "--advertise: not an address" in done.stderr
    done = peerdisco(*new.options("--slots", "0"), code=USAGE)
    assert "--slots" in done.stderr
    done = peerdisco("frobnicate", code=USAGE)
    assert "frobnicate" in done.stderr
    assert not new.has_identity


def test_a_foreign_directory_stays_as_it_is(
    new: NewNode, peerdisco: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "refused").mkdir()
    (tmp_path / "refused" / "thesis.doc").write_text("precious")
    done = peerdisco(*new.options(), code=CONFIGURATION)
    assert "not a peerdisco data directory: it holds thesis.doc" in done.stderr
    assert ["thesis.doc"] == os.listdir(new.root)


def test_a_directory_that_cannot_be_used_is_named(new: NewNode, peerdisco: CommandLine) -> None:
    """Root may read everything, but not even root makes directories in /proc."""
    if os.geteuid() == 0:
        directory, why = "/proc/peerdisco", "No such file or directory"
    else:
        new.root.mkdir(mode=0)
        directory, why = str(new.root), "Permission denied"
    done = peerdisco("--data", directory, code=CONFIGURATION)
    assert f"{directory} cannot be used: {why}" in done.stderr


def test_a_damaged_identity_is_refused_and_not_replaced(
    new: NewNode, nodes: Nodes, peerdisco: CommandLine
) -> None:
    node = nodes("damaged")
    node.stop()
    key = node.root / "identity" / "node.key"
    key.write_text("scribble")
    done = peerdisco("--data", str(node.root), code=CONFIGURATION)
    assert "identity/node.key in the data directory is damaged" in done.stderr
    assert "scribble" == key.read_text()


def test_a_directory_in_use_is_refused_with_the_process(
    three: list[DaemonProcess], new: NewNode, peerdisco: CommandLine
) -> None:
    done = peerdisco(*new.options("--data", str(three[0].root)), code=CONFIGURATION)
    assert f"in use by the peerdisco with process id {three[0].pid}" in done.stderr


@pytest.mark.parametrize("token", ["nonsense", "pdc1.a.b@c", "", "pd1.short.AA@127.0.0.1:1"])
def test_a_malformed_token_is_refused_unsent(
    new: NewNode, peerdisco: CommandLine, token: str
) -> None:
    done = peerdisco(*new.options("--join", "-"), stdin=token + "\n", code=CONFIGURATION)
    assert "--join: not a token of the form pd1." in done.stderr
    assert not new.has_identity


def tampered(token: str, *, grant: str) -> str:
    head, _, hosts = token.partition("@")
    return f"{head.rpartition('.')[0]}.{grant}@{hosts}"


def test_a_forged_or_expired_token_is_refused_by_the_cluster(
    three: list[DaemonProcess], new: NewNode, peerdisco: CommandLine
) -> None:
    token = join_token_of(three[0])
    forged = tampered(token, grant=make_grant(ClusterSecret(bytes(32)), "join", 2e9, bytes(8)))
    done = peerdisco(*new.options("--join", forged), code=CONFIGURATION)
    assert "the cluster refused: this cluster did not issue the token" in done.stderr

    secret = bytes.fromhex((three[0].root / "identity" / "cluster.secret").read_text())
    grant = make_grant(ClusterSecret(secret), "join", time.time() - 7200, bytes(8))
    done = peerdisco(*new.options("--join", tampered(token, grant=grant)), code=CONFIGURATION)
    assert "the token expired 720" in done.stderr
    assert "compare the clocks" in done.stderr
    # A token for programs does not let machines in.
    grant = make_grant(ClusterSecret(secret), "api", time.time() + 60, bytes(8))
    peerdisco(*new.options("--join", tampered(token, grant=grant)), code=CONFIGURATION)
    assert not new.has_identity


def test_a_token_of_another_cluster_is_told_apart_before_anything_is_sent(
    three: list[DaemonProcess], nodes: Nodes, new: NewNode, peerdisco: CommandLine
) -> None:
    other = nodes("other")
    elsewhere = join_token_of(other).partition("@")[0] + f"@{HOST}:{three[0].peer_port}"
    done = peerdisco(*new.options("--join", elsewhere), code=CONFIGURATION)
    assert f"{HOST}:{three[0].peer_port}: not the cluster that issued the token" in done.stderr
    assert not new.has_identity


def test_an_address_where_nothing_listens_is_named(
    three: list[DaemonProcess], new: NewNode, peerdisco: CommandLine
) -> None:
    nobody = free_ports(HOST, 1)[0]
    token = join_token_of(three[0]).partition("@")[0] + f"@{HOST}:{nobody}"
    done = peerdisco(*new.options("--join", token), code=UNREACHABLE)
    assert f"{HOST}:{nobody}: no answer by TCP (Connection refused)" in done.stderr
    assert not new.has_identity


def test_an_address_that_stays_silent_is_named_in_time(
    three: list[DaemonProcess], new: NewNode, peerdisco: CommandLine
) -> None:
    with taken(socket.SOCK_STREAM) as port:
        token = join_token_of(three[0]).partition("@")[0] + f"@{HOST}:{port}"
        started = time.monotonic()
        done = peerdisco(*new.options("--join", token), code=UNREACHABLE)
        assert time.monotonic() - started < JOIN_S
    assert f"{HOST}:{port}: no answer by TCP in 5 s" in done.stderr


@contextlib.contextmanager
def tcp_only(target: int) -> Iterator[int]:
    """A port that passes TCP on to another one, and no datagrams: a firewall."""
    done = threading.Event()

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def serve(listener: socket.socket, pairs: contextlib.ExitStack) -> None:
        while not done.is_set():
            with contextlib.suppress(TimeoutError):
                near = pairs.enter_context(listener.accept()[0])
                near.settimeout(30)
                far = pairs.enter_context(socket.create_connection((HOST, target), 30))
                for ends in ((near, far), (far, near)):
                    thread = threading.Thread(target=pump, args=ends)
                    thread.start()
                    threads.append(thread)

    threads: list[threading.Thread] = []
    with socket.create_server((HOST, 0)) as listener, contextlib.ExitStack() as pairs:
        listener.settimeout(0.1)
        server = threading.Thread(target=serve, args=(listener, pairs))
        server.start()
        try:
            yield listener.getsockname()[1]
        finally:
            done.set()
            server.join()
            for thread in threads:
                thread.join()


def test_udp_that_is_blocked_while_tcp_works_is_named(
    three: list[DaemonProcess], new: NewNode, peerdisco: CommandLine
) -> None:
    with tcp_only(three[0].peer_port) as port:
        token = join_token_of(three[0]).partition("@")[0] + f"@{HOST}:{port}"
        started = time.monotonic()
        done = peerdisco(*new.options("--join", token), code=UNREACHABLE)
        assert time.monotonic() - started < JOIN_S
    assert f"{HOST}:{port} answers by TCP, but no datagram came back by UDP" in done.stderr
    assert not new.has_identity


def test_a_node_with_data_does_not_leave_it_behind(
    three: list[DaemonProcess], nodes: Nodes, peerdisco: CommandLine, connect_to: Connect
) -> None:
    """One with an empty cluster of its own joins, and believes in one agreement only."""
    rich, poor = nodes("rich"), nodes("poor")
    DDFS(connect_to(rich)).tag("precious", ["raw://x"])
    rich.stop()
    ports = ("--listen", f"{HOST}:{rich.peer_port}", "--http", rich.http)
    token = join_token_of(three[0])
    done = peerdisco("--data", str(rich.root), *ports, "--join", token, code=CONFIGURATION)
    assert "holds data of another cluster" in done.stderr
    rich.start()
    rich.wait_ready()
    assert [["raw://x"]] == DDFS(connect_to(rich)).urls("precious")

    host = nodes("host")
    poor.stop()
    poor.start(join_token_of(host))
    poor.wait_ready(members=2)
    assert connect_to(host).status().facts.cluster == connect_to(poor).status().facts.cluster
    assert connect_to(host).status().facts.epoch == connect_to(poor).status().facts.epoch
    assert "layout_changed" not in poor.log.read_text().rpartition("cluster of 2 nodes")[2]


def test_a_node_with_a_wrong_secret_learns_nothing_and_is_not_seen(
    three: list[DaemonProcess], nodes: Nodes, connect_to: Connect, until: Callable[..., None]
) -> None:
    """It knows where the cluster is, and its key is as good as any: it still is nobody."""
    stranger = nodes("stranger", join=join_token_of(nodes("host")))
    stranger.stop()
    (stranger.root / "identity" / "cluster.secret").write_text(bytes(32).hex())
    (stranger.root / "identity" / "roster").unlink(missing_ok=True)
    seeds = Seeds(tuple((HOST, node.peer_port) for node in three))
    (stranger.root / "identity" / "seeds").write_bytes(encode(seeds))
    before = len(stranger.log.read_text())
    stranger.start()
    until(lambda: "join_failed" in stranger.log.read_text()[before:], "it knocks")
    time.sleep(1.5)  # and sends datagrams
    members = connect_to(three[0]).members()
    assert ["node-1", "node-2", "node-3"] == sorted(member.name for member in members)
    told = stranger.log.read_text()[before:]
    for member in members:
        assert member.id not in told
