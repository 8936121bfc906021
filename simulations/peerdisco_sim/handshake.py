"""How a TCP connection comes about: SYN, SYN-ACK, ACK.

A live node where nobody listens refuses at once; a node without power, a cut or a full backlog is
silence, and the SYN is repeated after 1, 2, 4, ... seconds until the attempt is given up.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from typing import TYPE_CHECKING

from peerdisco_sim.addresses import Address
from peerdisco_sim.tcp import HEADER_BYTES, Connection, End

if TYPE_CHECKING:
    from peerdisco_sim.loop import NodeLoop
    from peerdisco_sim.node import SimNode
    from peerdisco_sim.sockets import SimSocket

_FIRST_RETRY_S = 1.0
_GIVE_UP_S = 63.0


class Listener:
    """A listening socket that the loop serves.

    Attributes:
        loop: The loop of the process that listens.
        accept: Hands an established connection to the node.
        backlog: How many may wait to be accepted.
        waiting: How many do.
    """

    def __init__(self, loop: NodeLoop, accept: Callable[[End], None], backlog: int) -> None:
        self.loop = loop
        self.accept = accept
        self.backlog = backlog
        self.waiting = 0


class Dial:
    """One attempt to connect a socket; `established` completes or fails as connect() would."""

    def __init__(
        self, sock: SimSocket, address: Address, established: asyncio.Future[None]
    ) -> None:
        self.established = established
        self._sock = sock
        self._node: SimNode = sock.node
        self._world = sock.node.world
        self._network = sock.node.world.network
        self._target, self._address = self._network.route(sock.node, address)
        local = sock.bind_towards(self._address[0])
        own = self._address[0] if self._target is self._node else self._node.ip
        self._local = (own, local[1])
        self._retry_s = _FIRST_RETRY_S
        self._waited_s = 0.0

    def start(self) -> None:
        """Send the first SYN."""
        self._send_syn(None)

    @property
    def _is_over(self) -> bool:
        return self.established.done() or self._node.loop is not self._loop

    @property
    def _loop(self) -> asyncio.AbstractEventLoop:
        return self.established.get_loop()

    def _send_syn(self, _: None) -> None:
        if self._is_over:
            return
        if self._waited_s >= _GIVE_UP_S:
            error = TimeoutError(errno.ETIMEDOUT, f"Connect call failed {self._address}")
            self.established.set_exception(error)
            return
        world, target = self._world, self._target
        if target is not None and not self._is_dropped(self._node, target):
            delay = self._network.delay(self._node.ip, target.ip, HEADER_BYTES)
            world.push(world.now + delay, self._syn_arrives, target)
        world.push(world.now + self._retry_s, self._send_syn, None)
        self._waited_s += self._retry_s
        self._retry_s *= 2

    def _is_dropped(self, source: SimNode, target: SimNode) -> bool:
        network = self._network
        return network.is_cut(source.ip, target.ip) or network.is_lost(
            source.ip, target.ip, HEADER_BYTES
        )

    def _syn_arrives(self, target: SimNode) -> None:
        if self._is_over or not target.is_powered or self._is_dropped(target, self._node):
            return
        sock = target.tcp_ports.find(*self._address)
        listener = None if sock is None else sock.listener
        if listener is not None and listener.waiting >= listener.backlog:
            return
        delay = self._network.delay(target.ip, self._node.ip, HEADER_BYTES)
        self._world.push(self._world.now + delay, self._answer_arrives, (target, listener))

    def _answer_arrives(self, answer: tuple[SimNode, Listener | None]) -> None:
        target, listener = answer
        if self._is_over:
            return
        if listener is None:
            error = ConnectionRefusedError(
                errno.ECONNREFUSED, f"Connect call failed {self._address}"
            )
            self.established.set_exception(error)
            return
        self._network.traffic.connections += 1
        connection = Connection(self._world, (self._node, self._local), (target, self._address))
        self._sock.end = connection.ends[0]
        self._sock.peer = self._address
        connection.acknowledge(listener)
        self.established.set_result(None)
