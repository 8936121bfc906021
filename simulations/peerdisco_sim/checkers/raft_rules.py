"""What must hold of every Raft group (Ongaro's dissertation, figure 3.2), as events arrive. Pure.

Feed it what members did; it calls `fail(rule, detail, node)` for what must never happen. Every
event costs O(1), or O(entries in it). `raft.py` listens to the real groups; tests feed it by hand.

    R1  at most one leader per term                R2  log matching
    R3  what is committed is never lost            R4  everybody applies the same
    R5  one vote per term, terms never go back, across restarts too
    R6  the commit index never goes back           R9  no two disjoint quorums
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

Fail = Callable[[str, str, str], None]
"""Rule, detail, node."""

COMPLETE_LAST = 256
"""So many of the last committed entries are compared when a leader is elected."""


@dataclass(frozen=True, slots=True)
class Item:
    """An entry as the rules see it."""

    term: int
    kind: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Members:
    """A configuration: voters, and while it is joint those that are being replaced."""

    voters: tuple[str, ...]
    outgoing: tuple[str, ...] = ()

    def reached(self, nodes: Collection[str]) -> bool:
        """Whether these nodes are a quorum."""
        sides = [side for side in (self.voters, self.outgoing) if side]
        return bool(sides) and all(
            2 * sum(node in nodes for node in side) > len(side) for side in sides
        )

    def reached_without(self, nodes: Collection[str]) -> bool:
        """Whether there is a quorum that none of these nodes belongs to."""
        everybody = (*self.voters, *self.outgoing)
        return self.reached([node for node in everybody if node not in nodes])


@dataclass(slots=True)
class _Group:
    """What is known of one group."""

    leaders: dict[int, str] = field(default_factory=dict)
    stood: dict[int, None] = field(default_factory=lambda: {0: None})
    votes: dict[tuple[str, int], str] = field(default_factory=dict)
    entries: dict[tuple[int, int], tuple[Item, int | None]] = field(default_factory=dict)
    applied: dict[int, Item] = field(default_factory=dict)
    snapshots: dict[int, object] = field(default_factory=dict)
    said: dict[str, int] = field(default_factory=dict)
    top: int = 0
    members: Members | None = None


class RaftRules:
    """The judge of all groups of a cluster."""

    def __init__(self, fail: Fail) -> None:
        self._fail = fail
        self._groups: dict[str, _Group] = {}
        self._seen: dict[tuple[str, str], tuple[int, int]] = {}
        self.leaders = 0
        """How many leaders were elected, for statistics."""
        self.commits = 0
        """How many entries were committed."""

    def group(self, name: str) -> _Group:
        """The record of a group; begun when first asked for."""
        found = self._groups.get(name)
        if found is None:
            found = self._groups[name] = _Group()
        return found

    def top(self, name: str) -> int:
        """The highest index that anybody has applied."""
        return self.group(name).top

    # -- lives --------------------------------------------------------------------------------

    def recovered(self, group: str, node: str, term: int, commit: int) -> None:
        """A member was opened, after a restart or for the first time (R5)."""
        said = self.group(group).said.get(node, 0)
        if term < said:
            detail = f"{group}: came back in term {term} after it had spoken in term {said}"
            self._fail("R5 term forgotten", detail, node)
        self._seen[group, node] = (term, commit)

    def forgotten(self, group: str, node: str) -> None:
        """A member dissolved the group: whatever it does later it does as a stranger."""
        self.group(group).said.pop(node, None)
        self._seen.pop((group, node), None)

    def stands(self, group: str, node: str, term: int, commit: int) -> None:
        """Where a member stands after an input (R5, R6)."""
        before = self._seen.get((group, node), (0, 0))
        if term < before[0]:
            self._fail("R5 term went back", f"{group}: from {before[0]} to {term}", node)
        if commit < before[1]:
            self._fail("R6 commit went back", f"{group}: from {before[1]} to {commit}", node)
        self._seen[group, node] = (term, commit)

    # -- elections ----------------------------------------------------------------------------

    def stood(self, group: str, term: int) -> None:
        """A member stands for election in this term, or leads it."""
        self.group(group).stood[term] = None

    def spoke(self, group: str, node: str, term: int) -> None:
        """A message with this term left the node (pre-votes apart, which promise nothing)."""
        known = self.group(group)
        if term > known.said.get(node, 0):
            known.said[node] = term
            if term not in known.stood:
                self._fail("R5 term of nobody", f"{group}: nobody stood for term {term}", node)

    def voted(self, group: str, node: str, term: int, candidate: str) -> None:
        """A vote left the node, or it voted for itself (R5)."""
        other = self.group(group).votes.setdefault((node, term), candidate)
        if other != candidate:
            detail = f"{group}: in term {term} for {other} and for {candidate}"
            self._fail("R5 voted twice", detail, node)

    def led(
        self, group: str, node: str, term: int, last: int, term_of: Callable[[int], int | None]
    ) -> None:
        """A member began to lead (R1, R3, R9); `term_of` tells the terms in its log."""
        known = self.group(group)
        self.leaders += 1
        other = known.leaders.setdefault(term, node)
        if other != node:
            self._fail("R1 two leaders", f"{group}: {other} and {node} in term {term}", node)
        if term < max(known.leaders):
            # Elected so late that leaders of later terms may have committed what it lacks.
            return
        if last < known.top:
            detail = f"{group}: leads term {term} with {last} of {known.top} committed entries"
            self._fail("R3 committed entry lost", detail, node)
        for index in range(max(1, known.top - COMPLETE_LAST + 1), known.top + 1):
            mine, item = term_of(index), known.applied.get(index)
            if mine is not None and item is not None and mine != item.term:
                detail = f"{group}: entry {index} is of term {mine}, but {item.term} was committed"
                self._fail("R3 committed entry lost", detail, node)
                return
        self._elected_by_quorum(known, group, node, term)

    def _elected_by_quorum(self, known: _Group, group: str, node: str, term: int) -> None:
        if known.members is None or not known.members.voters:
            return
        voters = [voter for voter in self._everybody(known) if (voter, term) in known.votes]
        votes = [voter for voter in voters if known.votes[voter, term] == node]
        if known.members.reached_without([*votes, node]):
            detail = f"{group}: elected by {votes} alone in term {term}, members {known.members}"
            self._fail("R9 disjoint quorums", detail, node)

    @staticmethod
    def _everybody(known: _Group) -> Sequence[str]:
        assert known.members is not None
        return list(dict.fromkeys([*known.members.voters, *known.members.outgoing]))

    # -- logs ---------------------------------------------------------------------------------

    def wrote(
        self, group: str, node: str, index: int, item: Item, previous_term: int | None
    ) -> None:
        """A member put an entry into its log (R2); None when the term before is folded away."""
        entries = self.group(group).entries
        key = (index, item.term)
        known = entries.get(key)
        if known is None:
            entries[key] = (item, previous_term)
            return
        if known[0] != item:
            detail = f"{group}: two entries {index} of term {item.term}"
            self._fail("R2 log matching", detail, node)
        if known[1] is None:
            entries[key] = (item, previous_term)
        elif previous_term is not None and previous_term != known[1]:
            detail = f"{group}: before entry {index} of term {item.term} stand different ones"
            self._fail("R2 log matching", detail, node)

    def applied(self, group: str, node: str, index: int, item: Item) -> bool:
        """A member applied an entry (R4); True when it is the first of all to do so."""
        known = self.group(group)
        first = known.applied.setdefault(index, item)
        if first != item:
            detail = f"{group}: entry {index} of term {item.term}, elsewhere of term {first.term}"
            self._fail("R4 applied differently", detail, node)
        if index <= known.top:
            return False
        if index != known.top + 1 and known.top:
            self._fail("R4 gap", f"{group}: entry {index} follows {known.top}", node)
        known.top = index
        self.commits += 1
        return True

    def committed(
        self, group: str, node: str, index: int, members: Sequence[Members], holders: Sequence[str]
    ) -> None:
        """An entry was committed while it was durable on the holders (R3).

        `members` are the configurations under which it may have been counted.
        """
        if not any(one.reached(holders) for one in members):
            detail = f"{group}: entry {index} is durable on {list(holders)} only, of {members[0]}"
            self._fail("R3 committed before durable", detail, node)

    def reconfigured(self, group: str, members: Members) -> None:
        """This configuration is the latest that was committed."""
        self.group(group).members = members

    def snapshotted(self, group: str, node: str, index: int, term: int, state: object) -> None:
        """A member folded its log into a snapshot, or took over one (R4)."""
        known = self.group(group)
        item = known.applied.get(index)
        if item is not None and item.term != term:
            detail = f"{group}: a snapshot at {index} of term {term}, not {item.term}"
            self._fail("R4 snapshot of another log", detail, node)
        if known.snapshots.setdefault(index, state) != state:
            detail = f"{group}: two states after the same {index} entries"
            self._fail("R4 states differ", detail, node)
