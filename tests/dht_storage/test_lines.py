"""Lines: questions share calls, and everybody gets an answer or learns why there is none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from peerdisco_dht import Unavailable
from peerdisco_dht.background import Background
from peerdisco_dht.epochs import StaleEpoch
from peerdisco_dht.messages import BadMessage
from peerdisco_dht.registers.lines import ITEMS_MAX, WAITING_MAX, Lines


class Peer:
    """Answers each number with its double, once it is let go."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.go = asyncio.Event()
        self.error: Exception | None = None
        self.short = False

    async def send(self, node: str, numbers: Sequence[int]) -> Sequence[int]:
        self.calls.append(list(numbers))
        await self.go.wait()
        if self.error is not None:
            raise self.error
        answers = [2 * number for number in numbers]
        return answers[:-1] if self.short else answers


@asynccontextmanager
async def lines(peer: Peer, calls_max: int = 1) -> AsyncIterator[Lines[int, int]]:
    background = Background()
    async with asyncio.TaskGroup() as group:
        service = group.create_task(background.run())
        await background.started.wait()
        yield Lines(peer.send, lambda number: 1, background, calls_max)
        service.cancel()


async def test_an_idle_line_asks_at_once_and_a_busy_one_collects() -> None:
    peer = Peer()
    async with lines(peer) as line:
        first = line.ask("a", 1)
        await asyncio.sleep(0)
        assert peer.calls == [[1]]
        rest = [line.ask("a", number) for number in range(2, 6)]
        await asyncio.sleep(0)
        assert peer.calls == [[1]]
        peer.go.set()
        assert await first == 2
        assert [await future for future in rest] == [4, 6, 8, 10]
        assert peer.calls == [[1], [2, 3, 4, 5]]


async def test_who_asks_while_the_last_call_ends_is_asked_too() -> None:
    """Its task is not done before the loop says so, and a question in between has to go out."""
    peer = Peer()
    peer.go.set()
    async with lines(peer) as line:
        for number in range(20):
            first = line.ask("a", number)
            again: list[asyncio.Future[int]] = []
            first.add_done_callback(lambda _: again.append(line.ask("a", 7)))  # noqa: B023 - called before the next turn
            assert await first == 2 * number
            for _ in range(number % 4):
                await asyncio.sleep(0)
            assert await line.ask("a", 5) == 10
            assert await again[0] == 14


async def test_peers_do_not_wait_for_each_other_and_calls_are_bounded() -> None:
    peer = Peer()
    async with lines(peer, calls_max=2) as line:
        futures = [line.ask(node, number) for node in "ab" for number in range(3)]
        await asyncio.sleep(0)
        assert peer.calls == [[0, 1, 2], [0, 1, 2]]
        peer.go.set()
        assert [await future for future in futures] == [0, 2, 4, 0, 2, 4]


@pytest.mark.parametrize("error", [TimeoutError("silent"), StaleEpoch(), BadMessage("no")])
async def test_a_call_that_fails_fails_for_all_in_it(error: Exception) -> None:
    peer = Peer()
    peer.error = error
    async with lines(peer) as line:
        futures = [line.ask("a", number) for number in range(3)]
        peer.go.set()
        for future in futures:
            with pytest.raises(type(error)):
                await future


async def test_too_few_answers_are_no_answers() -> None:
    peer = Peer()
    peer.short = True
    async with lines(peer) as line:
        futures = [line.ask("a", number) for number in range(3)]
        peer.go.set()
        for future in futures:
            with pytest.raises(BadMessage):
                await future


async def test_a_call_takes_so_many_and_a_queue_is_bounded() -> None:
    peer = Peer()
    async with lines(peer) as line:
        line.ask("a", 0)
        await asyncio.sleep(0)
        futures = [line.ask("a", number) for number in range(WAITING_MAX)]
        with pytest.raises(ConnectionError, match="too far behind"):
            await line.ask("a", 0)
        peer.go.set()
        assert await futures[-1] == 2 * (WAITING_MAX - 1)
        assert max(map(len, peer.calls)) == ITEMS_MAX


async def test_what_nobody_waits_for_any_more_is_not_asked() -> None:
    peer = Peer()
    async with lines(peer) as line:
        first = line.ask("a", 1)
        await asyncio.sleep(0)
        gone, kept = line.ask("a", 2), line.ask("a", 3)
        gone.cancel()
        peer.go.set()
        assert (await first, await kept) == (2, 6)
        assert peer.calls == [[1], [3]]


async def test_who_waits_when_the_service_stops_is_told_so() -> None:
    peer = Peer()
    async with lines(peer) as line:
        under_way = line.ask("a", 1)
        await asyncio.sleep(0)
        waiting = line.ask("a", 2)
        never_begun = line.ask("b", 3)
    for future in (under_way, waiting, never_begun):
        with pytest.raises(ConnectionError, match="stops"):
            await future
    with pytest.raises(Unavailable):
        line.ask("a", 4)
