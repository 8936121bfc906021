"""What importing costs: nothing that a program does not use is loaded."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import peerdisco

ROOT = Path(__file__).parents[3]


def loaded_by(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(done.stdout.split())


def test_the_package_itself_loads_nothing() -> None:
    loaded = loaded_by("import peerdisco")
    assert not loaded & {"peerdisco.client", "msgspec", "aiohttp", "asyncio", "click"}


def test_the_client_needs_no_web_server_and_no_cryptography() -> None:
    loaded = loaded_by("from peerdisco import Job, DDFS, result_iterator")
    assert "peerdisco.client.job" in loaded
    assert not loaded & {"aiohttp", "asyncio", "jinja2", "cryptography", "rich", "click"}


def test_the_version_command_loads_only_click() -> None:
    loaded = loaded_by(
        "import sys\nfrom peerdisco.cli.start import peerdisco\n"
        "peerdisco(['version'], standalone_mode=False)"
    )
    assert not loaded & {"aiohttp", "rich", "http.client", "cryptography", "peerdisco.client"}


def test_every_public_name_can_be_imported() -> None:
    for name in peerdisco.__all__:
        assert getattr(peerdisco, name) is not None
    with pytest.raises(AttributeError, match="nothing"):
        _ = peerdisco.nothing  # type: ignore[attr-defined]  # the point


def test_the_version_is_that_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == peerdisco.__version__
