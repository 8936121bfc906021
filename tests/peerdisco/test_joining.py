"""Redeeming a join token against a real peer port."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator

import pytest

from peerdisco.addresses import Address
from peerdisco.errors import JoinFailed, JoinRefused
from peerdisco.host.tls import MutualTls
from peerdisco.joining import is_for, join_routes, join_token, redeem_token
from peerdisco.peers import Peers
from peerdisco.security.secrets import ClusterSecret, node_id_of_private
from peerdisco.security.tokens import parse_token

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
        assert SECRET == await redeem_token(parse_token(token_for(address), "pd1"), lambda: NOW)


async def test_an_expired_token_is_refused_in_words() -> None:
    async with cluster() as address:
        token = parse_token(token_for(address, expires_at=NOW - 60), "pd1")
        with pytest.raises(JoinRefused, match="expired 60 s ago") as caught:
            await redeem_token(token, lambda: NOW)
    assert "this machine's clock" not in str(caught.value)


async def test_another_cluster_at_the_address_is_told_nothing() -> None:
    async with cluster(ClusterSecret(bytes(32))) as address:
        with pytest.raises(JoinRefused, match="nothing was sent"):
            await redeem_token(parse_token(token_for(address), "pd1"), lambda: NOW)


async def test_a_silent_address_is_named_with_its_protocol() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = ("127.0.0.1", int(probe.getsockname()[1]))
    with pytest.raises(JoinFailed, match=rf"127\.0\.0\.1:{address[1]}: no answer by TCP"):
        await redeem_token(parse_token(token_for(address), "pd1"), lambda: NOW)


async def test_the_next_address_of_a_token_is_tried() -> None:
    async with cluster() as address:
        token = join_token(SECRET, (("127.0.0.1", 1), address), NOW + 60, bytes(8))
        assert SECRET == await redeem_token(parse_token(token, "pd1"), lambda: NOW)


async def test_a_refused_joiner_is_told_how_far_the_clocks_are_apart() -> None:
    async with cluster() as address:
        token = parse_token(token_for(address, expires_at=NOW - 60), "pd1")
        with pytest.raises(JoinRefused, match="clock is 2 h 5 min behind that node's"):
            await redeem_token(token, lambda: NOW - 7500)


async def test_a_joiner_whose_clock_is_off_joins_and_is_warned(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with cluster() as address:
        token = parse_token(token_for(address), "pd1")
        assert SECRET == await redeem_token(token, lambda: NOW + 86400)
    assert "clock is 24 h 0 min ahead of that node's" in caplog.text


async def test_an_impostor_at_the_first_address_does_not_hide_the_second() -> None:
    async with cluster(ClusterSecret(bytes(32))) as impostor, cluster() as address:
        token = join_token(SECRET, (impostor, address), NOW + 60, bytes(8))
        assert SECRET == await redeem_token(parse_token(token, "pd1"), lambda: NOW)


def test_a_token_tells_whose_it_is() -> None:
    token = parse_token(token_for(("127.0.0.1", 1), expires_at=0), "pd1")
    assert is_for(token, SECRET)
    assert not is_for(token, ClusterSecret(bytes(32)))
