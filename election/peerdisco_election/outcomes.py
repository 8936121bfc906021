"""Futures that callers wait for: settling them once, whatever happened to the callers meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from peerdisco_election.errors import RaftError, Unknown


async def settled(outcome: asyncio.Future[object], timeout: float) -> object:
    """Wait for an outcome; raises Unknown after `timeout` seconds."""
    # A quarter of what a proposal costs is its timeout: `asyncio.timeout` would make it a half.
    timer = asyncio.get_running_loop().call_later(timeout, _expire, outcome, timeout)
    try:
        return await outcome
    finally:
        timer.cancel()


def succeed(outcomes: Iterable[asyncio.Future[Any]], result: object) -> None:
    """Settle whatever is not settled yet."""
    for outcome in outcomes:
        if not outcome.done():
            outcome.set_result(result)


def fail(outcomes: Iterable[asyncio.Future[Any]], error: RaftError) -> None:
    """Settle whatever is not settled yet."""
    for outcome in outcomes:
        if not outcome.done():
            outcome.set_exception(error)
            # Whoever waited may have been cancelled: nobody is obliged to look.
            outcome.exception()


def _expire(outcome: asyncio.Future[object], timeout: float) -> None:
    fail([outcome], Unknown(f"no outcome within {timeout} s"))
