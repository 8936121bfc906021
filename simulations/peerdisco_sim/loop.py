"""One node's event loop: the stock asyncio loop with its engine room exchanged.

Everything above the operating system is inherited from `BaseEventLoop` (servers, connecting,
name resolution order, TLS, sendfile fallback, argument checks), so it cannot drift from what runs
in production. Replaced are the clock and the queues, which are the world's, and the few private
methods by which a stock loop reaches sockets. What is not simulated raises `EscapedSimulation`.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
import socket
import ssl as ssl_module
from asyncio import base_events, sslproto
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from peerdisco_sim import addresses
from peerdisco_sim.failures import describe
from peerdisco_sim.handshake import Dial, Listener
from peerdisco_sim.sockets import SimSocket
from peerdisco_sim.tasks import AnyCoroutine, SimFuture, SimTask
from peerdisco_sim.tcp_transport import TcpTransport
from peerdisco_sim.udp import UdpTransport

if TYPE_CHECKING:
    from peerdisco_sim.node import SimNode
    from peerdisco_sim.tcp import End

T = TypeVar("T")
_EXECUTOR_S_MIN, _EXECUTOR_S_MAX = 50e-6, 500e-6


class NodeLoop(base_events.BaseEventLoop):
    """The event loop of one boot of one node.

    Attributes:
        dead: The process is gone: no handle of this loop will ever run again.
        busy_until: World time until which the process gets no CPU.
        cost_s: CPU time that every handle takes; 0 for a node without load.
    """

    def __init__(self, node: SimNode) -> None:
        super().__init__()
        self.node = node
        self.world = node.world
        self.number = node.number
        self.dead = False
        self.busy_until = 0.0
        self.cost_s = 0.0
        self.signal_handlers: dict[int, tuple[Callable[..., object], tuple[Any, ...]]] = {}
        self.generator_hooks = (self._asyncgen_firstiter_hook, self._asyncgen_finalizer_hook)  # type: ignore[attr-defined]  # private to asyncio
        self._executor_delays = node.stream("executor")

    # -- scheduling ---------------------------------------------------------------------------

    def time(self) -> float:
        """Seconds on this node's monotonic clock, which drifts."""
        node = self.node
        return self.world.now * node.clock_rate + node.clock_offset

    def call_soon(  # type: ignore[override]  # typeshed's variadic signature
        self,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        """Queue a handle behind all that are ready in the world."""
        handle = asyncio.Handle(callback, args, self, context)
        self.world.ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]  # there are no threads here

    def call_at(  # type: ignore[override]  # typeshed's variadic signature
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Queue a timer. When it fires, `time()` is not less than `when`."""
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        node, now = self.node, self.world.now
        at = (when - node.clock_offset) / node.clock_rate
        # Rounding must not let the timer fire a hair early: a caller that waits again for the
        # rest would spin at one instant for ever.
        while at * node.clock_rate + node.clock_offset < when:
            at = math.nextafter(at, math.inf)
        self.world.push_timer(max(at, now), timer)
        timer._scheduled = True  # type: ignore[attr-defined]  # private to asyncio
        return timer

    def call_later(  # type: ignore[override]  # typeshed's variadic signature
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Queue a timer that far from now on this node's clock."""
        if delay is None:
            raise TypeError("delay must not be None")
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        if handle._scheduled:  # type: ignore[attr-defined]  # private to asyncio
            self.world.timer_cancelled()

    def create_task(  # type: ignore[override]  # newer versions pass more keywords
        self,
        coro: AnyCoroutine[T],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
        **_: Any,
    ) -> asyncio.Task[T]:
        """A task with a number; never eager, so that all versions run in the same order."""
        order = self.world.next_order()
        name = name or f"{self.node.name}#{order}"
        task = SimTask(coro, order=order, loop=self, name=name, context=context)
        self.world.tasks.add(task)
        if self.dead:
            # A finalizer of the dead process: what it starts never runs, and nobody is to blame.
            coro.close()
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # private to asyncio
        return task

    def create_future(self) -> asyncio.Future[Any]:
        """A future with a number."""
        return SimFuture(self.world.next_order(), self)

    def run_in_executor(  # type: ignore[override]  # typeshed's variadic signature
        self, executor: Any, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Run the function inline, a little later: there are no threads in the world."""
        del executor
        future: asyncio.Future[T] = self.create_future()
        context = contextvars.copy_context()
        delay = self._executor_delays.uniform(_EXECUTOR_S_MIN, _EXECUTOR_S_MAX)

        def run() -> None:
            if future.cancelled():
                return
            try:
                result = context.run(func, *args)
            except (SystemExit, KeyboardInterrupt):
                raise
            except StopIteration as error:
                future.set_exception(RuntimeError(f"{func!r} raised {error!r}"))
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)

        self.call_later(delay, run)
        return future

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Nothing to do: there are no threads."""

    # -- life ---------------------------------------------------------------------------------

    def is_running(self) -> bool:
        """Whether this loop's handle is being executed."""
        return asyncio._get_running_loop() is self

    def is_closed(self) -> bool:
        """Whether the process is gone."""
        return self.dead

    def _check_closed(self) -> None:
        if self.dead:
            raise RuntimeError("Event loop is closed")

    def close(self) -> None:
        """The world ends loops; nobody inside can."""

    def stop(self) -> None:
        """Refused: a node ends by returning from its main coroutine."""
        self.world.escaped("loop.stop")

    def get_debug(self) -> bool:
        """Off: debug mode reads clocks and stack traces for every handle."""
        return False

    def run_forever(self) -> None:
        """Refused: the world drives all loops."""
        self.world.escaped("loop.run_forever")

    def run_until_complete(self, future: Any) -> NoReturn:
        """Refused: the world drives all loops."""
        del future
        self.world.escaped("loop.run_until_complete")

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """An exception that nobody handles is a failure of the world."""
        if not self.dead:
            self.world.fail("unhandled exception", describe(context), self.node.name)

    def add_signal_handler(  # type: ignore[override]  # typeshed's variadic signature
        self, sig: int, callback: Callable[..., object], *args: Any
    ) -> None:
        """Remember the handler: `SimNode.signal` calls it."""
        self.signal_handlers[sig] = (callback, args)

    def remove_signal_handler(self, sig: int) -> bool:
        """Forget the handler."""
        return self.signal_handlers.pop(sig, None) is not None

    def __del__(self) -> None:
        """Nothing to warn about: no file descriptor is open."""

    # -- names and sockets --------------------------------------------------------------------

    async def getaddrinfo(
        self,
        host: Any,
        port: Any,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002 - asyncio's signature
        proto: int = 0,
        flags: int = 0,
    ) -> list[tuple[Any, ...]]:
        """IPv4 addresses of node names, of literals and of the node itself."""
        del family, flags
        await asyncio.sleep(0)
        ip = addresses.resolve(self.world, host)
        kind = socket.SocketKind(type or socket.SOCK_STREAM)
        return [(socket.AF_INET, kind, proto, "", (ip, int(port or 0)))]

    async def getnameinfo(self, sockaddr: Any, flags: int = 0) -> tuple[str, str]:
        """The numbers themselves: the world has no reverse names."""
        del flags
        return str(sockaddr[0]), str(sockaddr[1])

    async def sock_connect(self, sock: Any, address: Any) -> None:
        """Connect a simulated socket: a handshake for TCP, a note of the peer for UDP."""
        ip = addresses.resolve(self.world, address[0])
        if sock.type == socket.SOCK_DGRAM:
            sock.connect_datagrams((ip, address[1]))
            return
        dial = Dial(sock, (ip, address[1]), self.create_future())
        dial.start()
        await dial.established

    def _make_socket_transport(
        self,
        sock: SimSocket,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None = None,
        *,
        extra: dict[str, Any] | None = None,
        server: Any = None,
        **_: Any,
    ) -> TcpTransport:
        return TcpTransport(self, sock, protocol, waiter, extra, server)

    def _make_ssl_transport(
        self,
        rawsock: SimSocket,
        protocol: asyncio.BaseProtocol,
        sslcontext: ssl_module.SSLContext,
        waiter: asyncio.Future[None] | None = None,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        extra: dict[str, Any] | None = None,
        server: Any = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        **_: Any,
    ) -> asyncio.BaseTransport:
        tls = sslproto.SSLProtocol(
            self,
            protocol,
            sslcontext,
            waiter,  # type: ignore[arg-type]  # the accepting side has none
            server_side,
            server_hostname,
            ssl_handshake_timeout=ssl_handshake_timeout,  # type: ignore[arg-type]  # None is the default
            ssl_shutdown_timeout=ssl_shutdown_timeout,
        )
        TcpTransport(self, rawsock, tls, None, extra, server)
        return tls._app_transport

    def _make_datagram_transport(
        self,
        sock: SimSocket,
        protocol: asyncio.DatagramProtocol,
        address: Any = None,
        waiter: asyncio.Future[None] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> UdpTransport:
        del address  # the socket knows its peer
        return UdpTransport(self, sock, protocol, waiter, extra)

    def _start_serving(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        sock: SimSocket,
        sslcontext: ssl_module.SSLContext | None = None,
        server: Any = None,
        backlog: int = 100,
        *_: Any,
        **__: Any,
    ) -> None:
        context = contextvars.copy_context()

        def accept(end: End) -> None:
            listener.waiting -= 1
            if sock.listener is not listener:
                end.reset()
                return
            protocol = protocol_factory()
            accepted = SimSocket.of_end(end)
            extra = {"peername": end.peer_address}
            if sslcontext is None:
                self._make_socket_transport(accepted, protocol, extra=extra, server=server)
            else:
                self._make_ssl_transport(
                    accepted, protocol, sslcontext, server_side=True, extra=extra, server=server
                )

        def queue(end: End) -> None:
            listener.waiting += 1
            self.call_soon(accept, end, context=context)

        listener = Listener(self, queue, backlog)
        sock.listener = listener

    def _stop_serving(self, sock: SimSocket) -> None:
        sock.close()


def _escape(self: NodeLoop, *_: Any, **__: Any) -> NoReturn:
    self.world.escaped("raw sockets, pipes, threads and subprocesses")


_NOT_SIMULATED = (
    "add_reader add_writer remove_reader remove_writer "
    "_add_reader _add_writer _remove_reader _remove_writer "
    "sock_recv sock_recv_into sock_recvfrom sock_recvfrom_into "
    "sock_sendall sock_sendto sock_accept sock_sendfile "
    "subprocess_exec subprocess_shell connect_read_pipe connect_write_pipe "
    "create_unix_connection create_unix_server connect_accepted_socket"
)
for _name in _NOT_SIMULATED.split():
    setattr(NodeLoop, _name, _escape)
