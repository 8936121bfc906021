"""Fixtures of the election tests: clusters of cores, seeded storms, and a store in memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from tests.election.nodes import BRISK, Net
from tests.election.storms import Storm
from tests.election.world import Cluster, FakeStore


@pytest.fixture
def make_cluster() -> Callable[..., Cluster]:
    """Makes a cluster; the arguments are those of `Cluster`."""
    return Cluster


@pytest.fixture
def storm() -> Callable[[int], None]:
    """Runs one seed."""
    return lambda seed: Storm(seed).run()


@pytest.fixture
def fake_store() -> FakeStore:
    """An empty store in memory."""
    return FakeStore()


@pytest.fixture
def make_net() -> Callable[..., Net]:
    """Makes a net of nodes with brisk timers; the arguments replace fields of its config."""
    return lambda **changes: Net(dataclasses.replace(BRISK, **changes))
