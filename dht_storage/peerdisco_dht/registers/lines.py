"""Lines: questions to the same peer that share calls.

A call between machines costs far more than the question in it. What is asked while a peer's calls
are under way waits and goes together in the next one, as commits share a sync; an idle line asks at
once, so nobody waits for company. The answers come back one by one, in the form of futures.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Generic, TypeVar

from peerdisco_dht.background import Background
from peerdisco_dht.epochs import StaleEpoch
from peerdisco_dht.errors import Unavailable
from peerdisco_dht.messages import BadMessage
from peerdisco_dht.ports import NodeId

Q = TypeVar("Q")
A = TypeVar("A")

ITEMS_MAX = 256
"""Questions in one call."""
BYTES_MAX = 8 << 20
"""Bytes after which a call takes no further question."""
WAITING_MAX = 8192
"""Questions that may wait for one peer; further ones fail at once."""

Send = Callable[[NodeId, Sequence[Q]], Awaitable[Sequence[A]]]
"""Asks a peer many questions in one call; the answers are in the order of the questions."""


class Lines(Generic[Q, A]):
    """One line to each peer.

    Args:
        send: One call.
        size: Bytes of a question, roughly.
        background: Parent of the calls.
        calls_max: Calls to one peer that may be under way at the same time.
    """

    def __init__(
        self,
        send: Send[Q, A],
        size: Callable[[Q], int],
        background: Background,
        calls_max: int,
    ) -> None:
        self._send = send
        self._size = size
        self._background = background
        self._calls_max = calls_max
        self._waiting: dict[NodeId, deque[tuple[Q, asyncio.Future[A]]]] = {}
        self._workers: dict[NodeId, dict[int, list[tuple[Q, asyncio.Future[A]]]]] = {}
        self._started = 0

    def ask(self, peer: NodeId, question: Q) -> asyncio.Future[A]:
        """The answer to come; it fails with OSError, StaleEpoch or BadMessage.

        Raises Unavailable when the service does not run.
        """
        future: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(peer, deque())
        if len(waiting) >= WAITING_MAX:
            future.set_exception(ConnectionError(f"{peer} is too far behind"))
            return future
        waiting.append((question, future))
        workers = self._workers.setdefault(peer, {})
        if len(workers) < self._calls_max:
            self._started += 1
            number = self._started
            try:
                task = self._background.start(self._work(peer, number, waiting))
            except Unavailable:
                waiting.pop()
                raise
            workers[number] = []
            # A task that is cancelled before its first step runs no `finally`.
            task.add_done_callback(lambda _: self._ended(peer, number))
        return future

    async def _work(
        self, peer: NodeId, number: int, waiting: deque[tuple[Q, asyncio.Future[A]]]
    ) -> None:
        """Call until nobody waits."""
        try:
            await self._call_all(peer, number, waiting)
        except asyncio.CancelledError:
            self._stop()
            raise
        finally:
            # At once: whoever asks before the task counts as done needs a worker of its own.
            self._ended(peer, number)

    async def _call_all(
        self, peer: NodeId, number: int, waiting: deque[tuple[Q, asyncio.Future[A]]]
    ) -> None:
        while waiting:
            self._workers[peer][number] = batch = self._next_batch(waiting)
            try:
                answers = await self._send(peer, [question for question, _ in batch])
            except (OSError, StaleEpoch, BadMessage) as error:
                _fail(batch, error)
                continue
            if len(answers) != len(batch):
                _fail(batch, BadMessage(f"{peer} answered {len(answers)} of {len(batch)}"))
                continue
            for (_, future), answer in zip(batch, answers, strict=True):
                if not future.done():
                    future.set_result(answer)

    def _next_batch(
        self, waiting: deque[tuple[Q, asyncio.Future[A]]]
    ) -> list[tuple[Q, asyncio.Future[A]]]:
        batch: list[tuple[Q, asyncio.Future[A]]] = []
        size = 0
        while waiting and len(batch) < ITEMS_MAX and size < BYTES_MAX:
            question, future = waiting.popleft()
            if not future.done():
                batch.append((question, future))
                size += self._size(question)
        return batch

    def _ended(self, peer: NodeId, number: int) -> None:
        """A worker has ended, perhaps before its first step; the last one leaves nobody waiting."""
        workers = self._workers.get(peer, {})
        if number not in workers:
            return
        del workers[number]
        if not workers:
            _fail(self._waiting.pop(peer), ConnectionError("the service stops"))
            del self._workers[peer]

    def _stop(self) -> None:
        """Everybody is told at once that the service stops: workers end in no certain order."""
        for peer, workers in self._workers.items():
            for batch in (*workers.values(), self._waiting[peer]):
                _fail(batch, ConnectionError("the service stops"))


def _fail(batch: Iterable[tuple[object, asyncio.Future[A]]], error: Exception) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)
            future.exception()  # whoever asked may be gone already
