"""Sealed datagrams with channels: what gossip, DHT and elections share on one UDP port.

A payload is sealed together with the number of its channel and handed to that channel's handler
with the name of its authenticated sender. Delivery is best effort: everything that cannot be sent
or judged genuine is dropped and counted. The limits are those of `limits.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from peerdisco_gossip.limits import PAYLOAD_BYTES_MAX
from peerdisco_gossip.port import Address, OpenPort, Port, open_aioudp_port
from peerdisco_gossip.seal import Seal

CHANNEL_GOSSIP: Final = 0
CHANNEL_DHT: Final = 1
CHANNEL_HEARTBEATS: Final = 2

_PREFIXES: Final = tuple(bytes((channel,)) for channel in range(256))

Handler = Callable[[str, Address, bytes], None]
"""Takes the sender's id, the address it wrote from, and the payload."""


class Datagrams:
    """One UDP socket, sealed, with channels. Made by `open`, released by `aclose`."""

    def __init__(self, me: str, seal: Seal) -> None:
        self._me = me
        self._seal = seal
        self._port: Port | None = None
        self._handlers: dict[int, Handler] = {}
        self._stats = {"own": 0, "no_handler": 0, "too_long": 0}

    @classmethod
    async def open(
        cls, me: str, seal: Seal, host: str, port: int, open_port: OpenPort = open_aioudp_port
    ) -> Datagrams:
        """Bind the socket; port 0 takes any. Raises OSError when that fails."""
        opened = cls(me, seal)
        opened._port = await open_port(host, port, opened._receive)
        return opened

    @property
    def local_address(self) -> Address:
        """Where the socket is bound."""
        assert self._port is not None
        return self._port.local_address

    @property
    def stats(self) -> dict[str, int]:
        """A copy of all counters, of the port and the seal too."""
        port = self._port.stats if self._port is not None else {}
        return {**port, **self._seal.stats, **self._stats}

    def send(self, address: Address, channel: int, payload: bytes) -> bool:
        """Seal and send; False when it was dropped. The payload is at most PAYLOAD_BYTES_MAX."""
        if self._port is None:
            return False
        if len(payload) > PAYLOAD_BYTES_MAX:
            self._stats["too_long"] += 1
            return False
        return self._port.send(address, self._seal.seal(_PREFIXES[channel] + payload))

    def subscribe(self, channel: int, handler: Handler) -> None:
        """Hand every payload of a channel to this handler, which must not block."""
        assert channel not in self._handlers, f"channel {channel} has a handler"
        self._handlers[channel] = handler

    async def aclose(self) -> None:
        """Release the socket. Idempotent."""
        if self._port is not None:
            await self._port.aclose()

    def _receive(self, address: Address, packet: bytes) -> bool:
        opened = self._seal.open(packet)
        if opened is None:
            return False
        sender, payload = opened
        if sender == self._me:
            self._stats["own"] += 1  # reflected, or a copy of this node's data directory runs
            return False
        handler = self._handlers.get(payload[0]) if payload else None
        if handler is None:
            self._stats["no_handler"] += 1
            return True
        handler(sender, address, payload[1:])
        return True
