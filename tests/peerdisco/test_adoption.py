"""An empty data directory changes hands as a whole; one with data stays what it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from peerdisco.adoption import INTENT_PATH, STORES, Intent, adopt, finish_adoption, holds_data
from peerdisco.errors import ConfigurationError, JoinRefused
from peerdisco.host.machine import host_machine
from peerdisco.identity import load_secret, save_secret
from peerdisco.machine import Machine
from peerdisco.membership import ROSTER_PATH, SEEDS_PATH, Seeds
from peerdisco.messages import decode, encode
from peerdisco.security.secrets import ClusterSecret

OURS, THEIRS = ClusterSecret(bytes(32)), ClusterSecret(bytes(range(32)))
SEEDS = (("10.0.0.1", 8990),)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with host_machine(tmp_path) as machine:
        yield machine


async def put(machine: Machine, name: str, *keys: bytes) -> None:
    store = machine.open_store(name)
    await store.commit([(key, b"value") for key in keys])
    await store.close()


async def keys(machine: Machine) -> list[bytes]:
    found: list[bytes] = []
    for name in STORES:
        store = machine.open_store(name)
        found += [key for key, _ in store.scan(b"", b"\xff")]
        await store.close()
    return found


async def test_a_new_directory_belongs_to_the_cluster_at_once(machine: Machine) -> None:
    await adopt(machine, THEIRS, SEEDS)
    assert await load_secret(machine.disk) == THEIRS
    assert SEEDS == decode(await machine.disk.read(SEEDS_PATH), Seeds).addresses
    assert await machine.disk.size(INTENT_PATH) is None


async def test_an_empty_cluster_is_forgotten_with_its_agreement(machine: Machine) -> None:
    await save_secret(machine.disk, OURS)
    await machine.disk.write(ROSTER_PATH, b"old friends")
    await put(machine, "log", b"raft/layout/hard", b"raft/layout/log/1", b"dht/layout")
    assert not await holds_data(machine)
    await adopt(machine, THEIRS, SEEDS)
    assert [] == await keys(machine)
    assert await machine.disk.size(ROSTER_PATH) is None


@pytest.mark.parametrize(
    ("store", "key"),
    [("log", b"dht/register/00/t/x"), ("log", b"raft/job/x/hard"), ("index", b"dht/blob/x")],
)
async def test_data_keeps_its_cluster(machine: Machine, store: str, key: bytes) -> None:
    await save_secret(machine.disk, OURS)
    await put(machine, "log", b"raft/layout/hard")
    await put(machine, store, key)
    with pytest.raises(JoinRefused, match="holds data of another cluster"):
        await adopt(machine, THEIRS, SEEDS)
    assert await load_secret(machine.disk) == OURS
    assert sorted([b"raft/layout/hard", key]) == sorted(await keys(machine))


async def test_a_change_that_a_power_cut_broke_off_is_finished(machine: Machine) -> None:
    await save_secret(machine.disk, OURS)
    await put(machine, "log", b"raft/layout/hard")
    await machine.disk.write(INTENT_PATH, encode(Intent(THEIRS.raw, SEEDS)))
    await finish_adoption(machine)
    assert await load_secret(machine.disk) == THEIRS
    assert [] == await keys(machine)
    await finish_adoption(machine)


async def test_a_damaged_intent_is_refused(machine: Machine) -> None:
    await machine.disk.write(INTENT_PATH, b"nonsense")
    with pytest.raises(ConfigurationError, match="adopting"):
        await finish_adoption(machine)
