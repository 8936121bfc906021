"""Redeeming a join token against a real peer port."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator

import pytest

from peerdisco.errors import JoinFailed
from peerdisco.host.tls import MutualTls
from peerdisco.joining import join_routes, join_token, redeem_token
from peerdisco.peers import Peers
from peerdisco.security.secrets import ClusterSecret, node_id_of_private
from peerdisco.security.tokens import Address, parse_token

SECRET = ClusterSecret(bytes(range(32)))
KEY = bytes(32)
NOW = 1000.0


@contextlib.asynccontextmanager
async def cluster(secret: ClusterSecret = SECRET) -> AsyncIterator[Address]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    security = MutualTls(secret.raw, KEY)
    me = node_id_of_private(KEY)
    peers = Peers(me, security, lambda _: None, lambda *_: None, lambda _: None)
    async with peers.listening("127.0.0.1", port, join_routes(secret, lambda: NOW)):
        yield "127.0.0.1", port


def token_for(address: Address, *, expires_at: float = NOW + 60) -> str:
    return join_token(SECRET, (address,), expires_at, bytes(8))


async def test_a_good_token_brings_the_secret() -> None:
    async with cluster() as address:
        assert SECRET == await redeem_token(parse_token(token_for(address), "pd1"))


async def test_an_expired_token_is_refused_in_words() -> None:
    async with cluster() as address:
        token = parse_token(token_for(address, expires_at=NOW - 60), "pd1")
        with pytest.raises(JoinFailed, match="expired 60 s ago"):
            await redeem_token(token)


async def test_another_cluster_at_the_address_is_told_nothing() -> None:
    async with cluster(ClusterSecret(bytes(32))) as address:
        with pytest.raises(JoinFailed, match="Nothing was sent"):
            await redeem_token(parse_token(token_for(address), "pd1"))


async def test_a_silent_address_is_named_with_its_protocol() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = ("127.0.0.1", int(probe.getsockname()[1]))
    with pytest.raises(JoinFailed, match=rf"127\.0\.0\.1:{address[1]}: no answer by TCP"):
        await redeem_token(parse_token(token_for(address), "pd1"))


async def test_the_next_address_of_a_token_is_tried() -> None:
    async with cluster() as address:
        token = join_token(SECRET, (("127.0.0.1", 1), address), NOW + 60, bytes(8))
        assert SECRET == await redeem_token(parse_token(token, "pd1"))
