"""Both ports keep the same promises, and none of aioudp's traps comes through."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aioudp
import pytest

from peerdisco_gossip import port as port_module
from peerdisco_gossip.port import OpenPort, open_aioudp_port, open_asyncio_port
from tests.gossip.port_suite import SUITE, Case, Ear

HOST = "127.0.0.1"


@pytest.mark.parametrize("open_port", [open_aioudp_port, open_asyncio_port])
@pytest.mark.parametrize("case", SUITE, ids=lambda case: case.__name__)
async def test_every_port_keeps_the_promises(case: Case, open_port: OpenPort) -> None:
    before = len(asyncio.all_tasks())
    await case(open_port, HOST)
    assert len(asyncio.all_tasks()) == before


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")
@pytest.mark.parametrize("open_port", [open_aioudp_port, open_asyncio_port])
async def test_a_port_on_all_ipv6_interfaces_speaks_both_families(open_port: OpenPort) -> None:
    ear, old_ear, new_ear = Ear(), Ear(), Ear()
    both = await open_port("::", 0, ear)
    old, new = await open_port(HOST, 0, old_ear), await open_port("::1", 0, new_ear)
    number = both.local_address[1]
    assert old.send((HOST, number), b"four")
    await ear.until(1)
    assert new.send(("::1", number), b"six")
    await ear.until(2)
    assert ear.heard == [(old.local_address, b"four"), (new.local_address, b"six")]
    assert both.send(old.local_address, b"four")
    assert both.send(new.local_address, b"six")
    await old_ear.until(1)
    await new_ear.until(1)
    for port in (both, old, new):
        await port.aclose()


# -- aioudp's traps, by the numbers in port.py


@asynccontextmanager
async def quiet_loop() -> AsyncIterator[list[dict[str, Any]]]:
    """Collects what reaches the loop's exception handler."""
    reports: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: reports.append(context))
    try:
        yield reports
    finally:
        loop.set_exception_handler(None)


def plain_socket() -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bound.bind((HOST, 0))
    return bound


def inner(port: Any) -> asyncio.DatagramProtocol:
    """What asyncio hands datagrams to, below an aioudp port."""
    protocol = port._sender.transport.get_protocol()
    assert isinstance(protocol, asyncio.DatagramProtocol)
    return protocol


async def test_trap_1_the_sender_is_known_although_aioudp_does_not_tell() -> None:
    told: asyncio.Queue[object] = asyncio.Queue()

    async def handler(connection: aioudp.Connection) -> None:
        told.put_nowait(connection.remote_address)
        await connection.recv()

    ear = Ear()
    port = await open_aioudp_port(HOST, 0, ear)
    number = port.local_address[1]
    await port.aclose()
    async with aioudp.serve(HOST, number, handler):
        with plain_socket() as source:
            source.sendto(b"x", (HOST, number))
            async with asyncio.timeout(5):
                assert await told.get() is None

    port = await open_aioudp_port(HOST, 0, ear)
    with plain_socket() as source:
        source.sendto(b"x", port.local_address)
        await ear.until(1)
        assert ear.heard == [(source.getsockname(), b"x")]
    await port.aclose()


async def test_trap_2_forged_sources_leave_neither_tasks_nor_sessions() -> None:
    ear = Ear()
    port = await open_aioudp_port(HOST, 0, ear)
    before = len(asyncio.all_tasks())
    for _ in range(300):
        with plain_socket() as source:
            source.sendto(b"forged", port.local_address)
        await asyncio.sleep(0)
    await ear.until(300)
    for _ in range(3):
        await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == before
    assert len(port._sessions) == 0  # type: ignore[attr-defined]  # the port behind the interface
    await port.aclose()


async def test_trap_2_genuine_sessions_are_capped_and_the_silent_ones_reaped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(port_module, "SESSIONS_MAX", 4)
    ear = Ear()
    port = await open_aioudp_port(HOST, 0, ear)
    before = len(asyncio.all_tasks())
    for number in range(10):
        with plain_socket() as source:
            source.sendto(b"x", port.local_address)
            await ear.until(number + 1)
    for _ in range(3):
        await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) - before == 4
    assert port.stats["sessions_evicted"] == 6
    monkeypatch.setattr(port_module, "SESSION_IDLE_S", -1.0)
    with plain_socket() as source:
        source.sendto(b"x", port.local_address)
        await ear.until(11)
    for _ in range(3):
        await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) - before == 1
    assert port.stats["sessions_reaped"] == 3
    await port.aclose()


async def test_trap_3_no_datagram_behind_a_forged_one_is_lost() -> None:
    ear = Ear()
    port = await open_aioudp_port(HOST, 0, ear)
    protocol = inner(port)
    for word in (b"forged", b"forged", b"1", b"2"):
        protocol.datagram_received(word, (HOST, 7777))
    await ear.until(4)
    assert ear.words == [b"forged", b"forged", b"1", b"2"]
    await port.aclose()


async def test_trap_3_nothing_of_a_long_burst_is_lost() -> None:
    ear = Ear()
    port = await open_aioudp_port(HOST, 0, ear)
    with plain_socket() as source:
        for number in range(1000):
            source.sendto(b"%d" % number, port.local_address)
        await ear.until(1000)
    assert ear.words == [b"%d" % number for number in range(1000)]
    await port.aclose()


async def test_trap_4_a_flood_in_one_turn_is_cut_and_raises_nothing() -> None:
    async with quiet_loop() as reports:
        ear = Ear()
        port = await open_aioudp_port(HOST, 0, ear)
        protocol = inner(port)
        limit = port_module.SESSION_QUEUE_MAX
        for _ in range(limit + 50):
            protocol.datagram_received(b"x", (HOST, 7777))
        await ear.until(limit)
        await asyncio.sleep(0)
        assert len(ear.heard) == limit
        assert port.stats["queue_drops"] == 50
        for number in range(5):
            for _ in range(limit + 50):
                protocol.datagram_received(b"x", (HOST, 7000 + number))
        before = len(asyncio.all_tasks())
        await port.aclose()
        assert len(asyncio.all_tasks()) == before - 6
    assert reports == []


async def test_trap_5_an_exception_of_the_handler_does_not_end_its_session() -> None:
    async with quiet_loop() as reports:
        ear = Ear()
        port = await open_aioudp_port(HOST, 0, ear)
        protocol = inner(port)
        protocol.datagram_received(b"1", (HOST, 7777))
        await ear.until(1)
        protocol.datagram_received(b"raise", (HOST, 7777))
        protocol.datagram_received(b"2", (HOST, 7777))
        await ear.until(3)
        assert len(port._sessions) == 1  # type: ignore[attr-defined]  # the port behind the interface
        await port.aclose()
    assert [type(report["exception"]) for report in reports] == [RuntimeError]


async def test_trap_6_errors_of_the_socket_are_counted_and_not_raised() -> None:
    async with quiet_loop() as reports:
        port = await open_aioudp_port(HOST, 0, Ear())
        assert port.send(("255.255.255.255", 9), b"x") in (True, False)  # EACCES on Linux
        errors = port.stats["socket_errors"]
        inner(port).error_received(OSError("from the depths"))
        assert port.stats["socket_errors"] == errors + 1
        await port.aclose()
    assert reports == []


async def test_trap_7_a_peer_that_never_spoke_can_be_written_to_from_the_bound_port() -> None:
    port = await open_aioudp_port(HOST, 0, Ear())
    with plain_socket() as target:
        target.setblocking(False)
        assert port.send(target.getsockname(), b"hello")
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(5):
            assert await loop.sock_recvfrom(target, 100) == (b"hello", port.local_address)
    await port.aclose()


async def test_trap_8_the_socket_is_found_and_its_buffer_enlarged() -> None:
    port: Any = await open_aioudp_port(HOST, 0, Ear())
    with plain_socket() as ordinary:
        usual = ordinary.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    bound = port._sender.transport.get_extra_info("socket")
    assert bound.getsockname() == port.local_address
    assert bound.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= usual
    await port.aclose()


async def test_trap_9_closing_waits_for_every_handler() -> None:
    ear = Ear()
    before = len(asyncio.all_tasks())
    port = await open_aioudp_port(HOST, 0, ear)
    sources = [plain_socket() for _ in range(5)]
    for source in sources:
        source.sendto(b"x", port.local_address)
    await ear.until(5)
    assert len(asyncio.all_tasks()) == before + 5
    await port.aclose()
    assert len(asyncio.all_tasks()) == before
    for source in sources:
        source.close()
