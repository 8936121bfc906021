"""Worlds and machines for the tests of the simulator."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from peerdisco_sim.node import SimNode
from peerdisco_sim.world import World

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture
def world() -> Iterator[World]:
    """A world with seed 1, closed afterwards."""
    with World(1) as world:
        yield world


@pytest.fixture
def node(world: World) -> SimNode:
    """A node that runs a process which does nothing."""
    node = SimNode(world, "node")
    node.boot(_idle)
    return node


@pytest.fixture
def run(world: World, node: SimNode) -> Run:
    """Runs a coroutine on the node until it is done; an hour of virtual time at most."""
    return lambda coroutine: world.run_until_done(node.spawn(coroutine), 3600.0)


async def _idle() -> None:
    await asyncio.Event().wait()
