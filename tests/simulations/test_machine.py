"""The simulated machine behind the seam, and clusters of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from peerdisco.machine import Machine
from peerdisco.security.certificates import ANY_NODE, host_name
from peerdisco.security.secrets import node_id_of_private
from peerdisco_sim.cluster import Cluster
from peerdisco_sim.files import SimFiles
from peerdisco_sim.machine import sim_machine
from peerdisco_sim.node import SimNode
from peerdisco_sim.transport_security import PlaintextSecurity
from peerdisco_sim.world import World


class Silent:
    def __init__(self, files: SimFiles) -> None:
        self.files = files

    def handle(self, frame: bytes) -> Iterator[bytes]:
        yield frame


def test_streams_differ_by_name_and_boot_and_follow_from_the_seed() -> None:
    def draw(seed: int) -> list[Any]:
        async def look(machine: Machine) -> list[Any]:
            return [
                machine.rng("gossip").random(),
                machine.rng("dht").random(),
                machine.entropy(4),
                machine.wall_time(),
            ]

        with World(seed) as world:
            node = SimNode(world, "node", skew_s=3)
            seen = []
            for _ in range(2):
                task = node.run(lambda: look(sim_machine(node, Silent)))
                seen.append(world.run_until_done(task, 1))
                node.kill()
        return seen

    first, second = draw(1)
    assert first[0] != first[1]
    assert first[:3] != second[:3]
    assert [first, second] == draw(1)
    assert first[0] != draw(2)[0][0]
    assert 1_800_000_003 == pytest.approx(first[3])


def test_a_peer_proves_its_id_with_the_clusters_secret_only() -> None:
    secret, key = b"s" * 32, b"k" * 32
    mine = PlaintextSecurity(secret, key)
    other = PlaintextSecurity(secret, b"o" * 32)
    stranger = PlaintextSecurity(b"x" * 32, key)
    headers = mine.request_headers(ANY_NODE)
    assert node_id_of_private(key) == other.identify(headers, None)
    assert stranger.identify(headers, None) is None
    assert mine.identify({}, None) is None
    forged = {**headers, "X-Peerdisco-Node": "a", "X-Peerdisco-Proof": "ä"}
    assert mine.identify(forged, None) is None
    assert mine.server_context() is mine.client_context() is None


def test_who_took_over_the_address_of_another_node_does_not_answer_for_it() -> None:
    """As under TLS, where the certificate would be the wrong one."""
    secret = b"s" * 32
    mine, new = PlaintextSecurity(secret, b"k" * 32), PlaintextSecurity(secret, b"n" * 32)
    gone, there = (host_name(node_id_of_private(key)) for key in (b"g" * 32, b"n" * 32))
    assert new.identify(mine.request_headers(gone), None) is None
    assert new.identify(mine.request_headers(there), None) is not None


async def _daemon(node: SimNode, greeting: str) -> None:
    machine = sim_machine(node, Silent)
    boots = b"1"
    if await machine.disk.size("boots") is not None:
        boots = b"%d" % (int(await machine.disk.read("boots")) + 1)
    await machine.disk.write("boots", boots)

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"{greeting} {boots.decode()}".encode())
        writer.close()

    server = await asyncio.start_server(serve, "0.0.0.0", 80)
    await server.serve_forever()


async def _ask(name: str) -> str:
    reader, writer = await asyncio.open_connection(name, 80)
    answer = await reader.read()
    writer.close()
    return answer.decode()


@pytest.fixture
def cluster(world: World) -> Cluster:
    cluster = Cluster(world, _daemon)
    for name in ("a", "b", "c"):
        cluster.start(name, f"i am {name}")
    world.run_for(1)
    return cluster


def test_clients_run_on_machines_of_their_own(cluster: Cluster) -> None:
    assert "i am b 1" == cluster.client(lambda: _ask("b"), timeout=10)
    assert ["a", "b", "c"] == cluster.names == cluster.running


def test_a_restarted_node_has_its_disk_and_nothing_else(world: World, cluster: Cluster) -> None:
    cluster.kill("a")
    assert ["b", "c"] == cluster.running
    cluster.restart("a")
    cluster.cut_power("b")
    cluster.restart("b", "now i am B")
    cluster.restart("c")
    world.run_for(1)
    answers = [cluster.client(lambda n=n: _ask(n), timeout=10) for n in cluster.names]  # type: ignore[misc]  # bound early
    assert ["i am a 2", "now i am B 2", "i am c 2"] == answers
    assert {"kill": 1, "power cut": 1, "restart": 3} == cluster.faults


def test_an_isolated_node_is_out_of_reach_until_healed(cluster: Cluster) -> None:
    with pytest.raises(TimeoutError):
        cluster.client(lambda: _ask_after_isolating(cluster), timeout=20)
    cluster.heal()
    assert "i am a 1" == cluster.client(lambda: _ask("a"), timeout=20)


async def _ask_after_isolating(cluster: Cluster) -> str:
    cluster.isolate("a")
    return await _ask("a")


def test_partitions_cuts_clogs_pauses_and_jumps_are_counted(world: World, cluster: Cluster) -> None:
    before = cluster.node("a").wall_time()
    cluster.partition(["a"], ["b", "c"])
    cluster.cut(["b"], ["c"])
    cluster.clog("a", 1)
    cluster.pause("b", 1)
    cluster.jump_clock("a", 3600)
    assert cluster.node("a").wall_time() == pytest.approx(before + 3600)
    assert 5 == sum(cluster.faults.values())
    network, ip = world.network, {name: cluster.node(name).ip for name in cluster.names}
    assert network.is_cut(ip["b"], ip["c"])
    assert not network.is_cut(ip["c"], ip["b"])
    assert network.is_cut(ip["a"], ip["c"])
    assert network.is_cut(ip["c"], ip["a"])
