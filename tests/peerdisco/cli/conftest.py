"""Fixtures for the command line: two nodes over one memory, and a way to run commands on them."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from peerdisco.cli.start import peerdisco

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
def backend(servers: Servers) -> Backend:
    return servers.backend


@pytest.fixture
def run(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs a command against the two nodes."""
    monkeypatch.setenv("PEERDISCO", ",".join(servers.addresses))

    def command(*arguments: str, **settings: Any) -> Result:
        return CliRunner().invoke(peerdisco, list(arguments), **settings)

    return command
