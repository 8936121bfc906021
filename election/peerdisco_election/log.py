"""The entries of one group that are not yet folded away in a snapshot.

All of them stand in memory; the store has the same ones, late. Three marks move along:
`committed` (a quorum has it), `offered` (handed to a `Persist`) and `stable` (durable here).

Invariants: first - 1 <= committed <= last; stable <= offered <= last. Nothing up to `committed`
is ever replaced. What is written where is in `storage.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from peerdisco_election.messages import (
    Configuration,
    Entry,
    EntryKind,
    HardState,
    Recovery,
    Snapshot,
)


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a member knew when it last wrote, or a new member's beginning.

    Attributes:
        hard_state: Term, vote and commit index.
        start: Index and term of the entry before the first of `entries`.
        entries: Consecutive.
        snapshot: The latest, if any; its index is not beyond the last entry.
        configuration: In force after the snapshot, or before entry 1.
        era: How often the group was recovered by force.
        floor: Index and term of an entry that was committed when this node joined.
        recovery: The latest by force that this member was kept in.
    """

    configuration: Configuration
    hard_state: HardState = field(default_factory=HardState)
    start: tuple[int, int] = (0, 0)
    entries: tuple[Entry, ...] = ()
    snapshot: Snapshot | None = None
    era: int = 0
    floor: tuple[int, int] = (0, 0)
    recovery: Recovery | None = None


class Log:
    """A list of entries that begins after an entry of which only index and term are known."""

    def __init__(
        self,
        start: tuple[int, int],
        entries: Sequence[Entry],
        committed: int,
        floor: tuple[int, int] = (0, 0),
    ) -> None:
        self._start_index, self._start_term = start
        self.floor = floor
        self._entries = list(entries)
        self.committed = committed
        self.stable = self.offered = self.last
        self._erase: tuple[int, int] | None = None
        self._marker: Entry | None = None

    @property
    def first(self) -> int:
        """Index of the oldest entry still here, or where it would be."""
        return self._start_index + 1

    @property
    def last(self) -> int:
        """Index of the newest entry."""
        return self._start_index + len(self._entries)

    @property
    def last_term(self) -> int:
        """Term of the newest entry."""
        return self._entries[-1].term if self._entries else self._start_term

    def term(self, index: int) -> int | None:
        """The term of an entry; None when it is folded away or not there yet."""
        if index == self._start_index:
            return self._start_term
        if self._start_index < index <= self.last:
            return self._entries[index - self.first].term
        return None

    def slice(self, low: int, high: int, bytes_max: int, count_max: int) -> tuple[Entry, ...]:
        """Entries low to high inclusive, within the limits, but at least one if there is one."""
        taken: list[Entry] = []
        size = 0
        end = min(high, low + count_max - 1)
        for entry in self._entries[low - self.first : end - self._start_index]:
            size += len(entry.data)
            if taken and size > bytes_max:
                break
            taken.append(entry)
        return tuple(taken)

    def up_to_date(self, last_index: int, last_term: int) -> bool:
        """Whether a log with this end is at least as complete as ours (section 5.4.1).

        Until ours has reached it, that means: as complete as what was committed when we joined. A
        node that had a part in the group before, and forgot it, must not help to undo that.
        """
        index, term = self.floor
        return (last_term, last_index) >= max((term, index), (self.last_term, self.last))

    def conflict(self, entries: Sequence[Entry]) -> Entry | None:
        """The first of these entries that is not here with the same term (section 5.3)."""
        return next((entry for entry in entries if self.term(entry.index) != entry.term), None)

    def agree_below(self, index: int, term: int) -> tuple[int, int]:
        """The greatest index up to `index` whose term is at most `term`, and its term.

        A log whose entry `index` has `term` cannot agree with ours beyond it. When our entries
        there are folded away, the term is 0: unknown.
        """
        index = min(index, self.last)
        while index > self._start_index and self._entries[index - self.first].term > term:
            index -= 1
        return index, self.term(index) or 0

    def append(self, entries: Sequence[Entry]) -> None:
        """Add consecutive entries; from the first one's index on they replace what was here."""
        if not entries:
            return
        first = entries[0].index
        assert self.committed < first <= self.last + 1, "a committed entry would be replaced"
        if first <= self.last:
            self._truncate(first)
        self._entries.extend(entries)

    def compact(self, index: int) -> None:
        """Forget entries before `index`; of `index` itself the term remains."""
        term = self.term(index)
        assert term is not None
        assert index <= self.committed
        if index <= self._start_index:
            return
        assert self._erase is None, "one erasure in one step"
        self._erase = (max(self._start_index, 1), index - 1)
        del self._entries[: index - self._start_index]
        self._start_index, self._start_term = index, term

    def reset(self, snapshot: Snapshot) -> None:
        """Replace everything by a snapshot."""
        self._erase = (max(self._start_index, 1), self.offered)
        # The row at the cut keeps the term, as after `compact`.
        self._marker = Entry(snapshot.index, snapshot.term, EntryKind.EMPTY, b"")
        self._entries.clear()
        self._start_index, self._start_term = snapshot.index, snapshot.term
        self.committed = self.offered = snapshot.index
        self.stable = 0

    def offer(self) -> tuple[tuple[int, int] | None, tuple[Entry, ...]]:
        """Rows to erase, and entries to write, since the last offer."""
        erase, self._erase = self._erase, None
        fresh = tuple(self._entries[max(self.offered - self._start_index, 0) :])
        if self._marker is not None:
            fresh, self._marker = (self._marker, *fresh), None
        self.offered = self.last
        return erase, fresh

    def _truncate(self, first: int) -> None:
        if first <= self.offered:
            self._erase = (first, self.offered)
        del self._entries[first - self.first :]
        self.offered = min(self.offered, first - 1)
        self.stable = min(self.stable, first - 1)
