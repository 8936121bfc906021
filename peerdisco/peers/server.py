"""The accepting side of peer HTTP."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TypeVar

from aiohttp import ClientError, WSMsgType, web
from aiohttp.typedefs import Handler

from peerdisco.machine import TransportSecurity
from peerdisco.peers.calls import PENDING_MAX, Outcome, decode_request, encode_answer
from peerdisco.peers.handlers import Handlers

logger = logging.getLogger(__name__)

BODY_BYTES_MAX = 64 * 1024 * 1024
"""Longest body of a `call`, and of a link's frame."""

ARGUMENT_BYTES_MAX = 4 * 1024 * 1024
"""Longest argument that precedes a pushed stream."""

PIECE_BYTES = 1 << 20
WRITE_BYTES = 256 << 10
LINK_HEARTBEAT_S = 10.0
CALLS_HEARTBEAT_S = 90.0
"""Longer than callers leave a stream idle: only one whose caller is gone is ever asked."""
H = TypeVar("H")
SENDER = web.RequestKey("sender", str)

OnFrame = Callable[[str, bytes], None]


def peer_app(
    handlers: Handlers,
    on_frame: OnFrame,
    security: TransportSecurity,
    open_routes: web.RouteTableDef,
    failures: tuple[type[Exception], ...],
) -> web.Application:
    """The application behind the peer port.

    `open_routes` are the only ones that a caller without proof of identity may reach. `failures`
    are what handlers raise when something failed them that is no bug.
    """
    public = {route.path for route in open_routes if isinstance(route, web.RouteDef)}

    @web.middleware
    async def identify(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path not in public:
            transport = request.transport
            connection = transport.get_extra_info("ssl_object") if transport else None
            sender = security.identify(request.headers, connection)
            if sender is None:
                raise web.HTTPUnauthorized(text="peers of this cluster only")
            request[SENDER] = sender
        return await handler(request)

    app = web.Application(middlewares=[identify], client_max_size=BODY_BYTES_MAX)
    server = _Server(handlers, on_frame, failures)
    app.add_routes(open_routes)
    app.router.add_post("/call/{method:.+}", server.call)
    app.router.add_post("/fetch/{method:.+}", server.fetch)
    app.router.add_post("/push/{method:.+}", server.push)
    app.router.add_get("/link", server.link)
    app.router.add_get("/calls", server.calls)
    app.on_shutdown.append(server.close_streams)
    return app


class _Server:
    def __init__(
        self, handlers: Handlers, on_frame: OnFrame, failures: tuple[type[Exception], ...]
    ) -> None:
        self._failures = failures
        self._handlers = handlers
        self._on_frame = on_frame
        self._streams: list[web.Request] = []

    async def call(self, request: web.Request) -> web.Response:
        handler = _find(self._handlers.calls, request)
        return await self._answer(request, handler(request[SENDER], await request.read()))

    async def fetch(self, request: web.Request) -> web.StreamResponse:
        handler = _find(self._handlers.fetches, request)
        pieces = handler(request[SENDER], await request.read())
        response = web.StreamResponse()
        try:
            await response.prepare(request)
            async for piece in pieces:
                for part in slices(piece):
                    await response.write(part)
            await response.write_eof()
        except Exception as error:
            logger.info("fetch_aborted method=%s error=%r", request.path, error)
            # A stream that ends early must not look complete: no last chunk, no tidy close.
            if request.transport is not None:
                request.transport.abort()
        finally:
            await _close(pieces)
        return response

    async def push(self, request: web.Request) -> web.Response:
        handler = _find(self._handlers.pushes, request)
        size = int.from_bytes(await request.content.readexactly(4), "big")
        if size > ARGUMENT_BYTES_MAX:
            raise web.HTTPRequestEntityTooLarge(ARGUMENT_BYTES_MAX, size)
        argument = await request.content.readexactly(size)
        return await self._answer(request, handler(request[SENDER], argument, _pieces(request)))

    async def _answer(self, request: web.Request, answer: Awaitable[bytes]) -> web.Response:
        """The handler's answer; 503 when a disk or a third node failed it, which is no bug."""
        try:
            return web.Response(body=await answer)
        except self._failures as error:
            logger.info("call_failed method=%s error=%r", request.path, error)
            return web.Response(status=503)

    async def link(self, request: web.Request) -> web.StreamResponse:
        """Frames, one after the other."""

        def take(frame: bytes) -> None:
            self._on_frame(request[SENDER], frame)

        return await self._listen(request, take, _socket(LINK_HEARTBEAT_S))

    async def calls(self, request: web.Request) -> web.StreamResponse:
        """Calls, side by side; each is answered as soon as it is done."""
        running = 0

        async def answer(number: int, method: str, body: bytes) -> None:
            nonlocal running
            outcome, answer = await self._outcome(method, request[SENDER], body)
            running -= 1
            try:
                await socket.send_bytes(encode_answer(number, outcome, answer))
            except ConnectionError:
                logger.debug("answer_unheard method=%s", method)

        def take(frame: bytes) -> None:
            nonlocal running
            number, method, body = decode_request(frame)
            if running >= PENDING_MAX:
                raise ValueError("more calls than a peer may have waiting")
            running += 1
            group.create_task(answer(number, method, body))

        socket = _socket(CALLS_HEARTBEAT_S)
        async with asyncio.TaskGroup() as group:
            return await self._listen(request, take, socket)

    async def _outcome(self, method: str, sender: str, body: bytes) -> tuple[Outcome, bytes]:
        """What a handler makes of a call."""
        handler = self._handlers.calls.get(method)
        if handler is None:
            return Outcome.NOT_SERVED, b""
        try:
            return Outcome.DONE, await handler(sender, body)
        except self._failures as error:
            logger.info("call_failed method=%s error=%r", method, error)
        except Exception:
            logger.exception("call_broke method=%s", method)
        return Outcome.FAILED, b""

    async def _listen(
        self,
        request: web.Request,
        take: Callable[[bytes], None],
        socket: web.WebSocketResponse,
    ) -> web.StreamResponse:
        """Take frames until the stream ends, or brings something that is none."""
        try:
            await socket.prepare(request)
        except ConnectionError as error:  # the peer left before it had its stream
            logger.debug("stream_refused error=%r", error)
            return web.Response(status=503)
        self._streams.append(request)
        try:
            async for message in socket:
                if message.type is WSMsgType.BINARY:
                    take(message.data)
        except ValueError as error:
            logger.warning("bad_frame peer=%s error=%s", request[SENDER], error)
            await socket.close()
        except ConnectionError as error:  # it was gone when its ping was answered
            logger.debug("stream_lost peer=%s error=%r", request[SENDER], error)
        finally:
            self._streams.remove(request)
        return socket

    async def close_streams(self, _: web.Application) -> None:
        """Streams last as long as both nodes, so a node that stops must not wait for their end."""
        for request in self._streams:
            if request.transport is not None:
                request.transport.close()


def _socket(heartbeat_s: float) -> web.WebSocketResponse:
    return web.WebSocketResponse(max_msg_size=BODY_BYTES_MAX, heartbeat=heartbeat_s, compress=False)


def slices(piece: bytes) -> Iterator[bytes | memoryview]:
    """A piece in parts of a size that TLS on asyncio encrypts and sends at the least cost."""
    if len(piece) <= WRITE_BYTES:
        yield piece
        return
    view = memoryview(piece)
    for start in range(0, len(piece), WRITE_BYTES):
        yield view[start : start + WRITE_BYTES]


def _find(handlers: dict[str, H], request: web.Request) -> H:
    handler = handlers.get(request.match_info["method"])
    if handler is None:
        raise web.HTTPNotFound(text=f"this node does not serve {request.path}")
    return handler


async def _pieces(request: web.Request) -> AsyncIterator[bytes]:
    """The rest of a request's body; raises ConnectionResetError when it was cut short."""
    try:
        async for piece in request.content.iter_chunked(PIECE_BYTES):
            yield piece
    except (ClientError, web.HTTPException) as error:
        raise ConnectionResetError(f"the sender broke off: {error}") from error


async def _close(pieces: AsyncIterator[bytes]) -> None:
    close = getattr(pieces, "aclose", None)
    if close is not None:
        await close()
