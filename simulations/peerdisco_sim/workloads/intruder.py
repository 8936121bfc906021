"""Somebody on the network who is not of the cluster: noise, forgery, replay, a foreign node.

Nothing of it may show: no view ever holds a stranger (M7), no node logs an error or answers 500
(N1), nobody tells a stranger anything, and whatever else the cluster is asked for goes on. The
intruder records real datagrams and sends them again, as they are, cut, and with flipped bits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import aiohttp

from peerdisco.config import NodeConfig
from peerdisco.errors import PeerdiscoError
from peerdisco.identity import save_secret
from peerdisco.node import run_node
from peerdisco.security.certificates import ANY_NODE
from peerdisco.security.secrets import ClusterSecret
from peerdisco.worker.service import Service
from peerdisco_sim.addresses import Address
from peerdisco_sim.daemon import HTTP_PORT, PEER_PORT
from peerdisco_sim.machine import sim_machine
from peerdisco_sim.node import SimNode
from peerdisco_sim.schedule import Value
from peerdisco_sim.streams import Stream
from peerdisco_sim.transport_security import PlaintextSecurity
from peerdisco_sim.workloads.work import Work

DEFAULTS: Mapping[str, Value] = {"pause_s": 0.4, "datagrams": 20}
RECORDED_MAX = 300
FOREIGN = ClusterSecret(b"\xff" * 32)
METHODS = ("gossip/exchange", "dht/register/accept", "job/form", "job/kill", "layout/get", "none")
DATAGRAM_BYTES_MAX = 1500


class IntruderWork(Work):
    """The workload `intruder`."""

    def __init__(self, params: Mapping[str, Value]) -> None:
        super().__init__("intruder", params, DEFAULTS)
        self._recorded: list[bytes] = []

    async def work(self) -> None:
        """Annoy everybody until told to stop."""
        arena = self.arena
        assert arena.world.network.tap is None
        arena.world.network.tap = self._record
        SimNode(arena.world, "stranger").boot(self._stranger)
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            asyncio.DatagramProtocol,
            local_addr=("0.0.0.0", 0),  # noqa: S104 - simulated
        )
        draws = self.draws()
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
            while not self.stopping:
                for _ in range(self.number("datagrams")):
                    ip = arena.cluster.node(draws.choice(arena.cluster.names)).ip
                    transport.sendto(self._datagram(draws), (ip, PEER_PORT))
                await self._call(session, draws)
                await self._talk(draws)
                self.operations += 1
                await self.pause(draws, self.seconds("pause_s"))
        transport.close()

    def _record(self, source: Address, target: Address, data: bytes) -> bytes:
        del source, target
        if not data:  # an empty one has nothing to cut or to flip
            return data
        if len(self._recorded) < RECORDED_MAX:
            self._recorded.append(data)
        else:
            self._recorded[len(data) * 7919 % RECORDED_MAX] = data
        return data

    def _datagram(self, draws: Stream) -> bytes:
        dice = draws.random()
        if dice < 0.3 or not self._recorded:
            return draws.randbytes(draws.choice((0, 1, 37, 200, DATAGRAM_BYTES_MAX)))
        data = draws.choice(self._recorded)
        if dice < 0.6:
            return data
        if dice < 0.8:
            return data[: draws.randrange(len(data) + 1)]
        place = draws.randrange(len(data))
        return data[:place] + bytes((data[place] ^ 1 << draws.randrange(8),)) + data[place + 1 :]

    async def _call(self, session: aiohttp.ClientSession, draws: Stream) -> None:
        """Call a peer method without a right proof: it must be refused."""
        name = draws.choice(self.arena.cluster.names)
        url = f"http://{self.arena.cluster.node(name).ip}:{PEER_PORT}/call/{draws.choice(METHODS)}"
        proof = PlaintextSecurity(FOREIGN.raw, b"i" * 32).request_headers(ANY_NODE)
        headers = draws.choice(({}, proof, {"X-Peerdisco-Node": "a" * 32}))
        timeout = aiohttp.ClientTimeout(total=2.0)
        try:
            async with session.post(
                url, data=draws.randbytes(draws.randrange(200)), headers=headers, timeout=timeout
            ) as response:
                if response.status < 400 or response.status >= 500:
                    self.wrong("M7 stranger answered", f"{url}: {response.status}", name)
        except (OSError, aiohttp.ClientError):
            pass

    async def _talk(self, draws: Stream) -> None:
        """Say nonsense on a TCP port, or half a request."""
        name = draws.choice(self.arena.cluster.names)
        ip = self.arena.cluster.node(name).ip
        words = draws.choice((b"", b"GET / HT", draws.randbytes(100), b"POST /x HTTP/1.1\r\n\r\n"))
        try:
            async with asyncio.timeout(2.0):
                _, writer = await asyncio.open_connection(ip, draws.choice((PEER_PORT, HTTP_PORT)))
                writer.write(words)
                await writer.drain()
                writer.close()
        except OSError:
            pass

    async def _stranger(self) -> None:
        """A node of another cluster that was told, wrongly, to join this one."""
        machine = self.arena.world.current
        assert machine is not None
        foreign = sim_machine(machine, Service)
        await save_secret(foreign.disk, FOREIGN)
        names = self.arena.cluster.names
        config = NodeConfig(
            name="stranger",
            advertise=(machine.ip, PEER_PORT),
            peer_port=PEER_PORT,
            http_port=HTTP_PORT,
            seeds=tuple((self.arena.cluster.node(name).ip, PEER_PORT) for name in names),
            local=True,
        )
        try:
            await run_node(foreign, config, lambda _: self.wrong("M7 stranger joined", "it is in"))
        except PeerdiscoError:
            return
