"""The asyncio side of a connection: reading, writing, flow control, closing.

It follows the stock selector transport call by call (what is called when, with which arguments,
and what an exception in a callback does); the conformance suite compares the two.
"""

from __future__ import annotations

import asyncio
import contextvars
import errno
import sys
from asyncio import constants, futures, protocols, transports, trsock
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from peerdisco_sim.loop import NodeLoop
    from peerdisco_sim.sockets import SimSocket

_READ_BYTES_MAX = 256 * 1024


class TcpTransport(transports._FlowControlMixin, asyncio.Transport):
    """One process's hold on one end of a connection."""

    _start_tls_compatible = True
    _sendfile_compatible = constants._SendfileMode.FALLBACK

    def __init__(
        self,
        loop: NodeLoop,
        sock: SimSocket,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None,
        extra: dict[str, Any] | None,
        server: Any,
    ) -> None:
        super().__init__(extra, loop)
        assert sock.end is not None, "the socket is not connected"
        self._extra["socket"] = trsock.TransportSocket(sock)  # type: ignore[attr-defined,arg-type]  # private to asyncio
        self._extra["sockname"] = sock.getsockname()  # type: ignore[attr-defined]  # likewise
        self._extra.setdefault("peername", sock.peer)  # type: ignore[attr-defined]  # likewise
        self._order = loop.world.next_order()  # servers keep transports in a set
        self._loop: NodeLoop = loop
        self._sock = sock
        self._end = sock.end
        self._end.transport = self
        self._context = contextvars.copy_context()
        self._buffer = bytearray()
        self._reading = False
        self._paused = False
        self._read_queued = False
        self._write_queued = False
        self._closing = False
        self._lost = False
        self._eof_written = False
        self._eof_seen = False
        self._empty_waiter: asyncio.Future[None] | None = None
        self._server = server
        self.set_protocol(protocol)
        if server is not None:
            server._attach(self) if sys.version_info >= (3, 13) else server._attach()
        loop.call_soon(protocol.connection_made, self)
        loop.call_soon(self._start_reading)
        if waiter is not None:
            loop.call_soon(futures._set_result_unless_cancelled, waiter, None)  # type: ignore[attr-defined]  # private to asyncio

    def __hash__(self) -> int:
        return self._order

    def __repr__(self) -> str:
        return f"<TcpTransport {self._end.address} -> {self._end.peer_address}>"

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Exchange the protocol, as TLS and WebSocket upgrades do."""
        self._protocol: Any = protocol
        self._is_buffered = isinstance(protocol, asyncio.BufferedProtocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """The protocol that receives."""
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol

    # -- reading ------------------------------------------------------------------------------

    def _start_reading(self) -> None:
        self._reading = True
        self.readable()

    def readable(self) -> None:
        """The kernel has something: bytes, the end, or an error."""
        if not self._reading or self._paused or self._closing or self._read_queued:
            return
        loop = self._loop
        if loop.busy_until > loop.world.now or loop.world.current is loop.node:
            self._read_queued = True
            loop.call_soon(self._read_later, context=self._context)
            return
        loop.world.enter(loop)
        self._context.run(self._read_ready)

    def _read_later(self) -> None:
        self._read_queued = False
        if not self._paused and not self._closing:
            self._read_ready()

    def _read_ready(self) -> None:
        end = self._end
        if end.received:
            data = end.received.popleft()
            while end.received and len(data) + len(end.received[0]) <= _READ_BYTES_MAX:
                data += end.received.popleft()
            end.consumed(len(data))
            self._deliver(data)
            self.readable_again()
        elif end.error is not None:
            self._force_close(end.error)
        elif end.saw_end and not self._eof_seen:
            self._eof_seen = True
            self._deliver_end()

    def readable_again(self) -> None:
        """Go on reading when more is there, giving others their turn first."""
        end = self._end
        if end.received or end.error is not None or (end.saw_end and not self._eof_seen):
            if self._paused or self._closing or self._read_queued:
                return
            self._read_queued = True
            self._loop.call_soon(self._read_later, context=self._context)

    def _deliver(self, data: bytes) -> None:
        try:
            if self._is_buffered:
                protocols._feed_data_to_buffered_proto(self._protocol, data)  # type: ignore[attr-defined]  # private to asyncio
            else:
                self._protocol.data_received(data)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self._fatal_error(error, "Fatal error: protocol.data_received() call failed.")

    def _deliver_end(self) -> None:
        try:
            keep_open = self._protocol.eof_received()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self._fatal_error(error, "Fatal error: protocol.eof_received() call failed.")
            return
        if not keep_open:
            self.close()

    def is_reading(self) -> bool:
        """Whether data is passed on as it comes."""
        return not self._paused and not self._closing

    def pause_reading(self) -> None:
        """Leave data in the kernel, which will stop the sender."""
        if self.is_reading():
            self._paused = True

    def resume_reading(self) -> None:
        """Take data again."""
        if self._paused and not self._closing:
            self._paused = False
            self.readable_again()

    # -- writing ------------------------------------------------------------------------------

    def write(self, data: Any) -> None:
        """Give bytes to the kernel, or keep those that it has no room for."""
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(f"data argument must be bytes-like, not {type(data).__name__!r}")
        if self._eof_written:
            raise RuntimeError("Cannot call write() after write_eof()")
        if self._empty_waiter is not None:
            raise RuntimeError("unable to write; sendfile is in progress")
        if not data or self._lost or self._end.is_closed:
            return
        if self._end.error is not None:
            self._force_close(self._end.error)
            return
        data = bytes(data)
        if not self._buffer:
            room = self._end.room()
            if room > 0:
                self._end.send(data[:room])
                data = data[room:]
        if data:
            self._buffer += data
            self._maybe_pause_protocol()  # type: ignore[attr-defined]  # of the mixin

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        """Write the pieces as one."""
        self.write(b"".join(list_of_data))

    def writable(self) -> None:
        """The kernel has room again."""
        if self._buffer and not self._write_queued and not self._lost:
            self._write_queued = True
            self._loop.call_soon(self._write_ready, context=self._context)

    def _write_ready(self) -> None:
        self._write_queued = False
        room = self._end.room()
        if self._lost or room <= 0 or self._end.is_closed or self._end.error is not None:
            return
        data = bytes(self._buffer[:room])
        del self._buffer[:room]
        self._end.send(data)
        self._maybe_resume_protocol()  # type: ignore[attr-defined]  # of the mixin
        if self._buffer:
            return
        if self._empty_waiter is not None and not self._empty_waiter.done():
            self._empty_waiter.set_result(None)
        if self._closing:
            self._lose(None)
        elif self._eof_written:
            self._end.finish()

    def write_eof(self) -> None:
        """Half close: the peer sees the end, we can still read."""
        if self._closing or self._eof_written:
            return
        self._eof_written = True
        if not self._buffer:
            self._end.finish()

    def can_write_eof(self) -> bool:
        """TCP can be half closed."""
        return True

    def get_write_buffer_size(self) -> int:
        """Bytes that the kernel has not taken yet."""
        return len(self._buffer)

    def _make_empty_waiter(self) -> asyncio.Future[None]:
        """For sendfile: done when the buffer is empty."""
        assert self._empty_waiter is None, "one sendfile at a time"
        self._empty_waiter = self._loop.create_future()
        if not self._buffer:
            self._empty_waiter.set_result(None)
        return self._empty_waiter

    def _reset_empty_waiter(self) -> None:
        self._empty_waiter = None

    # -- ending -------------------------------------------------------------------------------

    def is_closing(self) -> bool:
        """Whether this end was closed or lost."""
        return self._closing

    def close(self) -> None:
        """Close after everything that was written has been given to the kernel."""
        if self._closing:
            return
        self._closing = True
        if not self._buffer:
            self._lost = True
            self._loop.call_soon(self._lose, None)

    def abort(self) -> None:
        """Close at once; what the kernel has not taken is dropped."""
        self._force_close(None)

    def _fatal_error(self, error: BaseException, message: str = "Fatal error") -> None:
        if not isinstance(error, OSError):
            self._loop.call_exception_handler(
                {
                    "message": message,
                    "exception": error,
                    "transport": self,
                    "protocol": self._protocol,
                }
            )
        self._force_close(error)

    def _force_close(self, error: BaseException | None) -> None:
        if self._lost:
            return
        self._buffer.clear()
        self._closing = self._lost = True
        self._loop.call_soon(self._lose, error)

    def _lose(self, error: BaseException | None) -> None:
        self._lost = True
        try:
            self._protocol.connection_lost(error)
        finally:
            self._release()

    def _release(self) -> None:
        self._end.close()
        self._sock.close()
        if self._empty_waiter is not None and not self._empty_waiter.done():
            broken = ConnectionError(errno.ECONNRESET, "Connection is closed by peer")
            self._empty_waiter.set_exception(broken)
        server, self._server = self._server, None
        if server is not None:
            server._detach(self) if sys.version_info >= (3, 13) else server._detach()
