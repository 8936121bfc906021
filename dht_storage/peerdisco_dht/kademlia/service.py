"""Kademlia on a node: answers its peers, keeps its table fresh, and looks keys up.

A node that holds the layout computes homes and needs none of this. A node that is joining, has an
old layout or none, or knows a single address finds its way here: a lookup ends at the nearest
responder that holds the layout, with `home(key)` as that node computes it.

The thin driver of `table.py` and `crawl.py`.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass

from peerdisco_dht.errors import Unavailable
from peerdisco_dht.kademlia.crawl import Ask, Crawl
from peerdisco_dht.kademlia.messages import (
    Contact,
    Datagram,
    FindHome,
    FindNode,
    Home,
    Nodes,
    Ping,
    Pong,
    check_key,
    encode_nodes,
)
from peerdisco_dht.kademlia.table import BUCKET_SIZE, Table
from peerdisco_dht.keeper import LayoutKeeper
from peerdisco_dht.keys import KEY_BYTES, key_of_node, node_of_key
from peerdisco_dht.messages import BadMessage, decode, encode
from peerdisco_dht.ports import Address, Datagrams, Members, NodeId

logger = logging.getLogger(__name__)

CHANNEL = 1
REFRESH_FIRST_S = 1.0
REFRESH_S = 600.0
PING_PATIENCE_S = 1.0
HOME_PATIENCE_S = 0.25
LOOKUP_S_MAX = 5.0
WAITING_MAX = 10_000
"""Questions in flight; the oldest is forgotten when there are more."""
PINGS_MAX = 64
REFRESHED_BUCKETS_MAX = 20

_Answer = tuple[bytes, Datagram]


@dataclass(frozen=True, slots=True)
class Found:
    """Where a key lives, as another node computes it.

    Attributes:
        epoch: The layout epoch of that node.
        home: The home set, first choice first.
        told_by: Who said so.
        nearest: The nodes nearest to the key that answered.
    """

    epoch: int
    home: tuple[NodeId, ...]
    told_by: NodeId
    nearest: tuple[NodeId, ...]


class Kademlia:
    """One node's part in the lookup network."""

    def __init__(
        self,
        me: NodeId,
        datagrams: Datagrams,
        members: Members,
        keeper: LayoutKeeper,
        rng: random.Random,
    ) -> None:
        self._me = key_of_node(me)
        self._datagrams = datagrams
        self._members = members
        self._keeper = keeper
        self._rng = rng
        self._table = Table(self._me)
        self._waiting: dict[int, asyncio.Queue[_Answer]] = {}
        self._pings: asyncio.Queue[Contact] = asyncio.Queue(PINGS_MAX)
        self.malformed = 0
        datagrams.subscribe(CHANNEL, self._receive)

    async def run(self) -> None:
        """Join, keep the table fresh and make room for newcomers, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._check_contacts())
            group.create_task(self._keep_fresh())

    def introduce(self, address: Address) -> None:
        """Make contact with whoever receives at an address."""
        self._send(address, encode(Ping(self._number())))

    async def lookup(self, key: bytes, count: int = BUCKET_SIZE) -> list[Contact]:
        """The contacts nearest to a key that answer, nearest first; this node is left out."""
        crawl = Crawl(self._me, key, self._seeds(key))
        answers: asyncio.Queue[_Answer] = asyncio.Queue()
        request = self._number()
        self._await_answer(request, answers)
        try:
            async with asyncio.timeout(LOOKUP_S_MAX):
                await self._drive(crawl, request, answers)
        except TimeoutError:
            logger.debug("event=lookup_cut reason=too_long")
        finally:
            self._waiting.pop(request, None)
        return crawl.result(count)

    async def find(self, key: bytes) -> Found:
        """Where a key lives; raises Unavailable when nobody who answers holds a layout."""
        nearest = await self.lookup(key)
        names = tuple(node_of_key(contact.key) for contact in nearest)
        for contact in nearest:
            home = await self._ask_home(contact, key)
            if home is not None and home.epoch:
                return Found(home.epoch, home.nodes, node_of_key(contact.key), names)
        raise Unavailable("nobody who answers holds a layout")

    async def _drive(self, crawl: Crawl, request: int, answers: asyncio.Queue[_Answer]) -> None:
        loop = asyncio.get_running_loop()
        asks = crawl.start(loop.time())
        while True:
            self._perform(asks, request, crawl.target)
            if crawl.done:
                return
            deadline = crawl.deadline
            if deadline is not None and loop.time() >= deadline:
                asks = crawl.tick(loop.time())
                continue
            try:
                async with asyncio.timeout_at(deadline):
                    key, answer = await answers.get()
            except TimeoutError:
                asks = crawl.tick(loop.time())
                continue
            asks = []
            if isinstance(answer, Nodes):
                asks = crawl.answered(key, answer.contacts, loop.time())

    def _perform(self, asks: Sequence[Ask], request: int, target: bytes) -> None:
        data = encode(FindNode(request, target))
        for ask in asks:
            self._send((ask.contact.host, ask.contact.port), data)

    async def _ask_home(self, contact: Contact, key: bytes) -> Home | None:
        answers: asyncio.Queue[_Answer] = asyncio.Queue()
        request = self._number()
        self._await_answer(request, answers)
        try:
            for _ in range(2):
                self._send((contact.host, contact.port), encode(FindHome(request, key)))
                try:
                    async with asyncio.timeout(HOME_PATIENCE_S):
                        _, answer = await answers.get()
                except TimeoutError:
                    continue
                return answer if isinstance(answer, Home) else None
            return None
        finally:
            self._waiting.pop(request, None)

    def _seeds(self, key: bytes) -> list[Contact]:
        """Contacts to begin with: the table, and members while it is empty."""
        return self._table.nearest(key, BUCKET_SIZE) or self._member_contacts()

    def _member_contacts(self) -> list[Contact]:
        """Some members, at random."""
        contacts = []
        for node in self._members.alive():
            address = self._members.address_of(node)
            if address is not None and key_of_node(node) != self._me:
                contacts.append(Contact(key_of_node(node), *address))
        return self._rng.sample(contacts, min(BUCKET_SIZE, len(contacts)))

    def _receive(self, sender: NodeId, address: Address, payload: bytes) -> None:
        """Take a datagram; a malformed one is counted and dropped."""
        try:
            message: Datagram = decode(payload, Datagram)  # type: ignore[arg-type]  # mypy has no type of union types
            self._handle(key_of_node(sender), address, message)
        except BadMessage:
            self.malformed += 1

    def _handle(self, sender: bytes, address: Address, message: Datagram) -> None:
        # Datagrams prove who wrote them, not where they come from: anybody can send a recorded one
        # again. Of a member it is known where it is, and only strangers are believed.
        where = self._members.address_of(node_of_key(sender)) or address
        oldest = self._table.seen(Contact(sender, *where))
        if oldest is not None and not self._pings.full():
            self._pings.put_nowait(oldest)
        match message:
            case Ping(request):
                self._send(address, encode(Pong(request)))
            case FindNode(request, target):
                nearest = self._table.nearest(check_key(target), BUCKET_SIZE, exclude=sender)
                self._send(address, encode_nodes(request, nearest))
            case FindHome(request, target):
                home = self._keeper.home_of_key(check_key(target))
                self._send(address, encode(Home(request, self._keeper.epoch, home)))
            case Nodes(request, contacts):
                for contact in contacts:
                    check_key(contact.key)
                self._deliver(request, sender, message)
            case Pong(request) | Home(request):
                self._deliver(request, sender, message)

    def _deliver(self, request: int, sender: bytes, message: Datagram) -> None:
        answers = self._waiting.get(request)
        if answers is not None:
            answers.put_nowait((sender, message))

    def _await_answer(self, request: int, answers: asyncio.Queue[_Answer]) -> None:
        if len(self._waiting) >= WAITING_MAX:
            del self._waiting[next(iter(self._waiting))]
        self._waiting[request] = answers

    def _send(self, address: Address, data: bytes) -> None:
        if not self._datagrams.send(address, CHANNEL, data):
            logger.debug(f"event=datagram_dropped to={address}")

    def _number(self) -> int:
        return self._rng.getrandbits(63)

    async def _check_contacts(self) -> None:
        """Ping the oldest contact of full buckets, and drop those that do not answer."""
        while True:
            contact = await self._pings.get()
            answers: asyncio.Queue[_Answer] = asyncio.Queue()
            request = self._number()
            self._await_answer(request, answers)
            self._send((contact.host, contact.port), encode(Ping(request)))
            try:
                async with asyncio.timeout(PING_PATIENCE_S):
                    await answers.get()
            except TimeoutError:
                self._table.lost(contact.key)
            finally:
                self._waiting.pop(request, None)

    async def _keep_fresh(self) -> None:
        """Join by looking oneself up and refresh the buckets (section 2.3), ever more rarely."""
        pause = REFRESH_FIRST_S
        while True:
            for contact in self._member_contacts():
                self.introduce((contact.host, contact.port))
            await self.lookup(self._me)
            for low, high in self._table.ranges()[:REFRESHED_BUCKETS_MAX]:
                key = self._rng.randint(low, high).to_bytes(KEY_BYTES, "big")
                await self.lookup(key)
            await asyncio.sleep(self._rng.uniform(0.5, 1.0) * pause)
            if len(self._table):
                pause = min(2 * pause, REFRESH_S)
