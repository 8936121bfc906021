"""One UDP socket behind a small interface, and every trap of aioudp in one place.

Two ports, same behaviour: `open_aioudp_port` on aioudp, `open_asyncio_port` on a bare asyncio
protocol. Nothing else in the product knows which one is below it.

aioudp 2.0 keeps a task and an unbounded queue per source address for ever, so a handler here may
keep its session only after `on_datagram` judged a datagram of that source genuine, sessions are
capped and reaped, and their queues bounded. Its other traps, by the numbers that the tests use:

1. `remote_address` is None on the server: the sender is taken from `send_func`'s keywords.
2. State per source that never goes away: judged before kept, capped, reaped when idle.
3. A handler that returns loses what is put into its dying queue until the next turn of the loop:
   a callback that runs just before aioudp forgets the queue takes that out.
4. A bounded queue raises QueueFull into the loop and spoils closing: ours stays unbounded in
   aioudp and is cut here, which is sound because the handler never waits for anything else.
5. Exceptions of handlers are lost: `on_datagram`'s go to the loop's exception handler and counted.
6. `error_received` raises, in the sender's `send` or into the loop: sends are guarded, and a
   small protocol stands in front of aioudp's to take the rest.
7. No sending to a peer that has not spoken: the transport's own `sendto` is captured.
8. Port 0 is not discoverable, the socket unreachable: the port is found first, the transport by
   one greeting to ourselves.
9. Leaving `serve()` does not wait for handlers: `aclose` does.

What this file does not do: authenticate (see `seal.py`) or retry. A full buffer drops and counts.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import socket
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final, Protocol

from peerdisco_gossip.limits import PACKET_BYTES_MAX

if TYPE_CHECKING:
    import aioudp

Address = tuple[str, int]
OnDatagram = Callable[[Address, bytes], bool]
"""Takes a datagram, tells whether it is genuine. Called from the loop; must not block."""

SESSIONS_MAX: Final = 4096
SESSION_IDLE_S: Final = 60.0
SESSION_QUEUE_MAX: Final = 256
SEND_BUFFER_BYTES_MAX: Final = 256 * 1024
RECEIVE_BUFFER_BYTES: Final = 2 * 1024 * 1024
GREETING_TRIES: Final = 20
GREETING_INTERVAL_S: Final = 0.1
PORT_TRIES: Final = 20

_ADDRESSES_CACHED_MAX: Final = 16_384
_GREETING: Final = b"peerdisco: is this my own port?"
_MAPPED: Final = "::ffff:"
_ANY_HOSTS: Final = {"": "0.0.0.0", "*": "0.0.0.0"}  # noqa: S104 - the caller asks for all
_LOOPBACK_OF: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - only compared


class Port(Protocol):
    """A bound UDP socket."""

    @property
    def local_address(self) -> Address:
        """Where it is bound; the port is never 0."""

    @property
    def stats(self) -> dict[str, int]:
        """Counters, by name."""

    def send(self, address: Address, data: bytes) -> bool:
        """Send one datagram; False when it was dropped here. Never raises for the world's sake."""

    async def aclose(self) -> None:
        """Release the socket and everything that serves it. Idempotent."""


class OpenPort(Protocol):
    """Opens a port: `open_aioudp_port` or `open_asyncio_port`."""

    async def __call__(self, host: str, port: int, on_datagram: OnDatagram) -> Port:
        """Bind to the host and port (0: any); raises OSError."""


async def open_asyncio_port(host: str, port: int, on_datagram: OnDatagram) -> Port:
    """A port on a bare asyncio protocol. Raises OSError when it cannot be bound."""
    opened = _AsyncioPort(on_datagram)
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: opened, local_addr=(_ANY_HOSTS.get(host, host), port)
    )
    opened.sender.attach(transport)
    return opened


async def open_aioudp_port(host: str, port: int, on_datagram: OnDatagram) -> Port:
    """A port on aioudp. Raises OSError when it cannot be bound or does not hear itself."""
    host = _ANY_HOSTS.get(host, host)
    tries = 1 if port else PORT_TRIES
    while True:
        tries -= 1
        opened = _AioudpPort(on_datagram)
        try:
            await opened.open(host, port or await _free_port(host))
        except BaseException as error:
            await opened.aclose()
            # Somebody else may have taken the port that was free a moment ago.
            is_taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
            if not tries or not is_taken:
                raise
        else:
            return opened


class _Sender:
    """The sending half, shared by both ports: guarded, checked, never blocking."""

    def __init__(self) -> None:
        self.transport: asyncio.DatagramTransport | None = None
        self.stats = {"sent": 0, "received": 0, "refused": 0, "send_drops": 0, "socket_errors": 0}
        self._is_ipv6 = False
        self._buffered: Callable[[], int] = int
        self.local_address: Address = ("", 0)

    def attach(self, transport: asyncio.DatagramTransport) -> None:
        self.transport = transport
        host, port = transport.get_extra_info("sockname")[:2]
        self.local_address = (host, port)
        self._is_ipv6 = ":" in host
        # Not every loop's transport tells what it holds back.
        self._buffered = getattr(transport, "get_write_buffer_size", int)
        bound = transport.get_extra_info("socket")
        try:
            # A burst of a whole cluster must fit while the loop is busy elsewhere.
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        except (OSError, AttributeError):
            self.stats["socket_errors"] += 1  # the system's default has to do

    def send(self, address: Address, data: bytes) -> bool:
        target = _literal(address, is_ipv6=self._is_ipv6)
        transport = self.transport
        if (
            transport is None
            or transport.is_closing()
            or target is None
            or not 0 < len(data) <= PACKET_BYTES_MAX
            or self._buffered() > SEND_BUFFER_BYTES_MAX
        ):
            self.stats["send_drops"] += 1
            return False
        try:
            transport.sendto(data, target)
        except OSError:
            self.stats["socket_errors"] += 1
            return False
        self.stats["sent"] += 1
        return True

    def judge(self, on_datagram: OnDatagram, address: Address, data: bytes) -> bool:
        """Hand a datagram over; an exception of the handler is reported, not lost (trap 5)."""
        self.stats["received"] += 1
        try:
            genuine = on_datagram(address, data)
        except Exception as error:  # whatever it is, the next datagram must be heard
            self.stats["handler_errors"] = self.stats.get("handler_errors", 0) + 1
            asyncio.get_running_loop().call_exception_handler(
                {"message": "a datagram's handler failed", "exception": error}
            )
            return False
        if not genuine:
            self.stats["refused"] += 1
        return genuine


class _AsyncioPort(asyncio.DatagramProtocol):
    """The plain port: the protocol is the port."""

    def __init__(self, on_datagram: OnDatagram) -> None:
        self.sender = _Sender()
        self._on_datagram = on_datagram
        self._lost = asyncio.get_running_loop().create_future()

    @property
    def local_address(self) -> Address:
        return self.sender.local_address

    @property
    def stats(self) -> dict[str, int]:
        return self.sender.stats

    def send(self, address: Address, data: bytes) -> bool:
        return self.sender.send(address, data)

    async def aclose(self) -> None:
        if self.sender.transport is not None:
            self.sender.transport.close()
            await asyncio.shield(self._lost)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.sender.judge(self._on_datagram, _plain(addr), data)

    def error_received(self, _exc: Exception) -> None:
        self.stats["socket_errors"] += 1

    def connection_lost(self, _exc: Exception | None) -> None:
        if not self._lost.done():
            self._lost.set_result(None)


class _AioudpPort:
    """The port on aioudp: one handler task per source that proved genuine."""

    def __init__(self, on_datagram: OnDatagram) -> None:
        self._sender = _Sender()
        self._on_datagram = on_datagram
        self._served = AsyncExitStack()
        self._greeted = asyncio.Event()
        self._guard: _Guard | None = None
        self._handlers = 0
        self._quiet = asyncio.Event()
        self._quiet.set()
        # From source to (its queue, when it was last heard), longest silent first.
        self._sessions: OrderedDict[Address, tuple[asyncio.Queue[bytes | None], float]] = (
            OrderedDict()
        )
        self.stats.update(sessions_evicted=0, sessions_reaped=0, queue_drops=0)

    @property
    def local_address(self) -> Address:
        return self._sender.local_address

    @property
    def stats(self) -> dict[str, int]:
        return self._sender.stats

    def send(self, address: Address, data: bytes) -> bool:
        return self._sender.send(address, data)

    async def open(self, host: str, port: int) -> None:
        """Serve, and find the transport by greeting ourselves (traps 7 and 8)."""
        import aioudp  # here, so that a distribution may leave it out and use the other port

        await self._served.enter_async_context(aioudp.serve(host, port, self._handle))
        async with aioudp.connect(_LOOPBACK_OF.get(host, host), port) as greeter:
            for _ in range(GREETING_TRIES):
                await greeter.send(_GREETING)
                try:
                    async with asyncio.timeout(GREETING_INTERVAL_S):
                        await self._greeted.wait()
                except TimeoutError:
                    continue
                return
        raise OSError(f"the UDP port {host}:{port} does not hear its own greeting")

    async def aclose(self) -> None:
        await self._served.aclose()
        if self._guard is not None:
            await asyncio.shield(self._guard.lost)
        await self._quiet.wait()
        # aioudp forgets a session in a callback after its handler: let those run (trap 9).
        await asyncio.sleep(0)

    async def _handle(self, connection: aioudp.Connection) -> None:
        """Serve one source for as long as it is worth a task."""
        # Public fields, but typed as callables: what they are is looked up here and nowhere else.
        send: Any = connection.send_func
        receive: Any = connection.recv_func
        queue: asyncio.Queue[bytes | None] = receive.__self__
        address = _plain(send.keywords["addr"])
        if self._sender.transport is None:
            self._capture(send.func.__self__)
        self._handlers += 1
        self._quiet.clear()
        try:
            await self._serve(address, queue)
        finally:
            self._handlers -= 1
            if not self._handlers:
                self._quiet.set()
            if not connection.is_closing():
                # Scheduled before aioudp's own callback, so nothing comes in between (trap 3).
                asyncio.get_running_loop().call_soon(self._judge_all, address, queue)

    async def _serve(self, address: Address, queue: asyncio.Queue[bytes | None]) -> None:
        if not self._prove(address, queue):
            return
        session = self._open_session(address, queue)
        try:
            while (data := await queue.get()) is not None:
                self._sessions[address] = (queue, asyncio.get_running_loop().time())
                self._sessions.move_to_end(address)
                self._sender.judge(self._on_datagram, address, data)
                self._cut(queue)
        finally:
            if self._sessions.get(address, session)[0] is queue:
                self._sessions.pop(address, None)

    def _prove(self, address: Address, queue: asyncio.Queue[bytes | None]) -> bool:
        """Judge what has come until something is genuine (trap 2)."""
        self._cut(queue)
        while not queue.empty():
            data = queue.get_nowait()
            if data is None:
                return False
            if data == _GREETING:
                self._greeted.set()
            elif self._sender.judge(self._on_datagram, address, data):
                return True
        return False

    def _judge_all(self, address: Address, queue: asyncio.Queue[bytes | None]) -> None:
        """Hear what a queue still holds, without keeping anything."""
        while not queue.empty():
            self._prove(address, queue)

    def _open_session(
        self, address: Address, queue: asyncio.Queue[bytes | None]
    ) -> tuple[asyncio.Queue[bytes | None], float]:
        """Keep a source; state grows only here, so here it is bounded."""
        now = asyncio.get_running_loop().time()
        while self._sessions:
            oldest, (_, heard) = next(iter(self._sessions.items()))
            if len(self._sessions) >= SESSIONS_MAX:
                self.stats["sessions_evicted"] += 1
            elif now - heard > SESSION_IDLE_S:
                self.stats["sessions_reaped"] += 1
            else:
                break
            self._sessions.pop(oldest)[0].put_nowait(None)  # ends its handler
        session = self._sessions[address] = (queue, now)
        return session

    def _cut(self, queue: asyncio.Queue[bytes | None]) -> None:
        """Drop what one source sent beyond its limit in one turn of the loop (trap 4)."""
        while queue.qsize() > SESSION_QUEUE_MAX:
            if queue.get_nowait() is None:
                queue.put_nowait(None)  # the end stays the end, behind what is left
                return
            self.stats["queue_drops"] += 1

    def _capture(self, transport: asyncio.DatagramTransport) -> None:
        self._sender.attach(transport)
        self._guard = _Guard(transport.get_protocol(), self.stats)
        try:
            transport.set_protocol(self._guard)
        except NotImplementedError:
            # A transport that cannot change its protocol has no socket whose errors would come.
            self._guard = None


class _Guard(asyncio.DatagramProtocol):
    """Stands between the socket and aioudp's protocol and takes what that would raise (trap 6)."""

    def __init__(self, inner: asyncio.BaseProtocol, stats: dict[str, int]) -> None:
        assert isinstance(inner, asyncio.DatagramProtocol)
        self._inner = inner
        self._stats = stats
        self.lost = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._inner.datagram_received(data, addr)

    def error_received(self, _exc: Exception) -> None:
        self._stats["socket_errors"] += 1

    def connection_lost(self, _exc: Exception | None) -> None:
        self._inner.connection_lost(None)
        if not self.lost.done():
            self.lost.set_result(None)


async def _free_port(host: str) -> int:
    """A port that was free a moment ago: aioudp would not tell which one it got (trap 8)."""
    closed = asyncio.get_running_loop().create_future()

    class Probe(asyncio.DatagramProtocol):
        def connection_lost(self, _exc: Exception | None) -> None:
            closed.set_result(None)

    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        Probe, local_addr=(host, 0)
    )
    port: int = transport.get_extra_info("sockname")[1]
    transport.close()
    await closed
    return port


def _plain(address: tuple[str, int] | tuple[str, int, int, int]) -> Address:
    """Host and port as members are known by, without IPv6's extras."""
    host = address[0]
    return (host.removeprefix(_MAPPED) if "." in host else host, address[1])


@functools.lru_cache(_ADDRESSES_CACHED_MAX)  # every packet is sent to one
def _literal(address: Address, *, is_ipv6: bool) -> Address | None:
    """The address for this socket, or None: a name would block the loop while DNS is asked."""
    host, port = address
    if not 0 < port <= 65535:
        return None
    try:
        socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
    except (OSError, ValueError):
        return None
    if ":" in host:
        return address if is_ipv6 else None
    return (_MAPPED + host, port) if is_ipv6 else address
