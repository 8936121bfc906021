"""Connections under trouble: cuts, kills, power cuts, loss, pauses."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from peerdisco_sim.network import Conditions
from peerdisco_sim.node import SimNode
from peerdisco_sim.world import World

PORT = 7000


class Pair:
    """A server that counts what it reads, and a client connected to it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.server = SimNode(world, "server")
        self.client = SimNode(world, "client")
        self.received = 0
        self.server_error: BaseException | None = None
        self.outcome: Any = None
        self.server.boot(self._serve)

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._read, "0.0.0.0", PORT)
        await server.serve_forever()

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                self.received += len(data)
                writer.write(b"ok")
                await writer.drain()
        except OSError as error:
            self.server_error = error
        finally:
            writer.close()

    @property
    def error(self) -> int:
        """The errno with which the client's connection ended."""
        number: int = self.outcome[0]
        return number

    def connect(self, then: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]) -> None:
        async def run() -> None:
            reader, writer = await asyncio.open_connection("server", PORT)
            try:
                self.outcome = await then(reader, writer)
            except OSError as error:
                self.outcome = (error.errno, round(self.world.now, 1))
            finally:
                writer.close()

        self.client.boot(run)


@pytest.fixture
def pair(world: World) -> Iterator[Pair]:
    pair = Pair(world)
    world.run_for(1)
    yield pair
    assert [] == world.failures


async def ask_for_ever(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
    while True:
        writer.write(b"x" * 100)
        if not await reader.read(100):
            return "end"
        await asyncio.sleep(0.1)


async def only_read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
    return "end" if not await reader.read(100) else "data"


def test_a_cut_stalls_and_healing_in_time_goes_on(world: World, pair: Pair) -> None:
    pair.connect(ask_for_ever)
    world.run_for(1)
    world.network.partition([pair.client], [pair.server])
    world.run_for(1)
    received = pair.received
    world.run_for(30)
    assert received == pair.received
    world.network.heal()
    world.run_for(30)
    assert pair.received > received
    assert pair.outcome is None


def test_a_sender_without_progress_gives_up_after_a_minute(world: World, pair: Pair) -> None:
    pair.connect(ask_for_ever)
    world.run_for(1)
    world.network.partition([pair.client], [pair.server])
    world.run_for(100)
    number, when = pair.outcome
    assert errno.ETIMEDOUT == number
    assert 60 <= when <= 80


def test_with_only_the_way_back_cut_the_data_arrives_and_the_sender_times_out(
    world: World, pair: Pair
) -> None:
    async def send_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Any:
        await asyncio.sleep(1)
        writer.write(b"x" * 1000)
        return await reader.read(100)

    pair.connect(send_once)
    world.run_for(0.5)
    world.network.cut([pair.server], [pair.client])
    world.run_for(2)
    assert 1000 == pair.received
    world.run_for(100)
    assert errno.ETIMEDOUT == pair.error


def test_an_idle_connection_does_not_notice_a_cut(world: World, pair: Pair) -> None:
    pair.connect(only_read)
    world.run_for(1)
    world.network.partition([pair.client], [pair.server])
    world.run_for(500)
    assert pair.outcome is None
    world.network.heal()
    pair.server.kill()
    world.run_for(1)
    assert errno.ECONNRESET == pair.error


def test_killing_the_process_resets_its_connections_at_once(world: World, pair: Pair) -> None:
    pair.connect(only_read)
    world.run_for(1)
    pair.server.kill()
    world.run_for(0.1)
    assert errno.ECONNRESET == pair.error


def test_a_power_cut_is_silence_and_the_sender_times_out(world: World, pair: Pair) -> None:
    pair.connect(ask_for_ever)
    world.run_for(1)
    pair.server.cut_power()
    world.run_for(30)
    assert pair.outcome is None
    world.run_for(60)
    assert errno.ETIMEDOUT == pair.error


def test_a_rebooted_machine_resets_connections_of_its_former_life(world: World, pair: Pair) -> None:
    pair.connect(ask_for_ever)
    world.run_for(1)
    pair.server.cut_power()
    world.run_for(5)
    pair.server.boot(pair._serve)
    world.run_for(30)
    assert errno.ECONNRESET == pair.error


def test_a_reset_that_was_lost_comes_when_data_is_sent_again(world: World, pair: Pair) -> None:
    pair.connect(ask_for_ever)
    world.run_for(1)
    world.network.partition([pair.client], [pair.server])
    pair.server.kill()
    world.run_for(10)
    assert pair.outcome is None
    world.network.heal()
    world.run_for(20)
    assert errno.ECONNRESET == pair.error


def test_connecting_to_silence_gives_up_after_about_a_minute(world: World, pair: Pair) -> None:
    outcome: list[Any] = []

    async def connect() -> None:
        try:
            await asyncio.open_connection("server", PORT)
        except OSError as error:
            outcome.append((error.errno, world.now))

    pair.server.cut_power()
    pair.client.boot(connect)
    world.run_for(200)
    assert errno.ETIMEDOUT == outcome[0][0]
    assert 60 < outcome[0][1] < 70


def test_a_loopback_listener_cannot_be_reached_from_elsewhere(world: World) -> None:
    async def serve() -> None:
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", PORT)
        reader, writer = await asyncio.open_connection("localhost", PORT)
        assert b"" == await reader.read()
        writer.close()
        await server.serve_forever()

    async def connect() -> int | None:
        with pytest.raises(ConnectionRefusedError) as refused:
            await asyncio.open_connection("server", PORT)
        return refused.value.errno

    SimNode(world, "server").boot(serve)
    world.run_for(1)
    client = SimNode(world, "client").run(connect)
    assert errno.ECONNREFUSED == world.run_until_done(client, 10)


def test_loss_delays_and_bandwidth_limits(world: World, pair: Pair) -> None:
    async def send_much(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> float:
        began = world.now
        writer.write(bytes(10_000_000))
        writer.write_eof()
        while await reader.read(100):
            pass
        return world.now - began

    world.network.conditions = Conditions(bytes_per_s=1e6, loss=0.01)
    pair.connect(send_much)
    world.run_for(100)
    assert 10_000_000 == pair.received
    assert 10 < pair.outcome < 60


def test_a_reader_that_is_paused_stops_the_sender(world: World, pair: Pair) -> None:
    async def send_much(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> float:
        del reader
        writer.write(bytes(5_000_000))
        await writer.drain()
        return world.now

    pair.connect(send_much)
    pair.server.pause(20)
    world.run_for(30)
    assert pair.outcome > 20


def test_a_full_backlog_drops_connections_until_there_is_room(world: World) -> None:
    connected: list[float] = []

    async def serve() -> None:
        server = await asyncio.start_server(
            lambda _, writer: writer.close(), "0.0.0.0", PORT, backlog=3
        )
        await server.serve_forever()

    async def connect() -> None:
        _, writer = await asyncio.open_connection("server", PORT)
        connected.append(world.now)
        writer.close()

    server = SimNode(world, "server")
    server.boot(serve)
    world.run_for(1)
    server.pause(10)
    for number in range(6):
        SimNode(world, f"client{number}").boot(connect)
        world.run_for(0.1)
    world.run_for(5)
    assert 3 == len(connected)
    world.run_for(60)
    assert 6 == len(connected)
