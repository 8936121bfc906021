"""What every port promises, as functions that take the way to open one.

They touch no socket of their own, so they run on any loop that has datagram endpoints.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from peerdisco_gossip.limits import PACKET_BYTES_MAX
from peerdisco_gossip.port import Address, OpenPort

Case = Callable[[OpenPort, str], Awaitable[None]]


class Ear:
    """Remembers what was heard; everything but b"forged" is genuine."""

    def __init__(self) -> None:
        self.heard: list[tuple[Address, bytes]] = []
        self._changed = asyncio.Event()

    def __call__(self, address: Address, data: bytes) -> bool:
        self.heard.append((address, data))
        self._changed.set()
        if data == b"raise":
            raise RuntimeError("the handler has a bug")
        return data != b"forged"

    @property
    def words(self) -> list[bytes]:
        return [data for _, data in self.heard]

    async def until(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.heard) < count:
                self._changed.clear()
                await self._changed.wait()


async def a_datagram_arrives_with_the_address_to_answer_to(open_port: OpenPort, host: str) -> None:
    here, there = Ear(), Ear()
    one, two = await open_port(host, 0, here), await open_port(host, 0, there)
    assert one.send(two.local_address, b"ping")
    await there.until(1)
    assert there.heard == [(one.local_address, b"ping")]
    assert two.send(there.heard[0][0], b"pong")
    await here.until(1)
    assert here.heard == [(two.local_address, b"pong")]
    await one.aclose()
    await two.aclose()


async def port_zero_takes_a_free_port_and_tells_which(open_port: OpenPort, host: str) -> None:
    one, two = await open_port(host, 0, Ear()), await open_port(host, 0, Ear())
    assert one.local_address[0] == host
    assert 0 < one.local_address[1] != two.local_address[1] > 0
    await one.aclose()
    await two.aclose()


async def a_taken_port_is_an_os_error_and_a_released_one_is_free(
    open_port: OpenPort, host: str
) -> None:
    one = await open_port(host, 0, Ear())
    number = one.local_address[1]
    try:
        await open_port(host, number, Ear())
    except OSError:
        pass
    else:
        raise AssertionError("the port was taken twice")
    await one.aclose()
    again = await open_port(host, number, Ear())
    assert again.local_address == (host, number)
    await again.aclose()


async def all_interfaces_may_be_bound(open_port: OpenPort, host: str) -> None:
    for anywhere in ("", "0.0.0.0"):
        ear = Ear()
        one, two = await open_port(anywhere, 0, ear), await open_port(host, 0, Ear())
        assert two.send((host, one.local_address[1]), b"hello")
        await ear.until(1)
        assert ear.heard == [(two.local_address, b"hello")]
        await one.aclose()
        await two.aclose()


async def many_datagrams_of_one_source_arrive_in_order(open_port: OpenPort, host: str) -> None:
    ear = Ear()
    one, two = await open_port(host, 0, Ear()), await open_port(host, 0, ear)
    for number in range(100):
        assert one.send(two.local_address, b"%d" % number)
    await ear.until(100)
    assert sorted(ear.words, key=int) == [b"%d" % number for number in range(100)]
    await one.aclose()
    await two.aclose()


async def forged_datagrams_do_not_spoil_genuine_ones(open_port: OpenPort, host: str) -> None:
    ear = Ear()
    one, two = await open_port(host, 0, Ear()), await open_port(host, 0, ear)
    for word in (b"forged", b"1", b"forged", b"2", b"3"):
        one.send(two.local_address, word)
    await ear.until(5)
    assert sorted(ear.words) == [b"1", b"2", b"3", b"forged", b"forged"]
    assert two.stats["refused"] == 2
    await one.aclose()
    await two.aclose()


async def a_failing_handler_is_reported_and_the_next_datagram_heard(
    open_port: OpenPort, host: str
) -> None:
    reports: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: reports.append(context))
    try:
        ear = Ear()
        one, two = await open_port(host, 0, Ear()), await open_port(host, 0, ear)
        for word in (b"1", b"raise", b"2"):
            one.send(two.local_address, word)
        await ear.until(3)
        assert sorted(ear.words) == [b"1", b"2", b"raise"]
        assert two.stats["handler_errors"] == 1
        assert [type(report["exception"]) for report in reports] == [RuntimeError]
        await one.aclose()
        await two.aclose()
    finally:
        loop.set_exception_handler(None)


async def what_cannot_be_sent_is_dropped_and_counted(open_port: OpenPort, host: str) -> None:
    port = await open_port(host, 0, Ear())
    target = port.local_address
    assert not port.send(("localhost", 8990), b"x")  # a name would ask DNS, blocking
    assert not port.send((host, 0), b"x")
    assert not port.send((host, 65536), b"x")
    assert not port.send(("::1", 8990), b"x")
    assert not port.send(target, b"")
    assert not port.send(target, bytes(PACKET_BYTES_MAX + 1))
    assert port.send(target, bytes(PACKET_BYTES_MAX))
    assert port.stats["send_drops"] == 6
    await port.aclose()


async def a_closed_port_sends_nothing_and_closes_again(open_port: OpenPort, host: str) -> None:
    port = await open_port(host, 0, Ear())
    await port.aclose()
    await port.aclose()
    assert not port.send(port.local_address, b"x")


SUITE: list[Case] = [
    a_datagram_arrives_with_the_address_to_answer_to,
    port_zero_takes_a_free_port_and_tells_which,
    a_taken_port_is_an_os_error_and_a_released_one_is_free,
    all_interfaces_may_be_bound,
    many_datagrams_of_one_source_arrive_in_order,
    forged_datagrams_do_not_spoil_genuine_ones,
    a_failing_handler_is_reported_and_the_next_datagram_heard,
    what_cannot_be_sent_is_dropped_and_counted,
    a_closed_port_sends_nothing_and_closes_again,
]
