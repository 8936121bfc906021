"""A client string pins its cluster: nothing is sent to a node that cannot prove to be in it."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from peerdisco.client import Cluster, Refused
from peerdisco.client.connection import unchecked_context
from peerdisco.client.errors import NoCluster, WrongCluster
from peerdisco.client.resolve import is_node
from peerdisco.client.session import Session
from peerdisco.client.target import Target, parse_target
from peerdisco.security.certificates import (
    authority_certificate,
    fingerprint,
    node_certificate,
    private_key_pem,
)
from peerdisco.security.secrets import ClusterSecret
from peerdisco_webui import Access, by_token, serving

if TYPE_CHECKING:
    from tests.webui.backend import Backend

SECRET = ClusterSecret(b"s" * 32)
PRIVATE_KEY = b"k" * 32


def authority() -> bytes:
    return authority_certificate(SECRET).public_bytes(Encoding.PEM)


def server_context(directory: Path) -> ssl.SSLContext:
    chain = node_certificate(SECRET, PRIVATE_KEY).public_bytes(Encoding.PEM)
    (directory / "chain").write_bytes(chain)
    (directory / "key").write_bytes(private_key_pem(PRIVATE_KEY))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "chain", directory / "key")
    return context


@pytest.fixture
def address(tmp_path: Path, make_backend: Callable[[], Backend]) -> Iterator[tuple[str, int]]:
    """A node that serves TLS and wants a token."""
    ready = threading.Event()
    found: list[Any] = []

    async def main() -> None:
        app = make_backend().app(
            authorize=by_token(lambda token: Access.ADMIN if token == "good" else Access.PUBLIC),
            authority_pem=authority(),
        )
        stop = asyncio.Event()
        async with serving(app, "127.0.0.1", 0, context=server_context(tmp_path)) as bound:
            found.extend([asyncio.get_running_loop(), stop, bound])
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    ready.wait()
    loop, stop, bound = found
    yield bound
    loop.call_soon_threadsafe(stop.set)
    thread.join()


def pin() -> str:
    return fingerprint(authority_certificate(SECRET).public_bytes(Encoding.DER))


def test_the_right_cluster_is_trusted(address: tuple[str, int]) -> None:
    text = f"pdc1.{pin()}.good@{address[0]}:{address[1]}"
    session = Session(parse_target(text))
    assert Cluster(session).status().facts.name == "node-a"
    blob = Cluster(session).put_blob(b"secret")
    with Cluster(session).open_blob(blob.id) as file:
        assert file.read() == b"secret"
    session.close()


def test_another_cluster_is_not(address: tuple[str, int]) -> None:
    session = Session(Target((address,), "a" * 24, "good"))
    with pytest.raises(WrongCluster, match="does not belong") as caught:
        Cluster(session).status()
    assert caught.value.exit_code == 4


def test_a_bad_token_is_refused(address: tuple[str, int]) -> None:
    session = Session(Target((address,), pin(), "bad"))
    with pytest.raises(Refused, match="peerdisco token create") as caught:
        Cluster(session).status()
    assert caught.value.status == 401


def test_a_plain_request_is_told_that_the_node_may_want_a_client_string(
    address: tuple[str, int],
) -> None:
    cluster = Cluster(Session(Target((address,)), patience_s=0.0))
    with pytest.raises(NoCluster, match="use its client string"):
        cluster.status()


def test_a_node_that_serves_tls_is_known_for_one(address: tuple[str, int]) -> None:
    """Otherwise a program would start an embedded node beside the node of its machine."""
    assert not is_node(address)
    assert is_node(address, unchecked_context())
