"""What takes the place of `socket.socket` inside the world: a name for an address, without I/O.

asyncio creates, binds and listens on sockets itself; all data moves through the transports of
`udp.py` and `tcp_transport.py`. Reading or writing a socket directly raises EscapedSimulation.
"""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, Any, NoReturn, Self

from peerdisco_sim.addresses import ANY, LOCALHOST, Address, is_loopback, resolve
from peerdisco_sim.ambient import running_world
from peerdisco_sim.errors import EscapedSimulation

if TYPE_CHECKING:
    from peerdisco_sim.handshake import Listener
    from peerdisco_sim.node import SimNode
    from peerdisco_sim.tcp import End
    from peerdisco_sim.udp import UdpTransport

_EPHEMERAL_FIRST, _EPHEMERAL_LAST = 32_768, 60_999


class Ports:
    """Which sockets of one kind (UDP or TCP) are bound on one node."""

    def __init__(self) -> None:
        self.forwarded: tuple[int, ...] = ()
        """Ports whose loopback listener other machines reach, as through an SSH tunnel."""
        self._bound: dict[Address, SimSocket] = {}
        self._next = _EPHEMERAL_FIRST

    def bind(self, sock: SimSocket, ip: str, port: int) -> Address:
        """Reserve a port, a free one for 0; raises OSError when it is taken."""
        port = port or self.free_port()
        clash = [key for key in self._bound if key[1] == port and ANY in (ip, key[0])]
        if clash or (ip, port) in self._bound:
            raise OSError(errno.EADDRINUSE, f"Address already in use: {ip}:{port}")
        self._bound[ip, port] = sock
        return ip, port

    def free_port(self) -> int:
        """The next ephemeral port that nobody has bound."""
        taken = {port for _, port in self._bound}
        for _ in range(_EPHEMERAL_LAST - _EPHEMERAL_FIRST):
            self._next += 1
            if self._next > _EPHEMERAL_LAST:
                self._next = _EPHEMERAL_FIRST
            if self._next not in taken:
                return self._next
        raise OSError(errno.EADDRNOTAVAIL, "no ephemeral port is free")

    def find(self, ip: str, port: int) -> SimSocket | None:
        """The socket that receives what is sent to this address."""
        found = self._bound.get((ip, port)) or self._bound.get((ANY, port))
        if found is None and port in self.forwarded:
            return self._bound.get((LOCALHOST, port))
        return found

    def release(self, address: Address, sock: SimSocket) -> None:
        """Give a port back."""
        if self._bound.get(address) is sock:
            del self._bound[address]

    def clear(self) -> None:
        """The process is gone."""
        self._bound.clear()


class SimSocket:
    """An IPv4 socket of a node, as far as asyncio looks at one."""

    def __init__(
        self,
        family: int = socket.AF_INET,
        type: int = socket.SOCK_STREAM,  # noqa: A002 - the signature of socket.socket
        proto: int = 0,
        fileno: int | None = None,
    ) -> None:
        world = running_world()
        if world is None or world.current is None:
            raise EscapedSimulation("a simulated socket needs a node")
        if fileno is not None:
            world.escaped("a socket around a file descriptor")
        if family not in (socket.AF_INET, -1):
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        self.family = socket.AF_INET
        self.type = socket.SocketKind(type & 0xF)
        self.proto = proto
        self.node: SimNode = world.current
        self.local: Address | None = None
        self.peer: Address | None = None
        self.listener: Listener | None = None
        self.end: End | None = None
        self.endpoint: UdpTransport | None = None
        self.listening = False

    @classmethod
    def of_end(cls, end: End) -> SimSocket:
        """The socket of an accepted connection."""
        sock = cls()
        sock.end, sock.local, sock.peer = end, end.address, end.peer_address
        return sock

    @property
    def ports(self) -> Ports:
        """Where this kind of socket is bound on its node."""
        node = self.node
        return node.udp_ports if self.type == socket.SOCK_DGRAM else node.tcp_ports

    def bind(self, address: Any) -> None:
        """Reserve a local address."""
        ip = resolve(self.node.world, address[0])
        if ip not in (ANY, self.node.ip) and not is_loopback(ip):
            raise OSError(errno.EADDRNOTAVAIL, f"Cannot assign requested address: {ip}")
        self.local = self.ports.bind(self, ip, int(address[1]))

    def bind_towards(self, ip: str) -> Address:
        """Make sure that there is a local address fit for talking to `ip`; returns it."""
        if self.local is None:
            own = LOCALHOST if is_loopback(ip) else self.node.ip
            self.local = self.ports.bind(self, own, 0)
        return self.local

    def connect_datagrams(self, address: Address) -> None:
        """Fix the peer of a UDP socket."""
        self.bind_towards(address[0])
        self.peer = address

    def listen(self, backlog: int = 100) -> None:  # noqa: ARG002 - the listener has it
        """Let others connect, as soon as the loop serves this socket."""
        if self.local is None:
            self.bind((ANY, 0))
        self.listening = True

    def close(self) -> None:
        """Give the address back. The connection itself belongs to the transport."""
        self.listener = None
        if self.local is not None:
            self.ports.release(self.local, self)
        if self.end is not None and self.end.transport is None:
            self.end.close()

    def getsockname(self) -> Address:
        """The local address."""
        return self.local or (ANY, 0)

    def getpeername(self) -> Address:
        """The peer's address."""
        if self.peer is None:
            raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")
        return self.peer

    def fileno(self) -> int:
        """There is no file descriptor."""
        return -1

    def setsockopt(self, *_: Any) -> None:
        """Accepted and without effect."""

    def getsockopt(self, *_: Any) -> int:
        """Nothing is ever pending."""
        return 0

    def setblocking(self, flag: bool) -> None:
        """Every simulated socket is non-blocking."""

    def settimeout(self, value: float | None) -> None:
        """Every simulated socket is non-blocking."""

    def gettimeout(self) -> float:
        """Every simulated socket is non-blocking."""
        return 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _escape(self, *_: Any, **__: Any) -> NoReturn:
        self.node.world.escaped("direct socket I/O")

    connect = connect_ex = accept = send = sendall = sendto = sendmsg = _escape
    recv = recv_into = recvfrom = recvfrom_into = recvmsg = makefile = sendfile = _escape
