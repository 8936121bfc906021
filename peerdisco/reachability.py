"""Does a datagram reach a node and come back?

A join goes over TCP, membership over UDP. A firewall that lets only one of them pass would make a
member that everybody soon declares dead, so a joining node asks first and can name the culprit.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import Callable
from typing import Protocol

from peerdisco.addresses import Address

CHANNEL = 3
ASK, ANSWER = b"?", b"!"
INTERVAL_S = 0.25


class Datagrams(Protocol):
    """Sealed datagrams."""

    def send(self, address: Address, channel: int, payload: bytes) -> bool:
        """Send to an address; False when dropped."""

    def subscribe(self, channel: int, handler: Callable[[str, Address, bytes], None]) -> None:
        """Receive what arrives on a channel."""


class Reachability:
    """Answers the question for other nodes, and asks it."""

    def __init__(self, datagrams: Datagrams) -> None:
        self._datagrams = datagrams
        self._answered = asyncio.Event()
        datagrams.subscribe(CHANNEL, self._on_datagram)

    async def reach(self, addresses: list[Address], *, timeout: float) -> bool:
        """Whether any of the addresses answers by UDP within `timeout` seconds."""
        self._answered.clear()
        try:
            async with asyncio.timeout(timeout):
                numeric = await _resolve(addresses)
                while not self._answered.is_set():
                    for address in numeric:
                        self._datagrams.send(address, CHANNEL, ASK)
                    await asyncio.sleep(INTERVAL_S)
        except TimeoutError:
            return self._answered.is_set()
        return True

    def _on_datagram(self, _: str, address: Address, payload: bytes) -> None:
        if payload == ASK:
            self._datagrams.send(address, CHANNEL, ANSWER)
        elif payload == ANSWER:
            self._answered.set()


async def _resolve(addresses: list[Address]) -> list[Address]:
    """Names replaced by all that they stand for; a name that nobody knows is left out."""
    numeric: list[Address] = []
    for host, port in addresses:
        try:
            numeric.append((str(ipaddress.ip_address(host)), port))
            continue
        except ValueError:
            pass
        with contextlib.suppress(OSError):
            found = await asyncio.get_running_loop().getaddrinfo(host, port)
            numeric += [(str(entry[4][0]), port) for entry in found]
    return list(dict.fromkeys(numeric))
