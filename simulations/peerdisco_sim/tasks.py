"""Tasks and futures whose hash is their number, so that sets of them have one order.

`TaskGroup`, `all_tasks` and `asyncio.wait` keep tasks in sets, and a set's order follows the
hashes. By default those are memory addresses, which differ from process to process.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Coroutine, Generator
from typing import Any, TypeVar

T = TypeVar("T")
AnyCoroutine = Generator[Any, None, T] | Coroutine[Any, Any, T]


class SimTask(asyncio.Task[T]):
    """A task that hashes to its serial number within the world."""

    __slots__ = ("_order",)

    def __init__(
        self,
        coroutine: AnyCoroutine[T],
        *,
        order: int,
        loop: asyncio.AbstractEventLoop,
        name: str,
        context: contextvars.Context | None,
    ) -> None:
        self._order = order  # before Task registers itself, which hashes it
        super().__init__(coroutine, loop=loop, name=name, context=context)

    def __hash__(self) -> int:
        return self._order


class SimFuture(asyncio.Future[T]):
    """A future that hashes to its serial number within the world."""

    __slots__ = ("_order",)

    def __init__(self, order: int, loop: asyncio.AbstractEventLoop) -> None:
        self._order = order
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self._order
