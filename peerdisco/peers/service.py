"""`Peers`: the calling side of peer HTTP, and both sides put together."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from types import MappingProxyType

import aiohttp
from aiohttp import web

from peerdisco.addresses import Address, format_address
from peerdisco.machine import TransportSecurity
from peerdisco.peers.calls import Calls
from peerdisco.peers.handlers import CallHandler, FetchHandler, Handlers, PushHandler
from peerdisco.peers.links import CONNECT_TIMEOUT_S, Links
from peerdisco.peers.server import (
    BODY_BYTES_MAX,
    LINK_HEARTBEAT_S,
    PIECE_BYTES,
    OnFrame,
    peer_app,
    slices,
)
from peerdisco.security.certificates import ANY_NODE, host_name

logger = logging.getLogger(__name__)

CONNECTIONS_PER_PEER_MAX = 64
KEEP_ALIVE_S = 60.0
STREAMED_BODY_BYTES_MAX = 256 << 10
"""Bodies of calls that share a stream; longer ones would hold up those behind them."""
CLOSE_TIMEOUT_S = 1.0
"""How long the end of a stream waits for the peer's goodbye."""
READ_AHEAD_BYTES = 512 << 10
"""How much of a stream is received before its reader takes it; the library's 64 KiB would stop the
socket all the time."""
SHUTDOWN_TIMEOUT_S = 1.0
UNUSED_HEADERS = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
"""What the library adds to each request and no peer reads."""


class Peers:
    """Exchanges with other nodes over TCP.

    Errors of `call`, `fetch` and `push` are OSErrors: ConnectionError says that the peer did not
    take the request; TimeoutError and ConnectionResetError say that nobody knows.
    """

    def __init__(
        self,
        me: str,
        security: TransportSecurity,
        address_of: Callable[[str], Address | None],
        on_frame: OnFrame,
        link_lost: Callable[[str], None],
        *,
        failures: tuple[type[Exception], ...] = (OSError,),
    ) -> None:
        """`failures`: what handlers raise when a disk or a third node failed them."""
        self._me = me
        self._failures = failures
        self._security = security
        self._context = security.client_context()
        self._address_of = address_of
        self._on_frame = on_frame
        self._handlers = Handlers()
        self._session: aiohttp.ClientSession | None = None
        self.links = Links(lambda peer: self._socket(peer, "/link", LINK_HEARTBEAT_S), link_lost)
        self._calls = Calls(lambda peer: self._socket(peer, "/calls", None))

    def serve(self, method: str, handler: CallHandler) -> None:
        """Answer calls of a method."""
        self._handlers.serve(method, handler)

    def serve_fetch(self, method: str, handler: FetchHandler) -> None:
        """Answer fetches of a method."""
        self._handlers.serve_fetch(method, handler)

    def serve_push(self, method: str, handler: PushHandler) -> None:
        """Take pushes of a method."""
        self._handlers.serve_push(method, handler)

    @contextlib.asynccontextmanager
    async def listening(
        self, hosts: str | None, port: int, open_routes: web.RouteTableDef
    ) -> AsyncIterator[None]:
        """Accept peers on a port (all interfaces when `hosts` is None), and call out, within."""
        app = peer_app(self._handlers, self._on_frame, self._security, open_routes, self._failures)
        runner = web.AppRunner(
            app,
            access_log=None,
            shutdown_timeout=SHUTDOWN_TIMEOUT_S,
            read_bufsize=READ_AHEAD_BYTES,
        )
        await runner.setup()
        connector = aiohttp.TCPConnector(
            limit=0, limit_per_host=CONNECTIONS_PER_PEER_MAX, keepalive_timeout=KEEP_ALIVE_S
        )
        try:
            site = web.TCPSite(runner, hosts, port, ssl_context=self._security.server_context())
            await site.start()
            session = aiohttp.ClientSession(
                connector=connector,
                read_bufsize=READ_AHEAD_BYTES,
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=UNUSED_HEADERS,
            )
            async with session as self._session, self.links.running(), self._calls.running():
                yield
        finally:
            await runner.cleanup()

    async def call(self, peer: str, method: str, body: bytes, *, timeout: float) -> bytes:
        """Send a body, get a body, within `timeout` seconds."""
        if peer == self._me:
            return await self._call_self(method, body, timeout)
        if len(body) > STREAMED_BODY_BYTES_MAX:
            return await self._call(*self._target(peer), method, body, timeout)
        with _as_os_errors():
            return await self._calls.call(peer, method, body, timeout)

    async def call_address(
        self, address: Address, method: str, body: bytes, *, timeout: float
    ) -> bytes:
        """Like `call`, to whichever node of this cluster answers at an address."""
        return await self._call(
            _base(address, self._context is not None), ANY_NODE, method, body, timeout
        )

    @contextlib.asynccontextmanager
    async def fetch(
        self, peer: str, method: str, body: bytes, *, timeout: float
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Send a body, get a stream; fails after `timeout` seconds without a byte."""
        if peer == self._me:
            async with contextlib.aclosing(self._handlers.fetches[method](self._me, body)) as own:  # type: ignore[type-var]  # handlers are async generators
                yield own
            return
        base, name = self._target(peer)
        limits = aiohttp.ClientTimeout(sock_connect=CONNECT_TIMEOUT_S, sock_read=timeout)
        with _as_os_errors():
            async with self._post(f"{base}/fetch/{method}", name, body, limits) as response:
                _refuse_failure(response)
                yield _pieces(response)

    async def push(
        self,
        peer: str,
        method: str,
        body: bytes,
        source: AsyncIterator[bytes],
        *,
        timeout: float,
        size: int | None = None,
    ) -> bytes:
        """Send a body and a stream, get a body; fails after `timeout` s without progress.

        A stream whose size is told travels without chunk framing, which would copy every piece.
        """
        if peer == self._me:
            return await self._handlers.pushes[method](self._me, body, source)
        loop = asyncio.get_running_loop()
        base, name = self._target(peer)
        limits = aiohttp.ClientTimeout(sock_connect=CONNECT_TIMEOUT_S)
        with _as_os_errors():
            async with asyncio.timeout(timeout) as limit:

                async def content() -> AsyncIterator[bytes | memoryview]:
                    yield len(body).to_bytes(4, "big") + body
                    async for piece in source:
                        for part in slices(piece):
                            limit.reschedule(loop.time() + timeout)
                            yield part

                length = {} if size is None else {"Content-Length": str(4 + len(body) + size)}
                async with self._post(
                    f"{base}/push/{method}", name, content(), limits, length
                ) as response:
                    _refuse_failure(response)
                    return await response.read()

    async def _call_self(self, method: str, body: bytes, timeout: float) -> bytes:
        """The same as a call over the network, down to the errors."""
        handler = self._handlers.calls.get(method)
        if handler is None:
            raise ConnectionError(f"this node does not serve {method}")
        try:
            async with asyncio.timeout(timeout):
                return await handler(self._me, body)
        except OSError:
            raise
        except self._failures as error:
            raise ConnectionResetError(f"{method}: {error}") from error

    async def _call(self, base: str, name: str, method: str, body: bytes, timeout: float) -> bytes:
        limits = aiohttp.ClientTimeout(total=timeout, sock_connect=min(CONNECT_TIMEOUT_S, timeout))
        with _as_os_errors():
            async with self._post(f"{base}/call/{method}", name, body, limits) as response:
                _refuse_failure(response)
                return await response.read()

    def _post(
        self,
        url: str,
        name: str,
        data: bytes | AsyncIterator[bytes | memoryview],
        limits: aiohttp.ClientTimeout,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> contextlib.AbstractAsyncContextManager[aiohttp.ClientResponse]:
        assert self._session is not None, "used outside `listening`"
        if self._session.closed:
            raise ConnectionError("this node stops, and sends nothing any more")
        return self._session.post(
            url,
            data=data,
            ssl=self._context or False,
            server_hostname=name,
            headers={**self._security.request_headers(name), **headers},
            timeout=limits,
            allow_redirects=False,
        )

    @contextlib.asynccontextmanager
    async def _socket(
        self, peer: str, path: str, heartbeat_s: float | None
    ) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """A WebSocket to a peer."""
        assert self._session is not None, "used outside `listening`"
        if self._session.closed:
            raise ConnectionError("this node stops, and opens no stream any more")
        base, name = self._target(peer)
        with _as_os_errors():
            async with (
                asyncio.timeout(CONNECT_TIMEOUT_S) as until_made,
                self._session.ws_connect(
                    base + path,
                    ssl=self._context or False,
                    server_hostname=name,
                    headers=self._security.request_headers(name),
                    heartbeat=heartbeat_s,
                    timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_TIMEOUT_S),
                    max_msg_size=BODY_BYTES_MAX,
                    compress=0,
                ) as socket,
            ):
                until_made.reschedule(None)  # a stream lasts as long as it works
                yield socket

    def _target(self, peer: str) -> tuple[str, str]:
        address = self._address_of(peer)
        if address is None:
            raise ConnectionError(f"no address is known for node {peer}")
        return _base(address, self._context is not None), host_name(peer)


def _base(address: Address, secure: bool) -> str:
    return f"{'https' if secure else 'http'}://{format_address(address)}"


def _refuse_failure(response: aiohttp.ClientResponse) -> None:
    if response.status >= 500:
        # The handler had begun: nobody knows how far it came.
        raise ConnectionResetError(f"{response.url.path}: the peer answered {response.status}")
    if response.status != 200:
        raise ConnectionError(f"{response.url.path}: the peer answered {response.status}")


async def _pieces(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    with _as_os_errors():
        async for piece in response.content.iter_chunked(PIECE_BYTES):
            yield piece


@contextlib.contextmanager
def _as_os_errors() -> Iterator[None]:
    """Turn the client library's errors into the operating system's words for them."""
    try:
        yield
    except aiohttp.ClientConnectorError as error:
        cause = error.os_error
        number = cause.errno or 0
        reason = os.strerror(number) if number in errno.errorcode else str(cause)
        refused = isinstance(cause, ConnectionRefusedError)
        kind = ConnectionRefusedError if refused else ConnectionError
        raise kind(f"{format_address((error.host, error.port or 0))}: {reason}") from error
    except OSError:
        raise
    except aiohttp.ClientError as error:
        raise ConnectionResetError(f"the peer broke off: {error!r}") from error
