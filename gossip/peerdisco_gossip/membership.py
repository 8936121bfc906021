"""The driver of the membership protocol: it feeds the core and performs what the core asks for.

A datagram is heard when it comes; the core's deadline is checked before each of them, so a flood
cannot keep timers from firing, and one timer of the loop wakes the core for all that is due.
Subscribers are called one after the other, in the order in which things changed. All decisions are
in `core.py`; nothing here is one.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol, assert_never

from peerdisco_gossip.config import GossipConfig
from peerdisco_gossip.core import Core, Received
from peerdisco_gossip.datagrams import CHANNEL_GOSSIP
from peerdisco_gossip.members import Address, Member, MemberChanged, MemberState
from peerdisco_gossip.messages import BadMessage, Roster, decode_packet, decode_roster, encode
from peerdisco_gossip.outbox import Effect, PushPull, Send

PUSH_PULLS_MAX: Final = 4
"""More are not made at the same time; the next interval makes up for it."""

Subscriber = Callable[[MemberChanged], None]

_log = logging.getLogger(__name__)


class Channels(Protocol):
    """What is needed of `Datagrams`."""

    def send(self, address: Address, channel: int, payload: bytes) -> bool:
        """Send; False when dropped."""

    def subscribe(self, channel: int, handler: Callable[[str, Address, bytes], None]) -> None:
        """Receive a channel's payloads with their authenticated senders."""


class Exchange(Protocol):
    """One question and one answer over TCP with whoever is at the address."""

    async def __call__(self, address: Address, request: bytes, *, timeout: float) -> bytes:
        """The peer's answer; raises OSError."""


class Membership:
    """Who is in the cluster, as this node sees it. To be made inside a running loop.

    Args:
        me: This node's id.
        generation: How often it has started, this start included.
        advertise: The address (not a name) that others reach this node at.
        datagrams: The sealed socket; the gossip channel is taken.
        exchange: Makes a push-pull.
        config: Times and limits.
        rng: This component's own stream of randomness.
    """

    def __init__(
        self,
        me: str,
        generation: int,
        advertise: Address,
        datagrams: Channels,
        exchange: Exchange,
        config: GossipConfig,
        rng: random.Random,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._config = config
        self._core = Core(me, generation, advertise, config, rng, self._loop.time())
        self._datagrams = datagrams
        self._exchange = exchange
        self._alarm: asyncio.TimerHandle | None = None
        self._armed_for = math.inf
        self._broken: asyncio.Future[None] = self._loop.create_future()
        self._told = asyncio.Event()
        self._effects: deque[Effect] = deque()
        self._is_performing = False
        self._subscribers: list[Subscriber] = []
        self._tasks: asyncio.TaskGroup | None = None
        self._push_pulls = 0
        self._stats = dict.fromkeys(
            (
                "bad_messages",
                "heard_too_late",
                "subscriber_errors",
                "push_pull_failures",
                "push_pulls_skipped",
            ),
            0,
        )
        datagrams.subscribe(CHANNEL_GOSSIP, self._take)

    # -- what others ask

    def members(self) -> list[Member]:
        """Everybody who is remembered, this node included, sorted by id."""
        return sorted(
            (record.snapshot() for record in self._core.members.all()),
            key=lambda member: member.id,
        )

    def member(self, node_id: str) -> Member | None:
        """One member, or None when nothing is known of it."""
        record = self._core.members.get(node_id)
        return record.snapshot() if record is not None else None

    def address_of(self, node_id: str) -> Address | None:
        """Where a member is reached, or None when nothing is known of it."""
        record = self._core.members.get(node_id)
        return record.address if record is not None else None

    def alive(self) -> list[str]:
        """The ids of those who are ALIVE or SUSPECT, this node included, sorted."""
        return sorted(record.id for record in self._core.members.present())

    def known(self) -> list[str]:
        """The ids of all who have not left, sorted.

        The dead are among them, and the peers of an earlier life that were not met again yet.
        """
        everybody = self._core.members.all()
        staying = [record.id for record in everybody if record.state != MemberState.LEFT]
        return sorted([*staying, *self._core.strangers()])

    def subscribe(self, callback: Subscriber) -> None:
        """Call this with every change from now on; it must not block.

        What it raises is logged and counted, and does not keep the others from being called.
        """
        self._subscribers.append(callback)

    @property
    def stats(self) -> dict[str, int]:
        """A copy of all counters, and the local health score."""
        core = self._core
        parts = (self._stats, core.stats, core.ledger.stats, core.detector.stats)
        merged = {name: count for part in parts for name, count in part.items()}
        return merged | {
            "local_health": core.awareness.score,
            "rumours_dropped": core.rumours_dropped,
        }

    # -- what others tell

    def set_metadata(self, key: str, value: bytes) -> None:
        """Change one of this node's own facts and tell everybody; raises ValueError if too big."""
        self._perform(self._core.set_metadata(key, value))

    def evidence(self, node_id: str, reason: str) -> None:
        """Something outside speaks for this member being gone: it is probed at once.

        When it does not answer, its suspicion is short. `reason` is for the log.
        """
        record = self._core.members.get(node_id)
        is_news = record is not None and record.state == MemberState.ALIVE
        _log.log(
            logging.INFO if is_news else logging.DEBUG,
            "evidence member=%s reason=%r",
            node_id,
            reason,
        )
        self._perform(self._core.evidence(node_id, self._loop.time()))

    async def join(self, addresses: Sequence[Address]) -> list[Member]:
        """Swap full states with the first of these that answers, and return all members.

        Raises OSError that names every address and its trouble when none answers.
        """
        troubles: list[str] = []
        for address in addresses:
            trouble = await self._push_pull(address, self._core.roster(self._loop.time()))
            if trouble is None:
                return self.members()
            troubles.append(f"{address[0]}:{address[1]}: {trouble}")
        raise OSError("no member answered: " + ("; ".join(troubles) or "no address was given"))

    async def leave(self) -> None:
        """Leave the cluster for good, and wait a moment until the news has spread."""
        await self._depart(None)

    async def stopping(self, back_by_s: float) -> None:
        """Say that this node stops now and means to be back in so many seconds."""
        await self._depart(back_by_s)

    async def _depart(self, back_in_s: float | None) -> None:
        self._perform(self._core.depart(self._loop.time(), back_in_s))
        self._told.clear()
        try:
            async with asyncio.timeout(self._config.leave_timeout_s):
                while self._core.has_news:
                    self._told.clear()
                    await self._told.wait()
        except TimeoutError:
            _log.info("departure_not_spread timeout_s=%s", self._config.leave_timeout_s)

    def roster(self) -> bytes:
        """All that is known of the members, to be kept for the next start."""
        return encode(self._core.roster(self._loop.time()))

    def restore(self, roster: bytes) -> None:
        """Contact the peers of an earlier life soon. Raises BadMessage and changes nothing."""
        self._core.restore(decode_roster(roster))

    async def answer_exchange(self, sender: str, request: bytes) -> bytes:
        """The server's side of a push-pull. Raises BadMessage when the request is none."""
        roster = decode_roster(request)
        if roster.sender != sender:
            raise BadMessage(f"{sender} sent the roster of {roster.sender}")
        answer, effects = self._core.answer(roster, self._loop.time())
        self._perform(effects)
        return encode(answer)

    # -- the service

    async def run(self) -> None:
        """Take part until cancelled."""
        self._core.start(self._loop.time())
        async with asyncio.TaskGroup() as self._tasks:
            try:
                self._arm()
                await self._broken
            finally:
                self._tasks = None
                self._broken.cancel()
                self._arm()

    def _arm(self) -> None:
        """Have the core woken at its deadline, while this runs."""
        is_running = self._tasks is not None and not self._broken.done()
        deadline = self._core.deadline if is_running else math.inf
        if deadline == self._armed_for:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self._loop.call_at(deadline, self._ring) if deadline < math.inf else None
        self._armed_for = deadline

    def _ring(self) -> None:
        """The deadline has come, or nearly: the loop's clock may be a hair early."""
        self._alarm, self._armed_for = None, math.inf
        now = self._loop.time()
        try:
            if self._core.deadline <= now:
                self._tick(now)
        except Exception as error:
            self._break(error)
        self._arm()

    def _tick(self, now: float) -> None:
        self._perform(self._core.tick(now))
        self._told.set()

    def _take(self, sender: str, address: Address, payload: bytes) -> None:
        """A datagram has come."""
        if self._broken.done():
            self._stats["heard_too_late"] += 1
            return
        now = self._loop.time()
        try:
            if self._core.deadline <= now:
                self._tick(now)
            self._hear(sender, address, payload, now)
        except Exception as error:
            self._break(error)

    def _break(self, error: Exception) -> None:
        """A bug of ours in a callback ends `run`, as it would if `run` had made the call."""
        if not self._broken.done():
            self._broken.set_exception(error)

    def _hear(self, sender: str, address: Address, payload: bytes, now: float) -> None:
        try:
            body, updates = decode_packet(payload)
        except BadMessage as error:
            self._stats["bad_messages"] += 1
            _log.debug("bad_message sender=%s error=%s", sender, error)
            return
        self._perform(self._core.receive(Received(sender, address, body, updates), now))

    # -- effects

    def _perform(self, effects: Sequence[Effect]) -> None:
        """Perform effects in order, also those that subscribers cause on the way."""
        self._effects.extend(effects)
        if self._is_performing:
            return
        self._is_performing = True
        try:
            while self._effects:
                self._perform_one(self._effects.popleft())
        finally:
            self._is_performing = False
            self._arm()

    def _perform_one(self, effect: Effect) -> None:
        match effect:
            case Send():
                self._datagrams.send(effect.address, CHANNEL_GOSSIP, encode(effect.packet))
            case PushPull():
                self._start_push_pull(effect.address)
            case MemberChanged():
                self._notify(effect)
            case _:
                assert_never(effect)

    def _notify(self, change: MemberChanged) -> None:
        for subscriber in self._subscribers:
            try:
                subscriber(change)
            except Exception:
                self._stats["subscriber_errors"] += 1
                _log.exception("subscriber_failed member=%s", change.member.id)

    def _start_push_pull(self, address: Address) -> None:
        if self._tasks is None or self._push_pulls >= PUSH_PULLS_MAX:
            self._stats["push_pulls_skipped"] += 1
            return
        self._push_pulls += 1
        self._tasks.create_task(self._background_push_pull(address))

    async def _background_push_pull(self, address: Address) -> None:
        try:
            trouble = await self._push_pull(address, self._core.ask())
        finally:
            self._push_pulls -= 1
        if trouble is not None:
            _log.debug("push_pull_failed address=%s:%d trouble=%s", *address, trouble)

    async def _push_pull(self, address: Address, first: Roster) -> Exception | None:
        """Swap states with one peer, as far as they differ; what went wrong, or None."""
        timeout_s = self._config.exchange_timeout_s
        request: Roster | None = first
        try:
            async with asyncio.timeout(timeout_s):
                while request is not None:
                    data = await self._exchange(address, encode(request), timeout=timeout_s)
                    answer, now = decode_roster(data), self._loop.time()
                    request, effects = self._core.conclude(request, answer, now)
                    self._perform(effects)
        except (OSError, BadMessage) as error:
            self._stats["push_pull_failures"] += 1
            return error
        return None
