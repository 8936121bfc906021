"""The rows that one group owns in the node's store, and how a member comes back from them.

All groups share one store. The rows of a group begin with `raft/<quoted name>/`:

    descriptor     the group's name and its first configuration
    hard           HardState
    log/<index>    one Entry each, eight bytes big-endian
    snapshot       Snapshot
    recovery       Recovery, the latest by force, for the record

Every value begins with the CRC-32 of its key and its content. When there is a snapshot, the first
row of the log is only the place where the log was cut: its term counts, its data does not.
Nothing here awaits: `rows` says what to write, the driver commits. Damage raises `CorruptLog`;
nothing is repaired by guessing, since a member that forgets breaks the promises of its group.
"""

from __future__ import annotations

import urllib.parse
import zlib
from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar

from peerdisco_election.effects import Persist
from peerdisco_election.errors import CorruptLog
from peerdisco_election.log import Recovered
from peerdisco_election.messages import (
    BadMessage,
    Configuration,
    Descriptor,
    Entry,
    HardState,
    Recovery,
    Snapshot,
    decode,
    encode,
)

T = TypeVar("T")

Write = tuple[bytes, bytes | None]

ROOT = b"raft/"
PAGE = 1000


class Store(Protocol):
    """The part of the node's metadata store that Raft uses.

    Reads see committed batches only. After the first failed commit all others raise OSError too.
    """

    def get(self, key: bytes) -> bytes | None:
        """The value of a key, or None."""

    def scan(
        self, start: bytes, end: bytes, *, limit: int = 1000, reverse: bool = False
    ) -> list[tuple[bytes, bytes]]:
        """Up to `limit` pairs with start <= key < end, in key order or against it."""

    async def commit(self, writes: Sequence[Write]) -> None:
        """Apply all writes or none; durable when this returns."""


def prefix(group: str) -> bytes:
    """What all keys of a group begin with, and no other group's do."""
    return ROOT + urllib.parse.quote(group, safe="").encode() + b"/"


def describe(
    group: str, configuration: Configuration, era: int = 0, floor: tuple[int, int] = (0, 0)
) -> list[Write]:
    """The rows of a new group."""
    key = prefix(group) + b"descriptor"
    return [(key, _seal(key, Descriptor(group, configuration, era, floor)))]


def note(group: str, recovery: Recovery) -> list[Write]:
    """The row that records a recovery by force."""
    key = prefix(group) + b"recovery"
    return [(key, _seal(key, recovery))]


def rows(group: str, persist: Persist) -> list[Write]:
    """What a `Persist` changes, in order: a later write of a key replaces an earlier one."""
    start = prefix(group)
    writes: list[Write] = []
    if persist.erase is not None:
        first, last = persist.erase
        writes += [(_log_key(start, index), None) for index in range(first, last + 1)]
    for entry in persist.entries:
        key = _log_key(start, entry.index)
        writes.append((key, _seal(key, entry)))
    if persist.snapshot is not None:
        key = start + b"snapshot"
        writes.append((key, _seal(key, persist.snapshot)))
    key = start + b"hard"
    writes.append((key, _seal(key, persist.hard_state)))
    return writes


def groups(store: Store) -> list[str]:
    """Names of all groups in the store, sorted by their keys. Raises CorruptLog."""
    names: list[str] = []
    position = ROOT
    while found := store.scan(position, ROOT[:-1] + b"0", limit=1):
        quoted = found[0][0].removeprefix(ROOT).split(b"/", 1)[0]
        names.append(urllib.parse.unquote(quoted.decode()))
        # The byte after "/" skips all other rows of this group.
        position = ROOT + quoted + b"0"
    return names


def erase(store: Store, group: str) -> list[Write]:
    """The writes that delete everything committed of a group."""
    return [(key, None) for key, _ in _scan(store, prefix(group))]


def recover(store: Store, group: str) -> Recovered | None:
    """What a member knew when it last wrote; None for an unknown group. Raises CorruptLog."""
    start = prefix(group)
    descriptor = _read(store, group, start + b"descriptor", Descriptor)
    if descriptor is None:
        if store.scan(start, _after(start), limit=1):
            raise CorruptLog(group, "its descriptor is missing")
        return None
    hard_state = _read(store, group, start + b"hard", HardState) or HardState()
    snapshot = _read(store, group, start + b"snapshot", Snapshot)
    recovery = _read(store, group, start + b"recovery", Recovery)
    entries = [_unseal(group, key, value, Entry) for key, value in _scan(store, start + b"log/")]
    cut = (0, 0)
    if snapshot is not None:
        if not entries:
            raise CorruptLog(group, "its log is missing")
        cut = (entries[0].index, entries[0].term)
        del entries[0]
    _check(group, hard_state, snapshot, cut, entries)
    configuration = snapshot.configuration if snapshot else descriptor.configuration
    return Recovered(
        configuration,
        hard_state,
        cut,
        tuple(entries),
        snapshot,
        descriptor.era,
        descriptor.floor,
        recovery,
    )


def _check(
    group: str,
    hard_state: HardState,
    snapshot: Snapshot | None,
    cut: tuple[int, int],
    entries: list[Entry],
) -> None:
    last, term = cut
    for entry in entries:
        if entry.index != last + 1 or entry.term < term:
            raise CorruptLog(group, f"entry {entry.index} follows entry {last}")
        last, term = entry.index, entry.term
    if term > hard_state.term:
        raise CorruptLog(group, f"entry {last} has term {term}, newer than any seen")
    low = snapshot.index if snapshot else 0
    if not cut[0] <= low <= hard_state.commit <= last:
        reason = f"cut {cut[0]}, snapshot {low}, commit {hard_state.commit}, last {last}"
        raise CorruptLog(group, f"rows do not fit together: {reason}")


def _scan(store: Store, start: bytes) -> Iterator[tuple[bytes, bytes]]:
    position, end = start, _after(start)
    while page := store.scan(position, end, limit=PAGE):
        yield from page
        position = page[-1][0] + b"\0"


def _after(start: bytes) -> bytes:
    """The first key behind all that begin with `start`, which ends in a slash."""
    return start[:-1] + b"0"


def _log_key(start: bytes, index: int) -> bytes:
    return start + b"log/" + index.to_bytes(8)


def _seal(key: bytes, value: object) -> bytes:
    content = encode(value)
    return zlib.crc32(content, zlib.crc32(key)).to_bytes(4) + content


def _read(store: Store, group: str, key: bytes, kind: type[T]) -> T | None:
    value = store.get(key)
    return None if value is None else _unseal(group, key, value, kind)


def _unseal(group: str, key: bytes, value: bytes, kind: type[T]) -> T:
    content = value[4:]
    if zlib.crc32(content, zlib.crc32(key)).to_bytes(4) != value[:4]:
        raise CorruptLog(group, f"checksum of {key!r} is wrong")
    try:
        return decode(content, kind)
    except BadMessage as error:
        raise CorruptLog(group, f"{key!r}: {error}") from None
