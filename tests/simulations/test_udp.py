"""Datagrams under trouble."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import pytest

from peerdisco_sim.network import Conditions
from peerdisco_sim.node import SimNode
from peerdisco_sim.world import World

PORT = 9000


class Sink(asyncio.DatagramProtocol):
    def __init__(self, heard: list[Any]) -> None:
        self.heard = heard

    def datagram_received(self, data: bytes, address: Any) -> None:
        self.heard.append((int(data[:8]), address[0]))


class Stage:
    """A listener and a talker that numbers what it says."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.heard: list[tuple[int, str]] = []
        self.listener = SimNode(world, "listener")
        self.listener.boot(self._listen)
        self.talker = SimNode(world, "talker")
        self.transport: asyncio.DatagramTransport | None = None
        self.talker.boot(self._open)
        world.run_for(0.1)

    async def _listen(self) -> None:
        await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: Sink(self.heard), local_addr=("0.0.0.0", PORT)
        )
        await asyncio.Event().wait()

    async def _open(self) -> None:
        self.transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            asyncio.DatagramProtocol, local_addr=("0.0.0.0", 0)
        )
        await asyncio.Event().wait()

    def say(self, first: int, last: int, size: int = 8) -> None:
        assert self.transport is not None
        for number in range(first, last):
            self.transport.sendto((b"%08d" % number).ljust(size), (self.listener.ip, PORT))

    @property
    def numbers(self) -> list[int]:
        return [number for number, _ in self.heard]


@pytest.fixture
def stage(world: World) -> Stage:
    return Stage(world)


def test_everything_arrives_on_a_quiet_network(world: World, stage: Stage) -> None:
    stage.say(0, 100)
    world.run_for(1)
    assert list(range(100)) == sorted(stage.numbers)
    assert {stage.talker.ip} == {address for _, address in stage.heard}


def test_loss_duplication_and_reordering_happen_as_often_as_asked(
    world: World, stage: Stage
) -> None:
    world.network.conditions = Conditions(0.001, 0.001, loss=0.2, duplicate=0.1, reorder=0.1)
    for number in range(2000):
        world.after(0.002 * number, functools.partial(stage.say, number, number + 1))
    world.run_for(10)
    distinct = sorted(set(stage.numbers))
    assert len(distinct) == pytest.approx(1600, rel=0.05)
    assert len(stage.numbers) - len(distinct) == pytest.approx(160, rel=0.3)
    assert stage.numbers != sorted(stage.numbers)


def test_a_big_datagram_is_lost_more_often_than_a_small_one(world: World, stage: Stage) -> None:
    world.network.conditions = Conditions(loss=0.02)
    stage.say(0, 500)
    stage.say(500, 1000, size=60_000)
    world.run_for(1)
    small = [number for number in stage.numbers if number < 500]
    assert len(small) > 470
    assert len(stage.numbers) - len(small) < 300


def test_a_cut_is_one_way(world: World, stage: Stage) -> None:
    world.network.cut([stage.listener], [stage.talker])
    stage.say(0, 10)
    world.run_for(1)
    assert 10 == len(stage.heard)
    world.network.cut([stage.talker], [stage.listener])
    stage.say(10, 20)
    world.run_for(1)
    assert 10 == len(stage.heard)
    world.network.heal()
    stage.say(20, 30)
    world.run_for(1)
    assert 20 == len(stage.heard)


def test_a_clogged_node_gets_everything_late_in_one_burst(world: World, stage: Stage) -> None:
    world.network.clog(stage.listener, 10)
    stage.say(0, 10)
    world.run_for(9)
    assert [] == stage.heard
    world.run_for(2)
    assert 10 == len(stage.heard)


def test_a_paused_node_keeps_what_fits_into_its_socket_buffer(world: World, stage: Stage) -> None:
    stage.listener.pause(10)
    stage.say(0, 100, size=10_000)
    world.run_for(9)
    assert [] == stage.heard
    world.run_for(2)
    assert 212_992 // 10_000 == len(stage.heard)


def test_a_dead_node_hears_nothing_and_a_reborn_one_only_the_new(
    world: World, stage: Stage
) -> None:
    stage.listener.cut_power()
    stage.say(0, 10)
    world.run_for(1)
    stage.listener.boot(stage._listen)
    world.run_for(1)
    stage.say(10, 20)
    world.run_for(1)
    assert list(range(10, 20)) == sorted(stage.numbers)


def test_a_tap_sees_changes_and_drops_datagrams(world: World, stage: Stage) -> None:
    def tap(source: Any, target: Any, data: bytes) -> bytes | None:
        assert (stage.listener.ip, PORT) == target
        return None if int(data) % 2 else data.replace(b"0", b"1")

    world.network.tap = tap
    stage.say(0, 4)
    world.run_for(1)
    assert [11111111, 11111112] == sorted(stage.numbers)


def test_a_link_can_have_conditions_of_its_own(world: World, stage: Stage) -> None:
    world.network.set_link(stage.talker, stage.listener, Conditions(5.0, 5.0))
    stage.say(0, 1)
    world.run_for(4.9)
    assert [] == stage.heard
    world.run_for(0.2)
    assert [0] == stage.numbers
