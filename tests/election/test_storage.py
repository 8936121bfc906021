"""Rows of a group: what comes back after a restart, and what is refused."""

from __future__ import annotations

import pytest

from peerdisco_election import storage
from peerdisco_election.effects import Persist
from peerdisco_election.errors import CorruptLog
from peerdisco_election.log import Log, Recovered
from peerdisco_election.membership import configuration
from peerdisco_election.messages import Entry, EntryKind, HardState, Snapshot
from tests.election.world import FakeStore

ABC = configuration("abc")


def entries(first: int, last: int, term: int = 1) -> tuple[Entry, ...]:
    return tuple(
        Entry(index, term, EntryKind.COMMAND, b"%d" % index) for index in range(first, last + 1)
    )


def written(store: FakeStore, *persists: Persist, group: str = "g") -> FakeStore:
    store.apply(storage.describe(group, ABC))
    for persist in persists:
        store.apply(storage.rows(group, persist))
    return store


def test_a_new_group_comes_back_empty(fake_store: FakeStore) -> None:
    """Only its descriptor was written."""
    assert Recovered(ABC) == storage.recover(written(fake_store), "g")
    assert storage.recover(fake_store, "other") is None


def test_term_vote_and_entries_come_back(fake_store: FakeStore) -> None:
    """Later rows replace earlier ones, and erased ones are gone."""
    first = Persist(1, HardState(1, "a", 0), None, entries(1, 9))
    second = Persist(2, HardState(2, "b", 3), (5, 9), entries(5, 6, term=2))
    recovered = storage.recover(written(fake_store, first, second), "g")
    assert recovered is not None
    assert HardState(2, "b", 3) == recovered.hard_state
    assert entries(1, 4) + entries(5, 6, term=2) == recovered.entries
    log = Log(recovered.start, recovered.entries, 0)
    assert (6, 2) == (log.last, log.last_term)


def test_a_snapshot_and_the_entries_behind_the_cut_come_back(fake_store: FakeStore) -> None:
    """The row at the cut stands for its term only."""
    snapshot = Snapshot(8, 1, configuration("abd"), b"state")
    first = Persist(1, HardState(1, None, 0), None, entries(1, 10))
    second = Persist(2, HardState(1, None, 10), (1, 4), (), snapshot)
    recovered = storage.recover(written(fake_store, first, second), "g")
    assert recovered is not None
    assert ((5, 1), snapshot) == (recovered.start, recovered.snapshot)
    assert entries(6, 10) == recovered.entries
    assert ("a", "b", "d") == recovered.configuration.voters


def test_groups_are_listed_without_reading_their_logs(fake_store: FakeStore) -> None:
    """Names may contain what separates keys."""
    for name in ("job/a", "job/a/b", "layout", "job", "käse"):
        written(fake_store, Persist(1, HardState(1), None, entries(1, 3)), group=name)
    assert sorted(["job/a", "job/a/b", "layout", "job", "käse"]) == sorted(
        storage.groups(fake_store)
    )
    fake_store.apply(storage.erase(fake_store, "job/a"))
    assert sorted(["job/a/b", "layout", "job", "käse"]) == sorted(storage.groups(fake_store))


def test_long_logs_are_read_in_pages(fake_store: FakeStore) -> None:
    """More rows than one scan returns."""
    long = Persist(1, HardState(1, None, 5), None, entries(1, 2 * storage.PAGE + 7))
    recovered = storage.recover(written(fake_store, long), "g")
    assert recovered is not None
    assert 2 * storage.PAGE + 7 == len(recovered.entries)


@pytest.mark.parametrize("part", [b"hard", b"descriptor", b"log/" + (2).to_bytes(8)])
def test_a_flipped_bit_is_refused(fake_store: FakeStore, part: bytes) -> None:
    """The error names the group and the row."""
    written(fake_store, Persist(1, HardState(1, None, 0), None, entries(1, 3)))
    key = b"raft/g/" + part
    value = fake_store.rows[key]
    fake_store.rows[key] = value[:-1] + bytes([value[-1] ^ 1])
    with pytest.raises(CorruptLog, match=r"group 'g'.*checksum"):
        storage.recover(fake_store, "g")


def test_two_rows_that_changed_places_are_refused(fake_store: FakeStore) -> None:
    """The checksum covers the key."""
    written(fake_store, Persist(1, HardState(1, None, 0), None, entries(1, 3)))
    rows = fake_store.rows
    one, two = (b"raft/g/log/" + index.to_bytes(8) for index in (1, 2))
    rows[one], rows[two] = rows[two], rows[one]
    with pytest.raises(CorruptLog, match="checksum"):
        storage.recover(fake_store, "g")


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        (b"log/" + (2).to_bytes(8), "entry 3 follows entry 1"),
        (b"log/" + (3).to_bytes(8), "do not fit"),
        (b"hard", "newer than any seen"),
        (b"descriptor", "descriptor is missing"),
    ],
)
def test_a_missing_row_is_refused(fake_store: FakeStore, missing: bytes, reason: str) -> None:
    """A member that forgets what it promised must not take part."""
    written(fake_store, Persist(1, HardState(1, None, 3), None, entries(1, 3)))
    del fake_store.rows[b"raft/g/" + missing]
    with pytest.raises(CorruptLog, match=reason):
        storage.recover(fake_store, "g")


def test_a_log_whose_snapshot_lost_its_entries_is_refused(fake_store: FakeStore) -> None:
    """The row at the cut always exists."""
    snapshot = Snapshot(3, 1, ABC, b"")
    written(fake_store, Persist(1, HardState(1, None, 3), None, (), snapshot))
    with pytest.raises(CorruptLog, match="log is missing"):
        storage.recover(fake_store, "g")
