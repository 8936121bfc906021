"""Channels: payloads reach their handler with the sender's name, and nobody else does."""

from __future__ import annotations

import asyncio

import pytest

from peerdisco_gossip.datagrams import CHANNEL_DHT, CHANNEL_GOSSIP, Datagrams
from peerdisco_gossip.keys import KeyRing, id_from_bytes
from peerdisco_gossip.limits import PAYLOAD_BYTES_MAX
from peerdisco_gossip.port import Address, OnDatagram, Port
from peerdisco_gossip.seal import Seal

KEY = b"k" * 32
ALICE, BOB = id_from_bytes(b"a" * 20), id_from_bytes(b"b" * 20)


class Wire:
    """Ports that deliver at once, by address."""

    def __init__(self) -> None:
        self.ports: dict[Address, OnDatagram] = {}
        self.packets: list[bytes] = []

    async def open_port(self, host: str, port: int, on_datagram: OnDatagram) -> Port:
        self.ports[(host, port)] = on_datagram
        return WirePort(self, (host, port))


class WirePort:
    def __init__(self, wire: Wire, address: Address) -> None:
        self._wire = wire
        self._address = address
        self.stats = {"sent": 0}

    @property
    def local_address(self) -> Address:
        return self._address

    def send(self, address: Address, data: bytes) -> bool:
        self._wire.packets.append(data)
        self._wire.ports[address](self._address, data)
        return True

    async def aclose(self) -> None:
        del self._wire.ports[self._address]


async def opened(wire: Wire, me: str, host: str, key: bytes = KEY) -> Datagrams:
    seal = Seal(KeyRing([key]), me, b"12345678")
    return await Datagrams.open(me, seal, host, 8990, wire.open_port)


async def test_a_payload_reaches_the_handler_of_its_channel_with_the_senders_name() -> None:
    wire = Wire()
    alice, bob = await opened(wire, ALICE, "10.0.0.1"), await opened(wire, BOB, "10.0.0.2")
    heard: list[tuple[str, Address, bytes]] = []
    bob.subscribe(CHANNEL_GOSSIP, lambda *_: pytest.fail("the wrong channel"))
    bob.subscribe(CHANNEL_DHT, lambda *what: heard.append(what))
    assert alice.send(bob.local_address, CHANNEL_DHT, b"find")
    assert heard == [(ALICE, ("10.0.0.1", 8990), b"find")]


async def test_the_longest_payload_passes_and_a_longer_one_is_dropped() -> None:
    wire = Wire()
    alice, bob = await opened(wire, ALICE, "10.0.0.1"), await opened(wire, BOB, "10.0.0.2")
    heard: list[bytes] = []
    bob.subscribe(CHANNEL_DHT, lambda _who, _where, what: heard.append(what))
    assert alice.send(bob.local_address, CHANNEL_DHT, bytes(PAYLOAD_BYTES_MAX))
    assert not alice.send(bob.local_address, CHANNEL_DHT, bytes(PAYLOAD_BYTES_MAX + 1))
    assert [len(payload) for payload in heard] == [PAYLOAD_BYTES_MAX]
    assert alice.stats["too_long"] == 1


async def test_a_stranger_without_the_key_is_not_heard() -> None:
    wire = Wire()
    stranger = await opened(wire, ALICE, "10.0.0.1", b"x" * 32)
    bob = await opened(wire, BOB, "10.0.0.2")
    heard: list[bytes] = []
    bob.subscribe(CHANNEL_GOSSIP, lambda _who, _where, what: heard.append(what))
    stranger.send(bob.local_address, CHANNEL_GOSSIP, b"let me in")
    assert heard == []
    assert bob.stats["forged"] == 1


async def test_own_packets_that_come_back_are_dropped() -> None:
    wire = Wire()
    alice = await opened(wire, ALICE, "10.0.0.1")
    alice.subscribe(CHANNEL_GOSSIP, lambda *_: pytest.fail("heard itself"))
    alice.send(alice.local_address, CHANNEL_GOSSIP, b"echo")
    assert alice.stats["own"] == 1


async def test_a_channel_without_a_handler_is_counted() -> None:
    wire = Wire()
    alice, bob = await opened(wire, ALICE, "10.0.0.1"), await opened(wire, BOB, "10.0.0.2")
    alice.send(bob.local_address, 77, b"")
    assert bob.stats["no_handler"] == 1


async def test_two_nodes_talk_over_real_sockets() -> None:
    alice, bob = [
        await Datagrams.open(me, Seal(KeyRing([KEY]), me, b"12345678"), "127.0.0.1", 0)
        for me in (ALICE, BOB)
    ]
    heard: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()
    bob.subscribe(CHANNEL_GOSSIP, lambda who, _where, what: heard.put_nowait((who, what)))
    assert alice.send(bob.local_address, CHANNEL_GOSSIP, b"hello")
    async with asyncio.timeout(5):
        assert await heard.get() == (ALICE, b"hello")
    await alice.aclose()
    await bob.aclose()
    assert not alice.send(bob.local_address, CHANNEL_GOSSIP, b"late")
