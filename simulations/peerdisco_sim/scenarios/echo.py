"""The engine's own scenario: unmodified aiohttp and aioudp through loss, a kill and a power cut.

Every node serves a counter over HTTP that it keeps in its store, and echoes datagrams. Clients
count up and remember what was acknowledged. After everything is healed, no acknowledged count may
be missing, and every node must answer by HTTP, by WebSocket and by UDP.
"""

from __future__ import annotations

import asyncio
import functools
import itertools

import aiohttp
import aioudp
from aiohttp import web

from peerdisco.machine import Store
from peerdisco_sim.cluster import Cluster
from peerdisco_sim.machine import open_store
from peerdisco_sim.network import Conditions
from peerdisco_sim.node import SimNode
from peerdisco_sim.scenario import Scenario, Tally
from peerdisco_sim.world import World

_HTTP_PORT, _UDP_PORT = 8989, 8990
_LOSSY = Conditions(0.0005, 0.005, loss=0.05, duplicate=0.02, reorder=0.05)
_COUNTER = b"counter"
_REQUEST_S_MAX = 3.0
_PINGS_MAX = 100
_STORM_S = 30.0


async def serve(node: SimNode) -> None:
    """The program of every node."""
    store = open_store(node, "counter")
    runner = web.AppRunner(_application(store), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "0.0.0.0", _HTTP_PORT).start()  # noqa: S104 - simulated
        async with aioudp.serve("0.0.0.0", _UDP_PORT, _echo):  # noqa: S104 - simulated
            await asyncio.Event().wait()
    finally:
        await runner.cleanup()


def _application(store: Store) -> web.Application:
    turn = asyncio.Lock()

    async def count(_: web.Request) -> web.Response:
        async with turn:
            value = int(store.get(_COUNTER) or b"0") + 1
            await store.commit([(_COUNTER, b"%d" % value)])
        return web.Response(text=str(value))

    async def read(_: web.Request) -> web.Response:
        return web.Response(text=(store.get(_COUNTER) or b"0").decode())

    async def talk(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_bytes(message.data)
        return socket

    application = web.Application()
    application.add_routes(
        [web.post("/counter", count), web.get("/counter", read), web.get("/talk", talk)]
    )
    return application


async def _echo(connection: aioudp.Connection) -> None:
    async for message in connection:
        await connection.send(message)


class Client:
    """Counts up at random nodes, through the storm, and remembers what was acknowledged."""

    def __init__(self, world: World, names: list[str]) -> None:
        self.acknowledged = dict.fromkeys(names, 0)
        self.operations = 0
        self._names = names
        self._draws = world.stream("client")

    async def run(self, seconds: float) -> None:
        """Work for that long."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        timeout = aiohttp.ClientTimeout(total=_REQUEST_S_MAX)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while loop.time() < end:
                name = self._draws.choice(self._names)
                await self._count(session, name)
                await asyncio.sleep(self._draws.uniform(0.0, 0.2))

    async def _count(self, session: aiohttp.ClientSession, name: str) -> None:
        self.operations += 1
        try:
            async with session.post(f"http://{name}:{_HTTP_PORT}/counter") as response:
                self.acknowledged[name] = max(self.acknowledged[name], int(await response.text()))
        except (aiohttp.ClientError, TimeoutError, OSError):
            return  # nobody knows whether it was counted: only acknowledged ones are owed


async def inspect(name: str) -> int:
    """Ask a node in all three ways; returns its counter."""
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://{name}:{_HTTP_PORT}/counter") as response:
            value = int(await response.text())
        async with session.ws_connect(f"http://{name}:{_HTTP_PORT}/talk") as socket:
            await socket.send_bytes(b"over the socket")
            answer = await socket.receive()
            assert answer.data == b"over the socket"
    async with aioudp.connect(name, _UDP_PORT) as connection:
        await _ping(connection)
    return value


async def _ping(connection: aioudp.Connection) -> None:
    for number in itertools.count():
        assert number < _PINGS_MAX, "no datagram came back"
        await connection.send(b"ping")
        try:
            async with asyncio.timeout(0.5):
                assert await connection.recv() == b"ping"
                return
        except TimeoutError:
            continue


def _storm(cluster: Cluster) -> None:
    """One of each kind of disaster, at seeded moments and places."""
    world = cluster.world
    draws = world.stream("storm")
    names = cluster.names
    killed, unplugged, cut_off, paused = (draws.choice(names) for _ in range(4))
    cluster.degrade(_LOSSY)
    world.after(draws.uniform(2, 6), lambda: cluster.kill(killed))
    world.after(draws.uniform(7, 9), lambda: cluster.restart(killed))
    world.after(draws.uniform(10, 12), lambda: cluster.cut_power(unplugged))
    world.after(draws.uniform(13, 15), lambda: cluster.restart(unplugged))
    world.after(draws.uniform(16, 18), lambda: cluster.isolate(cut_off))
    world.after(draws.uniform(19, 21), lambda: cluster.pause(paused, 2.5))
    world.after(_STORM_S - 5, cluster.heal)


def _play(world: World, nodes: int) -> Tally:
    cluster = Cluster(world, serve)
    for number in range(1, nodes + 1):
        cluster.start(f"n{number}")
    world.run_for(1.0)
    client = Client(world, cluster.names)
    _storm(cluster)
    cluster.client(lambda: client.run(_STORM_S), timeout=_STORM_S * 4)
    cluster.degrade(Conditions())
    for name in cluster.names:
        value = cluster.client(functools.partial(inspect, name), timeout=60.0)
        if value < client.acknowledged[name]:
            detail = f"{client.acknowledged[name]} was acknowledged, {value} is there"
            world.fail("acknowledged count lost", detail, name)
    return Tally(client.operations, faults=cluster.faults)


ECHO = Scenario("echo", "aiohttp and aioudp through loss, a kill and a power cut", 4, _play)
