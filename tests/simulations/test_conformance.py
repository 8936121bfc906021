"""The same small programs on the stock loop and on the simulated one, with equal outcomes.

A program is an async function of the address that servers bind; it returns plain values. Ports
and times may differ between the two, so programs do not return those.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import aiohttp
import aioudp
import pytest
from aiohttp import web

from peerdisco.host.tls import MutualTls
from peerdisco.security.certificates import host_name
from peerdisco.security.secrets import node_id_of_private
from peerdisco_sim.node import SimNode
from peerdisco_sim.world import World

HOST = "127.0.0.1"
SERVER_KEY, CLIENT_KEY = b"s" * 32, b"c" * 32
SERVER = MutualTls(b"secret of 32 bytes for the tests", SERVER_KEY)
CLIENT = MutualTls(b"secret of 32 bytes for the tests", CLIENT_KEY)
Program = Callable[[], Coroutine[Any, Any, Any]]
PROGRAMS: list[Program] = []


def program(function: Program) -> Program:
    PROGRAMS.append(function)
    return function


class Recorder(asyncio.Protocol):
    """Writes down what a protocol is told."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.calls.append("made")

    def data_received(self, data: bytes) -> None:
        self.data += data

    def eof_received(self) -> bool:
        self.calls.append(("data", self.data))
        self.calls.append("eof")
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self.calls.append(("lost", type(error).__name__))
        if not self.lost.done():
            self.lost.set_result(None)


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.received: asyncio.Queue[tuple[bytes, Any]] = asyncio.Queue()
        self.errors: asyncio.Queue[str] = asyncio.Queue()
        self.lost = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, address: Any) -> None:
        self.received.put_nowait((data, address))

    def error_received(self, error: Exception) -> None:
        self.errors.put_nowait(type(error).__name__)

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.set_result(error)


async def udp(**where: Any) -> tuple[asyncio.DatagramTransport, Datagrams]:
    loop = asyncio.get_running_loop()
    return await loop.create_datagram_endpoint(Datagrams, **where)


def port_of(transport: asyncio.BaseTransport) -> int:
    port: int = transport.get_extra_info("sockname")[1]
    return port


@program
async def udp_echo_answers_to_the_sender() -> Any:
    server, serving = await udp(local_addr=(HOST, 0))
    client, calling = await udp(remote_addr=(HOST, port_of(server)))
    client.sendto(b"hello")
    data, address = await serving.received.get()
    server.sendto(data.upper(), address)
    answer, origin = await calling.received.get()
    outcome = [answer, origin == server.get_extra_info("sockname"), address[0]]
    outcome.append(client.get_extra_info("peername") == server.get_extra_info("sockname"))
    for transport, protocol in ((server, serving), (client, calling)):
        transport.close()
        await protocol.lost
    return [*outcome, server.is_closing()]


@program
async def udp_to_a_closed_port_is_refused_to_a_connected_sender() -> Any:
    server, serving = await udp(local_addr=(HOST, 0))
    client, calling = await udp(remote_addr=(HOST, port_of(server)))
    server.close()
    await serving.lost
    client.sendto(b"anyone?")
    error = await calling.errors.get()
    client.close()
    await calling.lost
    return error


@program
async def a_datagram_that_is_too_long_is_an_error() -> Any:
    client, calling = await udp(remote_addr=(HOST, 9))
    client.sendto(bytes(70_000))
    error = await calling.errors.get()
    client.close()
    await calling.lost
    with pytest.raises(TypeError):
        client.sendto("text")  # type: ignore[arg-type]  # on purpose
    return error


@program
async def a_taken_port_cannot_be_bound_again() -> Any:
    server, serving = await udp(local_addr=(HOST, 0))
    with pytest.raises(OSError, match="in use"):
        await udp(local_addr=(HOST, port_of(server)))
    server.close()
    await serving.lost
    again, protocol = await udp(local_addr=(HOST, port_of(server)))
    again.close()
    await protocol.lost
    return "free again"


@program
async def aioudp_echo() -> Any:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]

    async def echo(connection: aioudp.Connection) -> None:
        async for message in connection:
            await connection.send(message * 2)

    answers = []
    async with aioudp.serve(HOST, port, echo), aioudp.connect(HOST, port) as connection:
        for word in (b"a", b"bc"):
            await connection.send(word)
            answers.append(await connection.recv())
    return answers


@contextlib.asynccontextmanager
async def echo_server() -> AsyncIterator[int]:
    """Answers with everything it got, in upper case, after the client's half close."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = await reader.read()
        writer.write(data.upper())
        writer.write_eof()
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, HOST, 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@program
async def tcp_echo_with_a_half_close() -> Any:
    async with echo_server() as port:
        reader, writer = await asyncio.open_connection(HOST, port)
        for _ in range(50):
            writer.write(b"abc" * 10_000)
            await writer.drain()
        writer.write_eof()
        can_write = writer.can_write_eof()
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
    return len(answer), answer[:6], can_write, reader.at_eof()


@program
async def tls_echo_with_both_sides_proven() -> Any:
    seen = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(SERVER.identify({}, writer.get_extra_info("ssl_object")))
        writer.write(await reader.readexactly(100_000))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, HOST, 0, ssl=SERVER.server_context())
    port = server.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection(
        HOST,
        port,
        ssl=CLIENT.client_context(),
        server_hostname=host_name(node_id_of_private(SERVER_KEY)),
    )
    writer.write(b"x" * 100_000)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()
    return len(answer), seen == [node_id_of_private(CLIENT_KEY)]


@program
async def writing_after_the_half_close_is_refused() -> Any:
    async with echo_server() as port:
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write_eof()
        with pytest.raises(RuntimeError):
            writer.write(b"late")
        with pytest.raises(TypeError):
            writer.write("text")  # type: ignore[arg-type]  # on purpose
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
    return answer


@program
async def a_protocol_is_told_everything_in_order() -> Any:
    loop = asyncio.get_running_loop()
    made: list[Recorder] = []

    def accept() -> Recorder:
        made.append(Recorder())
        return made[-1]

    server = await loop.create_server(accept, HOST, 0)
    port = server.sockets[0].getsockname()[1]
    transport, client = await loop.create_connection(Recorder, HOST, port)
    transport.write(b"one")
    transport.writelines([b"two", b"three"])
    transport.close()
    transport.close()
    await client.lost
    await asyncio.sleep(0.05)
    serving = made[0].transport
    assert isinstance(serving, asyncio.Transport)
    outcome = [client.calls, list(made[0].calls), transport.is_closing(), serving.is_closing()]
    serving.close()
    await made[0].lost
    server.close()
    await server.wait_closed()
    return [*outcome, made[0].calls, server.sockets == (), server.is_serving()]


@program
async def an_abort_resets_the_peer() -> Any:
    loop = asyncio.get_running_loop()
    made: list[Recorder] = []

    def accept() -> Recorder:
        made.append(Recorder())
        return made[-1]

    server = await loop.create_server(accept, HOST, 0)
    port = server.sockets[0].getsockname()[1]
    transport, client = await loop.create_connection(Recorder, HOST, port)
    transport.write(b"something that stays unread")
    await asyncio.sleep(0.1)
    assert made[0].data
    transport.abort()
    await client.lost
    transport.write(b"ignored")
    server.close()
    serving = made[0].transport
    serving.close()
    await made[0].lost
    return client.calls


@program
async def flow_control_stops_a_writer_whose_reader_sleeps() -> Any:
    release = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        data = await reader.read()
        writer.write(b"%d" % len(data))
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, HOST, 0)
    port = server.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(bytes(32 * 1024 * 1024))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await writer.drain()
    stuck = writer.transport.get_write_buffer_size() > 0
    release.set()
    await writer.drain()
    writer.write_eof()
    count = await reader.read()
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()
    return stuck, count


@program
async def connecting_where_nobody_listens_is_refused() -> Any:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    with pytest.raises(ConnectionRefusedError) as plain:
        await asyncio.open_connection(HOST, port)
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectorError) as client:
            await session.get(f"http://{HOST}:{port}/")
    return plain.value.errno, client.value.os_error.errno


@program
async def a_cancelled_read_leaves_the_connection_usable() -> Any:
    async with echo_server() as port:
        reader, writer = await asyncio.open_connection(HOST, port)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.05)
        writer.write(b"still here")
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
    return answer


@program
async def cancelling_a_group_cancels_its_tasks_in_order() -> Any:
    ended: list[int] = []

    async def wait(number: int) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append(number)

    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(5):
                group.create_task(wait(number))
            await asyncio.sleep(0)
            raise ValueError("enough")

    with pytest.raises(ExceptionGroup) as failure:
        await run()
    return sorted(ended), [type(error).__name__ for error in failure.value.exceptions]


@program
async def abandoned_generators_are_closed_by_the_loop() -> Any:
    closed = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            closed.append(True)

    async for number in numbers():
        if number == 1:
            break
    gc.collect()
    await asyncio.sleep(0.01)
    return closed


@program
async def an_executor_returns_and_raises() -> Any:
    loop = asyncio.get_running_loop()
    result = await loop.run_in_executor(None, sum, [1, 2, 3])
    with pytest.raises(ZeroDivisionError):
        await loop.run_in_executor(None, lambda: 1 // 0)
    return result


@program
async def names_resolve() -> Any:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo("localhost", 80, family=socket.AF_INET, type=socket.SOCK_STREAM)
    with pytest.raises(socket.gaierror):
        await loop.getaddrinfo("no-such-name.invalid", 80)
    return found[0][4], found[0][0] == socket.AF_INET


async def _upload(request: web.Request) -> web.Response:
    size = 0
    async for piece in request.content.iter_chunked(65536):
        size += len(piece)
    return web.json_response({"size": size, "type": request.content_type})


async def _numbers(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for number in range(100):
        await response.write(b"%05d" % number * 1000)
    await response.write_eof()
    return response


async def _talk(request: web.Request) -> web.WebSocketResponse:
    connection = web.WebSocketResponse()
    await connection.prepare(request)
    async for message in connection:
        await connection.send_str(str(message.data).upper())
    return connection


async def _never(_: web.Request) -> web.Response:
    await asyncio.sleep(3600)
    return web.Response()


async def _broken(_: web.Request) -> web.Response:
    raise web.HTTPConflict(text="no")


async def _file(_: web.Request) -> web.Response:
    return web.Response(body=io.BytesIO(b"from a file" * 1000))


@contextlib.asynccontextmanager
async def site() -> AsyncIterator[str]:
    application = web.Application(client_max_size=1 << 30)
    application.add_routes(
        [
            web.put("/upload", _upload),
            web.get("/numbers", _numbers),
            web.get("/talk", _talk),
            web.get("/never", _never),
            web.get("/broken", _broken),
            web.get("/file", _file),
        ]
    )
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, 0).start()
        yield f"http://{HOST}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@program
async def aiohttp_puts_gets_and_streams() -> Any:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield bytes(50_000)

    outcome: list[Any] = []
    async with site() as base, aiohttp.ClientSession() as session:
        async with session.put(f"{base}/upload", data=b"x" * 10) as response:
            outcome.append(await response.json())
        async with session.put(f"{base}/upload", data=pieces()) as response:
            outcome.append(await response.json())
        async with session.get(f"{base}/numbers") as response:
            outcome.append([response.status, len(await response.read())])
        async with session.get(f"{base}/file") as response:
            outcome.append([response.headers["Content-Length"], (await response.read())[:11]])
        async with session.get(f"{base}/broken") as response:
            outcome.append([response.status, await response.text()])
        async with session.get(f"{base}/missing") as response:
            outcome.append(response.status)
    return outcome


@program
async def aiohttp_talks_over_a_websocket() -> Any:
    heard = []
    async with site() as base, aiohttp.ClientSession() as session:
        async with session.ws_connect(f"{base}/talk") as connection:
            for word in ("one", "two", "x" * 200_000):
                await connection.send_str(word)
                heard.append((await connection.receive_str())[:3])
        heard.append(str(connection.close_code))
    return heard


@program
async def aiohttp_gives_up_in_time_and_recovers() -> Any:
    outcome: list[Any] = []
    async with site() as base, aiohttp.ClientSession() as session:
        timeout = aiohttp.ClientTimeout(total=0.1)
        with pytest.raises(TimeoutError):
            await session.get(f"{base}/never", timeout=timeout)
        async with session.get(f"{base}/numbers") as response:
            outcome.append(await response.content.readexactly(5))
        async with session.get(f"{base}/numbers") as response:
            outcome.append(len(await response.read()))
    return outcome


def on_the_simulated_loop(function: Program, seed: int = 1) -> Any:
    with World(seed) as world:
        outcome = world.run_until_done(SimNode(world, "node").run(function), timeout=600.0)
        assert [] == world.failures
        return outcome


@pytest.mark.parametrize("function", PROGRAMS, ids=lambda function: function.__name__)
def test_both_loops_agree_that(function: Program) -> None:
    expected = asyncio.run(function())
    assert expected == on_the_simulated_loop(function)
