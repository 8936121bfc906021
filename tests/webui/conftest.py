"""Fixtures for the web room: a backend in memory, and the real application over it on loopback."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from peerdisco_webui import serving

if TYPE_CHECKING:
    from tests.webui.backend import Backend

MODULE = "peerdisco_test_backend"


def load_backend() -> Any:
    """The module `backend.py`; one module object for all conftest files."""
    if MODULE not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            MODULE, Path(__file__).with_name("backend.py")
        )
        assert spec is not None
        assert spec.loader is not None
        sys.modules[MODULE] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[MODULE])
    return sys.modules[MODULE]


@pytest.fixture
async def backend() -> Backend:
    made: Backend = load_backend().Backend()
    return made


@pytest.fixture
async def web(backend: Backend) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of the application, with the header that every client of ours sends."""
    async with (
        serving(backend.app(), "127.0.0.1", 0) as (host, port),
        aiohttp.ClientSession(f"http://{host}:{port}", headers={"X-Peerdisco": "1"}) as client,
    ):
        yield client
