"""A TCP connection between two kernels: ordered, reliable, and honest about what breaks it.

Loss costs retransmission time. A cut stalls; after 60 s without progress the sender's side ends
with ETIMEDOUT. A killed process resets its connections; a node without power is silent, and once
it is back it answers old connections with a reset. When only the way back is cut, data arrives
but its acknowledgement does not: the sender times out although the receiver has everything.

Between them the two kernels hold at most `PIPE_BYTES` per direction: a receiver that does not read
stops the sender. Simplified: window updates travel for free, there is no congestion control.
The asyncio side is `tcp_transport.py`.
"""

from __future__ import annotations

import collections
import enum
import errno
from typing import TYPE_CHECKING

from peerdisco_sim.addresses import Address

if TYPE_CHECKING:
    from peerdisco_sim.handshake import Listener
    from peerdisco_sim.node import SimNode
    from peerdisco_sim.tcp_transport import TcpTransport
    from peerdisco_sim.world import World

HEADER_BYTES = 40
PIPE_BYTES = 256 * 1024
_SEGMENT_BYTES_MAX = 64 * 1024
_SPLIT_PROBABILITY = 0.05
_RETRY_S_MIN, _RETRY_S_MAX = 0.2, 15.0
_TIMEOUT_S = 60.0
_WIRE_TCP = 2


class Sign(enum.Enum):
    """What travels beside bytes."""

    ACK = b"ack"
    FIN = b"fin"


Item = bytes | Sign


class End:
    """One kernel's half of a connection.

    Attributes:
        address: Own address as the peer sees it.
        peer_address: The peer's.
        transport: What asyncio attached, None before and after.
        received: Bytes that have arrived and were not read yet.
        held: Bytes accepted for sending that the peer's process has not read yet.
        is_closed: The socket is gone; whatever arrives is answered with a reset.
        saw_end: The peer's FIN has arrived.
        error: What the next read or write will raise.
    """

    def __init__(self, connection: Connection, side: int, node: SimNode, address: Address) -> None:
        self.connection = connection
        self.side = side
        self.node = node
        self.address = address
        self.peer_address: Address = ("", 0)
        self.kernel_boot = node.kernel_boot
        self.transport: TcpTransport | None = None
        self.received: collections.deque[bytes] = collections.deque()
        self.held = 0
        self.is_closed = False
        self.saw_end = False
        self.error: OSError | None = None
        self._finished = False
        # Sending: what waits, what is under way, and the number of the current transmission.
        self.waiting: collections.deque[Item] = collections.deque()
        self.under_way: collections.deque[Item] = collections.deque()
        self.transmission = 0
        self.last_arrival = 0.0
        self.unconfirmed = 0
        self.awaits_ack = False
        self.stalled_since: float | None = None
        node.ends[self] = None

    @property
    def is_orphan(self) -> bool:
        """Whether the kernel that knew this connection is gone."""
        return not self.node.is_powered or self.node.kernel_boot != self.kernel_boot

    def room(self) -> int:
        """How many bytes the kernel takes now."""
        return PIPE_BYTES - self.held

    def send(self, data: bytes) -> None:
        """Take bytes for sending; never more than `room`."""
        self.held += len(data)
        draws = self.node.segment_draws
        while data:
            size = min(len(data), _SEGMENT_BYTES_MAX)
            if size > 1 and draws.random() < _SPLIT_PROBABILITY:
                size = draws.randrange(1, size)
            self.waiting.append(data[:size])
            data = data[size:]
        self.connection.transmit(self)

    def finish(self) -> None:
        """Say that nothing more will be sent. Idempotent."""
        if not self._finished:
            self._finished = True
            self.waiting.append(Sign.FIN)
            self.connection.transmit(self)

    def consumed(self, size: int) -> None:
        """The process has read that many bytes: the peer may send more."""
        self.connection.confirm(self.connection.other(self), size)

    def close(self) -> None:
        """Close the socket: a FIN after all that was sent, or a reset when bytes lie unread."""
        if self.is_closed:
            return
        if self.received:
            self.reset()
        else:
            self.finish()
            self._forget()

    def reset(self) -> None:
        """Close the socket and tell the peer that what was under way is lost."""
        if not self.is_closed:
            self._forget()
            self.waiting.clear()
            self.connection.send_reset(self)

    def vanish(self) -> None:
        """The power went: nobody is told anything."""
        self._forget()
        self.waiting.clear()

    def fail(self, error: OSError) -> None:
        """The connection is broken: the process learns it when it reads or writes next."""
        self.error = error
        self.waiting.clear()
        self.under_way.clear()
        self.transmission += 1
        self.wake()

    def wake(self) -> None:
        """Something can be read."""
        if self.transport is not None:
            self.transport.readable()

    def _forget(self) -> None:
        self.is_closed = True
        self.transport = None
        self.received.clear()
        self.node.ends.pop(self, None)


class Connection:
    """Two ends and what is under way between them."""

    def __init__(
        self, world: World, client: tuple[SimNode, Address], server: tuple[SimNode, Address]
    ) -> None:
        self._world = world
        self._network = world.network
        self._listener: Listener | None = None
        self.ends = (End(self, 0, *client), End(self, 1, *server))
        for end in self.ends:
            end.peer_address = self.other(end).address

    def other(self, end: End) -> End:
        """The end opposite to this one."""
        return self.ends[1 - end.side]

    def acknowledge(self, listener: Listener) -> None:
        """The client is connected: when its ACK arrives, the listener gets the other end."""
        self._listener = listener
        self.ends[0].waiting.append(Sign.ACK)
        self.transmit(self.ends[0])

    # -- sending ------------------------------------------------------------------------------

    def transmit(self, end: End) -> None:
        """Put everything that waits on the wire, unless the way is cut."""
        network, world = self._network, self._world
        source, target = end.node.ip, self.other(end).node.ip
        while end.waiting:
            if network.is_cut(source, target):
                self._stall(end)
                return
            item = end.waiting.popleft()
            size = HEADER_BYTES + (len(item) if isinstance(item, bytes) else 0)
            network.traffic.segments_sent += 1
            network.traffic.bytes_sent += size
            when = world.now + network.delay(source, target, size)
            retry_s = _RETRY_S_MIN
            while retry_s < _RETRY_S_MAX and network.is_lost(source, target, 0):
                when += retry_s
                retry_s *= 2
            end.last_arrival = when = max(when, end.last_arrival)
            end.under_way.append(item)
            world.push(when, self._arrive, (end, end.transmission))

    def send_reset(self, end: End) -> None:
        """Tell the other end that this one is gone; lost when the way is cut."""
        source, target = end.node.ip, self.other(end).node.ip
        if not self._network.is_cut(source, target):
            when = self._world.now + self._network.delay(source, target, HEADER_BYTES)
            self._world.push(max(when, end.last_arrival), self._reset_arrives, self.other(end))

    # -- arriving -----------------------------------------------------------------------------

    def _arrive(self, packet: tuple[End, int]) -> None:
        sender, transmission = packet
        if transmission != sender.transmission:
            return
        receiver = self.other(sender)
        if not receiver.node.is_powered or self._network.is_cut(sender.node.ip, receiver.node.ip):
            self._take_back(sender)
            return
        if self._network.is_cut(receiver.node.ip, sender.node.ip):
            sender.awaits_ack = True
            self._stall(sender)
        else:
            sender.stalled_since = None
        item = sender.under_way.popleft()
        data = item if isinstance(item, bytes) else item.value
        self._world.record_wire(_WIRE_TCP, sender.address[1], receiver.address[1], data)
        if receiver.is_closed or receiver.is_orphan:
            if isinstance(item, bytes):
                self.send_reset(receiver)
        elif isinstance(item, bytes):
            receiver.received.append(item)
            receiver.wake()
        elif item is Sign.FIN:
            receiver.saw_end = True
            receiver.wake()
        else:
            self._accept_arrives(receiver)

    def _accept_arrives(self, server: End) -> None:
        listener = self._listener
        if listener is None or listener.loop.dead:
            server.reset()
        else:
            listener.accept(server)

    def _reset_arrives(self, end: End) -> None:
        if end.is_closed or end.is_orphan or end.error is not None:
            return
        end.fail(ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"))

    def confirm(self, sender: End, size: int) -> None:
        """The receiver's process read `size` bytes; the sender learns it unless cut off."""
        receiver = self.other(sender)
        if self._network.is_cut(receiver.node.ip, sender.node.ip):
            sender.unconfirmed += size
            self._stall(sender)
            return
        sender.held -= size
        if sender.transport is not None:
            sender.transport.writable()

    # -- stalling -----------------------------------------------------------------------------

    def _take_back(self, sender: End) -> None:
        """What was under way is lost: it will be sent again, in order."""
        sender.waiting.extendleft(reversed(sender.under_way))
        sender.under_way.clear()
        sender.transmission += 1
        self._stall(sender)

    def _stall(self, sender: End) -> None:
        if sender.stalled_since is None and not sender.is_orphan:
            sender.stalled_since = self._world.now
            retry = (sender, sender.stalled_since, _RETRY_S_MIN)
            self._world.push(self._world.now + _RETRY_S_MIN, self._retry, retry)

    def _retry(self, retry: tuple[End, float, float]) -> None:
        sender, since, interval_s = retry
        if sender.stalled_since != since or sender.is_orphan or sender.error is not None:
            return
        waits = sender.awaits_ack or sender.waiting or sender.under_way
        if waits and self._world.now - since >= _TIMEOUT_S:
            sender.fail(TimeoutError(errno.ETIMEDOUT, "Connection timed out"))
            return
        receiver = self.other(sender)
        there = self._network.is_cut(sender.node.ip, receiver.node.ip)
        back = self._network.is_cut(receiver.node.ip, sender.node.ip)
        if receiver.node.is_powered and not there:
            self.transmit(sender)
            if not back:
                sender.stalled_since, sender.awaits_ack = None, False
                confirmed, sender.unconfirmed = sender.unconfirmed, 0
                self.confirm(sender, confirmed)
                return
        interval_s = min(interval_s * 2, _RETRY_S_MAX)
        self._world.push(self._world.now + interval_s, self._retry, (sender, since, interval_s))
