"""The driver: three nodes on real sockets, and its own promises with a datagram source by hand."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from peerdisco_gossip.config import GossipConfig
from peerdisco_gossip.datagrams import Datagrams
from peerdisco_gossip.keys import KeyRing, id_from_bytes
from peerdisco_gossip.members import Address, MemberChanged, MemberState
from peerdisco_gossip.membership import Membership
from peerdisco_gossip.messages import Alive, BadMessage, Gossip, Packet, Ping, encode
from peerdisco_gossip.seal import Seal

KEY = b"k" * 32
IDS = [id_from_bytes(bytes([number]) * 20) for number in range(4)]


class Switchboard:
    """Push-pull between memberships in one process, by address."""

    def __init__(self) -> None:
        self.nodes: dict[Address, Membership] = {}

    def caller(self, me: str) -> Callable[..., object]:
        async def exchange(address: Address, request: bytes, *, timeout: float) -> bytes:
            if address not in self.nodes:
                raise ConnectionRefusedError(f"nobody listens at {address}")
            return await self.nodes[address].answer_exchange(me, request)

        return exchange


@asynccontextmanager
async def started(
    switchboard: Switchboard, me: str, generation: int = 1
) -> AsyncIterator[Membership]:
    """A running membership on a real socket; leaving the block is a crash."""
    datagrams = await Datagrams.open(
        me, Seal(KeyRing([KEY]), me, b"boot%04d" % generation), "127.0.0.1", 0
    )
    membership = Membership(
        me,
        generation,
        datagrams.local_address,
        datagrams,
        switchboard.caller(me),  # type: ignore[arg-type]  # a closure has no named protocol
        GossipConfig.local(),
        random.Random(f"{me}/gossip"),
    )
    switchboard.nodes[datagrams.local_address] = membership
    runner = asyncio.ensure_future(membership.run())
    try:
        yield membership
    finally:
        runner.cancel()
        await asyncio.wait([runner])
        assert runner.cancelled()
        del switchboard.nodes[datagrams.local_address]
        await datagrams.aclose()


async def until(membership: Membership, condition: Callable[[], bool]) -> None:
    """Wait for changes until the condition holds."""
    changed = asyncio.Event()
    membership.subscribe(lambda _change: changed.set())
    async with asyncio.timeout(30):
        while not condition():
            changed.clear()
            await changed.wait()


def address_of(membership: Membership, node_id: str) -> Address:
    member = membership.member(node_id)
    assert member is not None
    return member.address


def state_of(membership: Membership, node_id: str) -> MemberState | None:
    member = membership.member(node_id)
    return member.state if member is not None else None


async def test_three_nodes_meet_share_facts_and_notice_a_crash_and_a_return() -> None:
    board = Switchboard()
    one_id, two_id, three_id = IDS[:3]
    async with started(board, one_id) as one, started(board, two_id) as two:
        async with started(board, three_id) as three:
            await two.join([address_of(one, one_id)])
            members = await three.join([address_of(one, one_id)])
            assert [member.id for member in members] == sorted(IDS[:3])
            await until(two, lambda: two.alive() == sorted(IDS[:3]))
            three.set_metadata("slots", b"4")
            await until(
                two, lambda: (m := two.member(three_id)) is not None and "slots" in m.metadata
            )
            roster = three.roster()
        one.evidence(three_id, "connection refused")
        await until(two, lambda: state_of(two, three_id) == MemberState.DEAD)
        assert two.alive() == sorted(IDS[:2])
        assert two.known() == sorted(IDS[:3])
        async with started(board, three_id, generation=2) as again:
            again.restore(roster)
            assert again.alive() == [three_id]
            assert again.known() == sorted(IDS[:3])
            await until(again, lambda: again.alive() == sorted(IDS[:3]))
            await until(two, lambda: two.alive() == sorted(IDS[:3]))
            returned = two.member(three_id)
            assert returned is not None
            assert returned.generation == 2
            assert returned.metadata == {}
            await again.leave()
            await until(one, lambda: state_of(one, three_id) == MemberState.LEFT)
        await two.stopping(60.0)
        await until(one, lambda: state_of(one, two_id) == MemberState.DEAD)
        stopped = one.member(two_id)
        assert stopped is not None
        assert stopped.back_by is not None
        assert one.stats["bad_messages"] == one.stats["subscriber_errors"] == 0


async def test_joining_skips_the_silent_and_names_everybody_when_all_are() -> None:
    board = Switchboard()
    async with started(board, IDS[0]) as one, started(board, IDS[1]) as two:
        silent = ("127.0.0.1", 1)
        members = await two.join([silent, address_of(one, IDS[0])])
        assert [member.id for member in members] == sorted(IDS[:2])
        with pytest.raises(OSError, match=r"127\.0\.0\.1:1: .*127\.0\.0\.1:2: "):
            await two.join([silent, ("127.0.0.1", 2)])
        with pytest.raises(OSError, match="no address was given"):
            await two.join([])


class HandFed:
    """A datagram source in the hands of a test."""

    def __init__(self) -> None:
        self.sent: list[tuple[Address, bytes]] = []
        self.feed: Callable[[str, Address, bytes], None] = lambda *_: None

    def send(self, address: Address, channel: int, payload: bytes) -> bool:
        self.sent.append((address, payload))
        return True

    def subscribe(self, channel: int, handler: Callable[[str, Address, bytes], None]) -> None:
        self.feed = handler


async def nobody(address: Address, request: bytes, *, timeout: float) -> bytes:
    raise ConnectionRefusedError


def hand_fed(source: HandFed, config: GossipConfig | None = None) -> Membership:
    me = ("10.0.0.1", 8990)
    rng = random.Random(1)
    return Membership(IDS[0], 1, me, source, nobody, config or GossipConfig.local(), rng)


def alive_packet(number: int, incarnation: int = 0) -> bytes:
    claim = Alive(IDS[number], 1, incarnation, f"10.0.0.{number + 1}", 8990)
    return encode(Packet(Gossip(), (encode(claim),)))


async def test_garbage_from_a_genuine_peer_is_counted_and_changes_nothing() -> None:
    source = HandFed()
    membership = hand_fed(source)
    runner = asyncio.ensure_future(membership.run())
    source.feed(IDS[1], ("10.0.0.2", 8990), b"garbage")
    source.feed(IDS[1], ("10.0.0.2", 8990), alive_packet(1))
    await until(membership, lambda: len(membership.members()) == 2)
    assert membership.stats["bad_messages"] == 1
    runner.cancel()
    await asyncio.wait([runner])


async def test_a_failing_subscriber_is_logged_and_keeps_nobody_from_being_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = HandFed()
    membership = hand_fed(source)
    told: list[MemberChanged] = []

    def fail(_change: MemberChanged) -> None:
        raise RuntimeError("the subscriber has a bug")

    membership.subscribe(fail)
    membership.subscribe(told.append)
    with caplog.at_level(logging.ERROR):
        membership.set_metadata("zone", b"a")
    assert [change.member.metadata for change in told] == [{"zone": b"a"}]
    assert membership.stats["subscriber_errors"] == 1
    assert "the subscriber has a bug" in caplog.text


async def test_a_subscriber_may_cause_changes_and_everybody_hears_them_in_order() -> None:
    membership = hand_fed(HandFed())
    told: list[list[str]] = []

    def react(change: MemberChanged) -> None:
        if "echo" not in change.member.metadata:
            membership.set_metadata("echo", b"1")

    membership.subscribe(react)
    membership.subscribe(lambda change: told.append(sorted(change.member.metadata)))
    membership.set_metadata("zone", b"a")
    assert told == [["zone"], ["echo", "zone"]]


async def test_who_has_stopped_hears_nothing_any_more() -> None:
    source = HandFed()
    membership = hand_fed(source)
    runner = asyncio.ensure_future(membership.run())
    await asyncio.sleep(0)
    runner.cancel()
    await asyncio.wait([runner])
    source.feed(IDS[1], ("10.0.0.2", 8990), alive_packet(1))
    assert len(membership.members()) == 1
    assert membership.stats["heard_too_late"] == 1


async def test_a_bug_that_a_datagram_brings_to_light_ends_the_service(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = HandFed()
    membership = hand_fed(source)
    runner = asyncio.ensure_future(membership.run())
    await asyncio.sleep(0)
    monkeypatch.delattr(membership, "_datagrams")
    source.feed(IDS[1], ("10.0.0.2", 8990), encode(Packet(Ping(1, IDS[0], 1, 0))))
    await asyncio.wait([runner])
    with pytest.raises(ExceptionGroup) as group:
        runner.result()
    assert group.group_contains(AttributeError)


async def test_a_flood_does_not_keep_timers_from_firing() -> None:
    """Datagrams come whenever the loop turns, and still members are probed."""
    source = HandFed()
    membership = hand_fed(source)
    loop = asyncio.get_running_loop()
    probed = asyncio.Event()
    incarnation = 0

    def flood() -> None:
        nonlocal incarnation
        for _ in range(200):
            incarnation += 1
            source.feed(IDS[1], ("10.0.0.2", 8990), alive_packet(1, incarnation))
        if membership.stats["probes"] >= 2:
            probed.set()
        else:
            loop.call_soon(flood)

    runner = asyncio.ensure_future(membership.run())
    flood()
    async with asyncio.timeout(20):
        await probed.wait()
    runner.cancel()
    await asyncio.wait([runner])


async def test_a_roster_in_anothers_name_is_refused() -> None:
    membership = hand_fed(HandFed())
    with pytest.raises(BadMessage, match="roster of"):
        await membership.answer_exchange(IDS[1], membership.roster())
    with pytest.raises(BadMessage):
        await membership.answer_exchange(IDS[1], b"garbage")
    with pytest.raises(BadMessage):
        membership.restore(b"garbage")


async def test_leaving_alone_returns_at_once() -> None:
    membership = hand_fed(HandFed())
    async with asyncio.timeout(10):
        await membership.leave()
    assert membership.alive() == []
