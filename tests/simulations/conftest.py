"""Worlds and machines for the tests of the simulator."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from peerdisco_sim.node import SimNode
from peerdisco_sim.world import World

Run = Callable[[Coroutine[Any, Any, Any]], Any]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole clusters are played here: `make test-fast` does without."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True, scope="module")
def _no_rest_of_the_module() -> Iterator[None]:
    yield
    _bury()


@pytest.fixture(autouse=True)
def _no_rest() -> Iterator[None]:
    yield
    _bury()


def _bury() -> None:
    """Free what killed processes left open while the test held their world.

    Later, the complaints of their sessions and coroutines would fail somebody else's test.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()


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
