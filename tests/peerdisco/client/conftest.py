"""Fixtures for the client: two nodes over one memory, each the real application on loopback."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from peerdisco.client import Cluster
from peerdisco.client.session import Session
from peerdisco.client.target import parse_target

if TYPE_CHECKING:
    from tests.webui.backend import Backend, Servers

MODULE = "peerdisco_test_backend"


def load_backend() -> Any:
    """The module `tests/webui/backend.py`; one module object for all conftest files."""
    if MODULE not in sys.modules:
        path = Path(__file__).parents[2] / "webui" / "backend.py"
        spec = importlib.util.spec_from_file_location(MODULE, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[MODULE] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[MODULE])
    return sys.modules[MODULE]


@pytest.fixture
def servers() -> Iterator[Servers]:
    running: Servers = load_backend().Servers(2)
    yield running
    running.close()


@pytest.fixture
def make_backend() -> Callable[[], Backend]:
    """Makes a backend that nothing serves yet; to be called in a running loop."""
    maker: Callable[[], Backend] = load_backend().Backend
    return maker


@pytest.fixture
def backend(servers: Servers) -> Backend:
    return servers.backend


@pytest.fixture
def cluster(servers: Servers) -> Iterator[Cluster]:
    """Knows the first node only."""
    made = Cluster(Session(parse_target(servers.addresses[0]), patience_s=0.5))
    yield made
    made.session.close()


@pytest.fixture
def records() -> Any:
    """Encodes (key, value) pairs as jobs write them."""
    return load_backend().encode_records
