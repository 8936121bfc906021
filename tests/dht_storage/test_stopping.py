"""What waits for the storage when it stops is told so."""

from __future__ import annotations

import asyncio
import random

import pytest

from peerdisco_dht import Unavailable
from peerdisco_dht.background import Background
from peerdisco_dht.registers.coordinator import Coordinator
from peerdisco_dht.registers.messages import Operation
from peerdisco_dht.registers.plain import PlainKind


class _Keeper:
    """One node that holds everything."""

    def quorum_sets(self, partition: int) -> tuple[tuple[str, ...], ...]:
        del partition
        return (("a",),)


class _Rows:
    """Knows no register."""

    def is_blank(self, name: str) -> bool:
        del name
        return True


class _Silent:
    """Acceptors that never answer."""

    async def ask_everybody(self, *_: object) -> dict[str, object]:
        await asyncio.Event().wait()
        raise AssertionError


async def test_operations_that_are_under_way_end_when_the_storage_stops() -> None:
    """Found by seed 4: a request handler waited for ever, and the node's stop for it."""
    background = Background()
    coordinator = _coordinator(background)
    async with asyncio.TaskGroup() as group:
        service = group.create_task(background.run())
        await background.started.wait()
        first = group.create_task(_outcome(coordinator))
        await asyncio.sleep(0)
        second = group.create_task(_outcome(coordinator))
        await asyncio.sleep(0)
        service.cancel()
    assert [first.result(), second.result()] == ["the storage stops"] * 2


async def test_an_operation_ends_although_its_batch_never_began() -> None:
    """A task that is cancelled before its first step runs no clean-up of its own."""
    background = Background()
    coordinator = _coordinator(background)
    async with asyncio.TaskGroup() as group:
        service = group.create_task(background.run())
        await background.started.wait()
        outcome = group.create_task(_outcome(coordinator))
        service.cancel()
    assert outcome.result() == "the storage stops"


def _coordinator(background: Background) -> Coordinator:
    return Coordinator(
        "a",
        _Keeper(),  # type: ignore[arg-type]  # the part of it that is used
        _Silent(),  # type: ignore[arg-type]  # likewise
        _Rows(),  # type: ignore[arg-type]  # likewise
        background,
        "session",
        random.Random(1),
        lambda name: PlainKind(),
        lambda name, content: None,
    )


async def _outcome(coordinator: Coordinator) -> str:
    with pytest.raises(Unavailable) as caught:
        await coordinator.submit("r/name", [Operation(b"", "s", 1)])
    assert caught.value.unknown
    return str(caught.value)
