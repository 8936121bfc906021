"""Kademlia: the true nearest living nodes are found, whoever is dead."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from peerdisco_dht import AddNodes, Found, Kademlia, StorageNode, Unavailable, encode
from peerdisco_dht.kademlia.crawl import GIVE_UP_S, HEDGE_S, Ask, Crawl
from peerdisco_dht.kademlia.messages import NODES_BYTES_MAX, Contact, Nodes, Ping, encode_nodes
from peerdisco_dht.kademlia.table import BUCKET_SIZE, Table
from peerdisco_dht.keeper import LayoutKeeper
from peerdisco_dht.keys import key_of_node, node_of_key
from peerdisco_dht.layout import Layout, change

if TYPE_CHECKING:
    from tests.dht_storage.conftest import MemoryStore, World

RTT_S = 0.0005


def distance(contact: Contact, target: bytes) -> int:
    return int.from_bytes(contact.key, "big") ^ int.from_bytes(target, "big")


class Network:
    """Tables that answer each other in virtual time; the dead stay silent."""

    def __init__(self, size: int, seed: int) -> None:
        self.rng = random.Random(seed)
        self.loss = 0.0
        self.dead: dict[bytes, None] = {}
        self.contacts = [
            Contact(self.rng.randbytes(20), f"10.0.{i >> 8}.{i & 255}", 8990) for i in range(size)
        ]
        self.tables = {contact.key: Table(contact.key) for contact in self.contacts}
        for number, contact in enumerate(self.contacts[1:], start=1):
            table = self.tables[contact.key]
            table.seen(self.contacts[self.rng.randrange(number)])
            self.lookup(contact, contact.key)
            for low, high in table.ranges():
                self.lookup(contact, self.rng.randint(low, high).to_bytes(20, "big"))
        for contact in self.contacts:
            self.lookup(contact, contact.key)

    def lookup(self, me: Contact, target: bytes) -> tuple[list[Contact], float]:
        """One crawl; its result and how long it took."""
        table = self.tables[me.key]
        crawl = Crawl(me.key, target, table.nearest(target, BUCKET_SIZE))
        order = itertools.count()
        now = 0.0
        arriving: list[tuple[float, int, Contact]] = []

        def send(asks: list[Ask]) -> None:
            for ask in asks:
                alive = ask.contact.key not in self.dead
                if alive and self.rng.random() >= 2 * self.loss:
                    arrival = now + RTT_S * self.rng.uniform(0.5, 1.5)
                    heapq.heappush(arriving, (arrival, next(order), ask.contact))

        send(crawl.start(now))
        while not crawl.done:
            deadline = crawl.deadline
            assert deadline is not None
            if arriving and arriving[0][0] < deadline:
                now, _, contact = heapq.heappop(arriving)
                answering = self.tables[contact.key]
                answering.seen(me)
                table.seen(contact)
                found = answering.nearest(target, BUCKET_SIZE, exclude=me.key)
                send(crawl.answered(contact.key, found, now))
            else:
                now = deadline
                send(crawl.tick(now))
        return crawl.result(BUCKET_SIZE), now

    def truth(self, me: Contact, target: bytes, count: int) -> list[Contact]:
        living = [c for c in self.contacts if c.key not in self.dead and c != me]
        return sorted(living, key=lambda c: distance(c, target))[:count]


@pytest.fixture(scope="module")
def network() -> Network:
    return Network(200, 7)


@pytest.mark.parametrize(("dead", "loss"), [(0.0, 0.0), (0.1, 0.0), (0.3, 0.0), (0.0, 0.01)])
def test_the_three_nearest_living_nodes_are_always_found(
    network: Network, dead: float, loss: float
) -> None:
    rng = random.Random(f"{dead}/{loss}")
    network.dead = dict.fromkeys(
        c.key for c in rng.sample(network.contacts, int(dead * len(network.contacts)))
    )
    network.loss = loss
    living = [c for c in network.contacts if c.key not in network.dead]
    times = []
    for _ in range(60):
        me, target = rng.choice(living), rng.randbytes(20)
        found, took = network.lookup(me, target)
        assert found[:3] == network.truth(me, target, 3)
        assert not any(contact.key in network.dead for contact in found)
        times.append(took)
    network.dead, network.loss = {}, 0.0
    assert sorted(times)[int(0.95 * len(times))] < 0.25


def test_neighbours_are_exact_and_buckets_split_by_range() -> None:
    rng = random.Random(3)
    me = rng.randbytes(20)
    table = Table(me)
    full = 0
    for number in range(1000):
        full += table.seen(Contact(rng.randbytes(20), "h", number)) is not None
    assert full
    everybody = table.nearest(me, 10_000)
    assert len(everybody) == len(table) > 150
    for _ in range(20):
        target = rng.randbytes(20)
        expected = sorted(everybody, key=lambda c: distance(c, target))[:BUCKET_SIZE]
        assert table.nearest(target, BUCKET_SIZE) == expected
    ranges = table.ranges()
    assert ranges[0][0] == 0
    assert ranges[-1][1] == 2**160 - 1
    assert all(a[1] + 1 == b[0] for a, b in itertools.pairwise(ranges))


def test_a_full_bucket_keeps_the_old_contact_until_it_is_lost() -> None:
    me = bytes(20)
    table = Table(me)
    far = [Contact(b"\xff" + bytes([i]) + bytes(18), "h", i) for i in range(60)]
    oldest = next(o for o in (table.seen(contact) for contact in far) if o is not None)
    assert oldest in table.nearest(oldest.key, 1)
    before = len(table)
    table.lost(oldest.key)
    assert oldest not in table.nearest(oldest.key, 1)
    assert len(table) == before
    assert table.seen(Contact(me, "h", 1)) is None
    assert len(table) == before


def test_a_silent_contact_costs_a_hedge_and_is_not_in_the_result() -> None:
    silent, living = Contact(b"\x01" * 20, "a", 1), Contact(b"\x02" * 20, "b", 2)
    crawl = Crawl(b"\xff" * 20, bytes(20), [silent, living])
    assert [ask.contact for ask in crawl.start(0.0)] == [silent, living]
    assert crawl.answered(living.key, [], 0.001) == []
    assert (crawl.done, crawl.deadline) == (False, HEDGE_S)
    assert crawl.tick(HEDGE_S) == []
    repeated = crawl.tick(crawl.deadline or 0.0)
    assert [ask.contact for ask in repeated] == [silent]
    assert crawl.tick(GIVE_UP_S) == []
    assert (crawl.done, crawl.result(9)) == (True, [living])
    crawl.answered(silent.key, [], 0.2)
    assert crawl.result(9) == [silent, living]


def test_an_answer_that_nobody_asked_for_is_ignored() -> None:
    crawl = Crawl(b"\xff" * 20, bytes(20), [])
    assert crawl.done
    assert crawl.answered(b"\x09" * 20, [Contact(b"\x08" * 20, "x", 1)], 0.0) == []
    assert crawl.result(9) == []


def test_answers_fit_into_a_datagram() -> None:
    contacts = [Contact(b"\x77" * 20, "2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff", 8990)] * 20
    assert len(encode_nodes(2**62, contacts)) <= NODES_BYTES_MAX
    for i in range(3):
        assert len(encode_nodes(i, [])) < 20


class Bus:
    """Datagrams between the nodes of one loop."""

    def __init__(self) -> None:
        self.handlers: dict[tuple[str, int], tuple[str, Callable[..., None]]] = {}

    def port(self, node: str, address: tuple[str, int]) -> Port:
        return Port(self, node, address)


class Port:
    def __init__(self, bus: Bus, node: str, address: tuple[str, int]) -> None:
        self.bus, self.node, self.local_address = bus, node, address

    def send(self, address: tuple[str, int], channel: int, payload: bytes) -> bool:
        loop = asyncio.get_running_loop()
        loop.call_later(RTT_S / 2, self._deliver, address, channel, payload)
        return True

    def _deliver(self, address: tuple[str, int], channel: int, payload: bytes) -> None:
        assert channel == 1
        if address in self.bus.handlers:
            self.bus.handlers[address][1](self.node, self.local_address, payload)

    def subscribe(self, channel: int, handler: Callable[..., None]) -> None:
        assert channel == 1
        self.bus.handlers[self.local_address] = (self.node, handler)


class Alone:
    """Members that nobody has told of any."""

    def __init__(self, me: str) -> None:
        self.me = me

    def alive(self) -> list[str]:
        return [self.me]

    def address_of(self, node: str) -> tuple[str, int] | None:
        return None


def test_a_node_that_knows_one_address_finds_the_home_of_a_key(
    world: World, store: Callable[[], MemoryStore]
) -> None:
    async def story(cluster: object) -> None:
        bus, rng = Bus(), random.Random(5)
        names = [node_of_key(rng.randbytes(20)) for _ in range(40)]
        layout = change(Layout(), AddNodes(tuple(StorageNode(name) for name in names))).layout
        informed = LayoutKeeper(store())
        informed.adopt(layout)
        kademlias: list[Kademlia] = []
        async with asyncio.TaskGroup() as group:
            tasks = []
            for number, name in enumerate([*names, node_of_key(rng.randbytes(20))]):
                keeper = informed if number < len(names) else LayoutKeeper(store())
                port = bus.port(name, ("10.0.0.1", number))
                kademlia = Kademlia(name, port, Alone(name), keeper, random.Random(number))
                kademlias.append(kademlia)
                tasks.append(group.create_task(kademlia.run()))
                if number:
                    kademlia.introduce(("10.0.0.1", rng.randrange(number)))
            await asyncio.sleep(60)
            client = kademlias[-1]
            for _ in range(10):
                key = rng.randbytes(20)
                found = await client.find(key)
                nearest = sorted(
                    names,
                    key=lambda n: (
                        int.from_bytes(key_of_node(n), "big") ^ int.from_bytes(key, "big")
                    ),
                )
                assert found == Found(1, informed.home_of_key(key), nearest[0], found.nearest)
                assert list(found.nearest[:3]) == nearest[:3]
            bus.handlers[("10.0.0.1", 40)][1](names[0], ("10.0.0.1", 0), b"\xffgarbage")
            short = encode(Nodes(1, (Contact(b"short", "h", 1),)))
            bus.handlers[("10.0.0.1", 40)][1](names[0], ("10.0.0.1", 0), short)
            assert client.malformed == 2
            for task in tasks:
                task.cancel()

    world(story, 0)


class Known(Alone):
    """Members of whom one is known."""

    def address_of(self, node: str) -> tuple[str, int] | None:
        return ("10.0.0.7", 8990) if node == "b" * 32 else None


def test_a_datagram_sent_again_from_elsewhere_moves_no_member(
    world: World, store: Callable[[], MemoryStore]
) -> None:
    """Found by the intruder of seed 36: lookups asked whoever had recorded a datagram."""

    async def story(cluster: object) -> None:
        bus, me = Bus(), "a" * 32
        port = bus.port(me, ("10.0.0.1", 1))
        kademlia = Kademlia(me, port, Known(me), LayoutKeeper(store()), random.Random(1))
        ping = encode(Ping(1))
        for name in ("b" * 32, "c" * 32):
            bus.handlers[port.local_address][1](name, ("6.6.6.6", 666), ping)
        nearest = kademlia._table.nearest(key_of_node(me), 9)
        where = {contact.key: (contact.host, contact.port) for contact in nearest}
        assert where == {
            key_of_node("b" * 32): ("10.0.0.7", 8990),
            key_of_node("c" * 32): ("6.6.6.6", 666),
        }

    world(story, 0)


def test_finding_fails_when_nobody_knows_a_layout(
    world: World, store: Callable[[], MemoryStore]
) -> None:
    async def story(cluster: object) -> None:
        name = node_of_key(b"\x01" * 20)
        port = Bus().port(name, ("10.0.0.1", 1))
        kademlia = Kademlia(name, port, Alone(name), LayoutKeeper(store()), random.Random(1))
        with pytest.raises(Unavailable):
            await kademlia.find(b"\x05" * 20)

    world(story, 0)
