"""Datagrams: a transport that behaves like asyncio's, and the way of a packet to its target.

A packet meets loss, duplication and reordering in `network.py`. A socket's receive buffer is
finite, as the kernel's is: what a paused node does not take in time is dropped. Sending to a live
node where nobody listens makes a connected sender see ConnectionRefusedError (ICMP).
"""

from __future__ import annotations

import asyncio
import contextvars
import errno
import sys
from asyncio import futures, trsock
from typing import TYPE_CHECKING, Any

from peerdisco_sim.addresses import Address, resolve

if TYPE_CHECKING:
    from peerdisco_sim.loop import NodeLoop
    from peerdisco_sim.node import SimNode
    from peerdisco_sim.sockets import SimSocket

_DATAGRAM_BYTES_MAX = 65_507
_RECEIVE_BUFFER_BYTES = 212_992
_WIRE_UDP = 1


class UdpTransport(asyncio.DatagramTransport):
    """One UDP socket of one node."""

    def __init__(
        self,
        loop: NodeLoop,
        sock: SimSocket,
        protocol: asyncio.DatagramProtocol,
        waiter: asyncio.Future[None] | None,
        extra: dict[str, Any] | None,
    ) -> None:
        super().__init__(extra)
        self._extra["socket"] = trsock.TransportSocket(sock)  # type: ignore[attr-defined,arg-type]  # private to asyncio
        self._extra["sockname"] = sock.getsockname()  # type: ignore[attr-defined]  # likewise
        self._extra["peername"] = sock.peer  # type: ignore[attr-defined]  # likewise
        self._loop = loop
        self._world = loop.world
        self._network = loop.world.network
        self._node: SimNode = loop.node
        self._sock = sock
        self._protocol = protocol
        self._context = contextvars.copy_context()
        self._closing = False
        self._connected = False
        self._buffered_bytes = 0
        sock.endpoint = self
        loop.call_soon(self._connect)
        if waiter is not None:
            loop.call_soon(futures._set_result_unless_cancelled, waiter, None)  # type: ignore[attr-defined]  # private to asyncio

    def _connect(self) -> None:
        self._connected = True
        self._protocol.connection_made(self)

    # -- sending ------------------------------------------------------------------------------

    def sendto(self, data: Any, addr: Any = None) -> None:
        """Send one datagram, or drop it silently as networks do."""
        if type(data) is not bytes:
            if not isinstance(data, bytes | bytearray | memoryview):
                raise TypeError(f"data argument must be bytes-like, not {type(data).__name__!r}")
            data = bytes(data)
        if (not data and sys.version_info < (3, 13)) or self._closing:
            return
        peer = self._sock.peer
        if peer is not None:
            if addr not in (None, peer):
                raise ValueError(f"Invalid address: must be None or {peer}")
            target = peer
        else:
            target = (resolve(self._world, addr[0]), addr[1])
        if len(data) > _DATAGRAM_BYTES_MAX:
            self._protocol.error_received(OSError(errno.EMSGSIZE, "Message too long"))
            return
        self._send(target, data)

    def _send(self, address: Address, data: bytes) -> None:
        network, own = self._network, self._node
        traffic = network.traffic
        traffic.datagrams_sent += 1
        traffic.bytes_sent += len(data)
        node, address = network.route(own, address)
        local = self._sock.local or self._sock.bind_towards(address[0])
        source = (address[0] if node is own else own.ip, local[1])
        if network.tap is not None:
            tapped = network.tap(source, address, data)
            if tapped is None:
                return
            data = tapped
        if node is None:
            traffic.datagrams_lost += 1
            return
        delays = network.datagram_delays(own.ip, node.ip, len(data))
        if not delays:
            traffic.datagrams_lost += 1
        for delay in delays:
            when = self._world.now + delay
            self._world.push(when, _arrive, (self, node, source, address, data))

    # -- receiving ----------------------------------------------------------------------------

    def receive(self, data: bytes, source: Address) -> None:
        """The kernel has a datagram for this socket."""
        world, loop = self._world, self._loop
        if self._connected and loop.busy_until <= world.now:
            world.enter(loop)
            try:
                self._context.run(self._protocol.datagram_received, data, source)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:
                self._report(error, "datagram_received")
            return
        if self._buffered_bytes + len(data) > _RECEIVE_BUFFER_BYTES:
            self._network.traffic.datagrams_lost += 1
            return
        self._buffered_bytes += len(data)
        loop.call_soon(self._receive_later, data, source, context=self._context)

    def _receive_later(self, data: bytes, source: Address) -> None:
        self._buffered_bytes -= len(data)
        if not self._closing:
            self._protocol.datagram_received(data, source)

    def refuse(self) -> None:
        """Nobody listens at the peer: an ICMP message says so, to connected sockets only."""
        if self._closing or self._sock.peer is None:
            return
        error = ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
        self._loop.call_soon(self._protocol.error_received, error, context=self._context)

    def _report(self, error: BaseException, where: str) -> None:
        self._loop.call_exception_handler(
            {
                "message": f"Fatal error: protocol.{where}() call failed.",
                "exception": error,
                "transport": self,
                "protocol": self._protocol,
            }
        )

    # -- the rest of the interface ------------------------------------------------------------

    def is_closing(self) -> bool:
        """Whether close was called."""
        return self._closing

    def get_protocol(self) -> asyncio.BaseProtocol:
        """The protocol that receives."""
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Exchange the protocol that receives."""
        assert isinstance(protocol, asyncio.DatagramProtocol)
        self._protocol = protocol

    def get_write_buffer_size(self) -> int:
        """Always 0: the simulated kernel takes every datagram at once."""
        return 0

    def abort(self) -> None:
        """The same as close: nothing is buffered."""
        self.close()

    def close(self) -> None:
        """Give the port back; `connection_lost` follows."""
        if self._closing:
            return
        self._closing = True
        self._sock.close()
        self._loop.call_soon(self._protocol.connection_lost, None)


def _arrive(packet: tuple[UdpTransport, SimNode, Address, Address, bytes]) -> None:
    sender, node, source, address, data = packet
    world = node.world
    traffic = world.network.traffic
    sock = node.udp_ports.find(*address) if node.is_powered else None
    if sock is None or sock.endpoint is None:
        traffic.datagrams_lost += 1
        if node.is_powered:
            world.push(world.now, _refuse, sender)
        return
    if sock.peer is not None and sock.peer != source:
        traffic.datagrams_lost += 1
        return
    traffic.datagrams_delivered += 1
    world.record_wire(_WIRE_UDP, source[1], address[1] ^ node.number, data)
    sock.endpoint.receive(data, source)


def _refuse(sender: UdpTransport) -> None:
    if not sender._loop.dead:
        sender.refuse()
