"""Membership alone, at the size of a thousand nodes: who notices a crash, and when.

Every node runs the real membership over simulated datagrams, and nothing else of the daemon. They
are not sealed: storms have the real seal, and here it would take a sixth of the time. All know each
other from the beginning: joining one by one is what `mapreduce` and the storms do. Then a few nodes
lose power, and everybody else must know it in time and must not doubt anybody else.
"""

from __future__ import annotations

import asyncio
import hashlib
from base64 import b32encode

from peerdisco_gossip import (
    Datagrams,
    GossipConfig,
    KeyRing,
    Membership,
    MemberState,
    Seal,
    open_asyncio_port,
)
from peerdisco_gossip.keys import ID_BYTES, KEY_BYTES, SALT_BYTES, id_from_bytes
from peerdisco_gossip.messages import Roster, Row, decode_roster
from peerdisco_sim.cluster import Cluster
from peerdisco_sim.network import Conditions
from peerdisco_sim.node import SimNode
from peerdisco_sim.scenario import Scenario, Tally
from peerdisco_sim.sharing import share
from peerdisco_sim.world import World

PORT = 8990
LOSS = Conditions(0.0005, 0.003, loss=0.01)
BOOT_S = 0.1
CALM_S = 5.0
VICTIMS_SHARE = 0.005
DETECTION_PERIODS_MAX = 40
_LENGTH_BYTES = 4

Views = dict[str, Membership]


def node_id(name: str) -> str:
    """An id like that of a real node."""
    return b32encode(hashlib.sha256(name.encode()).digest()[:20]).decode().lower()


class PlainSeal(Seal):
    """Packets with their sender's id in clear."""

    def __init__(self, me: str) -> None:
        super().__init__(KeyRing([bytes(KEY_BYTES)]), me, bytes(SALT_BYTES))

    def seal(self, payload: bytes) -> bytes:
        """The packet."""
        return self._me + payload

    def open(self, packet: bytes) -> tuple[str, bytes] | None:
        """Its sender and payload."""
        return id_from_bytes(packet[:ID_BYTES]), packet[ID_BYTES:]


async def exchange(address: tuple[str, int], request: bytes, *, timeout: float) -> bytes:
    """A push-pull over TCP: a length and a roster each way."""
    async with asyncio.timeout(timeout):
        reader, writer = await asyncio.open_connection(*address)
        try:
            _write(writer, request)
            return await _read(reader)
        finally:
            writer.close()


async def member(sim: SimNode, rows: list[Row], views: Views) -> None:
    """Be a member that knows all others already."""
    me = node_id(sim.name)
    seal = PlainSeal(me)
    datagrams = await Datagrams.open(me, seal, "0.0.0.0", PORT, open_asyncio_port)  # noqa: S104 - simulated
    rng = sim.stream("gossip")
    membership = Membership(me, 1, (sim.ip, PORT), datagrams, exchange, GossipConfig(), rng)
    # Once all are there: what is used all the time then lies together in memory, which counts.
    await asyncio.sleep(BOOT_S)
    now = asyncio.get_running_loop().time()
    membership._core.ledger.merge(Roster(me, tuple(rows)), now)
    membership._core._queue.clear()  # what everybody knows is no news
    views[sim.name] = membership

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await _read(reader)
            # The caller is authenticated by TLS; here the roster says who it is.
            sender = decode_roster(request).sender
            _write(writer, await membership.answer_exchange(sender, request))
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(serve, sim.ip, PORT):
        await membership.run()


def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(len(data).to_bytes(_LENGTH_BYTES, "big") + data)


async def _read(reader: asyncio.StreamReader) -> bytes:
    size = int.from_bytes(await reader.readexactly(_LENGTH_BYTES), "big")
    return await reader.readexactly(size)


def _play(world: World, nodes: int) -> Tally:
    share()
    cluster, views = Cluster(world, member), Views()
    names = [f"n{number}" for number in range(1, nodes + 1)]
    rows: list[Row] = []
    for name in names:
        sim = cluster.start(name, rows, views)
        rows.append(Row(node_id(name), 1, 0, MemberState.ALIVE.value, sim.ip, PORT))
    world.run_for(0.5)
    cluster.degrade(LOSS)
    world.run_for(CALM_S)
    victims = world.stream("victims").sample(names, max(1, round(nodes * VICTIMS_SHARE)))
    for victim in victims:
        cluster.cut_power(victim)
    gone = [node_id(victim) for victim in victims]
    living = [name for name in names if name not in victims]
    period = GossipConfig().probe_interval_s
    for _ in range(DETECTION_PERIODS_MAX):
        world.run_for(period)
        if world.failures or all(_knows(views[name], gone) for name in living):
            break
    for name in living:
        _judge(world, name, views[name], gone)
    return Tally(operations=len(living), faults=cluster.faults)


def _knows(view: Membership, gone: list[str]) -> bool:
    members = [view.member(each) for each in gone]
    return all(each is None or each.state is MemberState.DEAD for each in members)


def _judge(world: World, name: str, view: Membership, gone: list[str]) -> None:
    """Exactly the victims are dead."""
    if world.failures:
        return
    for each in view.members():
        if (each.state is MemberState.DEAD) != (each.id in gone):
            word = "a victim" if each.id in gone else "a living member"
            world.fail("wrong view", f"{word} is {each.state.name}", name)
            return


SWIM = Scenario("swim", "membership alone; a few of many nodes lose power", 1000, _play)
