"""Kademlia lookups at scale in virtual time: N tables that answer each other, some of them dead."""

from __future__ import annotations

import heapq
import itertools
import random

from peerdisco_dht.kademlia.crawl import Ask, Crawl
from peerdisco_dht.kademlia.messages import Contact
from peerdisco_dht.kademlia.table import BUCKET_SIZE, Table

RTT_S = 0.0005
TRUE_NEAREST = 3


class Network:
    """Tables of so many nodes, filled by joining one after the other."""

    def __init__(self, size: int, seed: int) -> None:
        self._rng = random.Random(seed)
        self._dead: dict[bytes, None] = {}
        self._contacts = [
            Contact(self._rng.randbytes(20), f"10.0.{i >> 8}.{i & 255}", 8990) for i in range(size)
        ]
        self._tables = {contact.key: Table(contact.key) for contact in self._contacts}
        for number, contact in enumerate(self._contacts[1:], start=1):
            table = self._tables[contact.key]
            table.seen(self._contacts[self._rng.randrange(number)])
            self._lookup(contact, contact.key)
            for low, high in table.ranges():
                self._lookup(contact, self._rng.randint(low, high).to_bytes(20, "big"))

    def measure(self, dead_share: float, lookups: int) -> tuple[float, float]:
        """Per cent of lookups that found the true nearest living nodes, and their p95 in s."""
        count = int(dead_share * len(self._contacts))
        self._dead = dict.fromkeys(c.key for c in self._rng.sample(self._contacts, count))
        living = [c for c in self._contacts if c.key not in self._dead]
        hits, times = 0, []
        for _ in range(lookups):
            me, target = self._rng.choice(living), self._rng.randbytes(20)
            found, took = self._lookup(me, target)
            wanted = int.from_bytes(target, "big")
            truth = heapq.nsmallest(
                TRUE_NEAREST,
                (c for c in living if c != me),
                key=lambda c: int.from_bytes(c.key, "big") ^ wanted,
            )
            hits += found[:TRUE_NEAREST] == truth
            times.append(took)
        return 100 * hits / lookups, sorted(times)[int(0.95 * lookups)]

    def _lookup(self, me: Contact, target: bytes) -> tuple[list[Contact], float]:
        table = self._tables[me.key]
        crawl = Crawl(me.key, target, table.nearest(target, BUCKET_SIZE))
        order, now = itertools.count(), 0.0
        arriving: list[tuple[float, int, Contact]] = []

        def send(asks: list[Ask]) -> None:
            for ask in asks:
                if ask.contact.key not in self._dead:
                    arrival = now + RTT_S * self._rng.uniform(0.5, 1.5)
                    heapq.heappush(arriving, (arrival, next(order), ask.contact))

        send(crawl.start(now))
        while not crawl.done:
            deadline = crawl.deadline
            assert deadline is not None
            if arriving and arriving[0][0] < deadline:
                now, _, contact = heapq.heappop(arriving)
                answering = self._tables[contact.key]
                answering.seen(me)
                table.seen(contact)
                found = answering.nearest(target, BUCKET_SIZE, exclude=me.key)
                send(crawl.answered(contact.key, found, now))
            else:
                now = deadline
                send(crawl.tick(now))
        return crawl.result(BUCKET_SIZE), now
