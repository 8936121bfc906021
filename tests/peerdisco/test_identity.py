"""A node's identity survives its restarts, and damage is refused before anything is changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from peerdisco.errors import ConfigurationError
from peerdisco.host.disk import HostDisk
from peerdisco.identity import GENERATION_PATH, KEY_PATH, load_identity, load_secret


async def test_the_same_node_comes_back_with_the_next_generation(tmp_path: Path) -> None:
    disk = HostDisk(tmp_path)
    assert await load_secret(disk) is None
    first = await load_identity(disk, os.urandom)
    second = await load_identity(disk, os.urandom)
    assert (first.node_id, 1, first.secret) == (second.node_id, first.generation, second.secret)
    assert second.generation == 2
    assert len(first.node_id) == 32
    assert await load_secret(disk) == first.secret
    disk.close()


async def test_private_files_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    disk = HostDisk(tmp_path)
    await load_identity(disk, os.urandom)
    assert (tmp_path / KEY_PATH).stat().st_mode & 0o077 == 0
    disk.close()


@pytest.mark.parametrize("path", [KEY_PATH, GENERATION_PATH])
async def test_a_damaged_identity_is_refused_and_left_alone(tmp_path: Path, path: str) -> None:
    disk = HostDisk(tmp_path)
    await load_identity(disk, os.urandom)
    await disk.write(path, b"garbage")
    with pytest.raises(ConfigurationError, match=path):
        await load_identity(disk, os.urandom)
    assert await disk.read(path) == b"garbage"
    disk.close()
