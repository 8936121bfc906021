"""Raft's promises, checked in every group of every node: see `raft_rules.py` for what they are.

It listens to the effects of the cores and to the messages that leave, and when an entry is applied
for the first time it looks into the stores of the voters: a quorum must have it on disk.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from peerdisco.coordination.pointers import PREFIX
from peerdisco.coordination.state import Snapshot as JobSnapshot
from peerdisco.layout_group import GROUP as LAYOUT
from peerdisco.messages import decode
from peerdisco.node import Node
from peerdisco_dht.layout import Layout
from peerdisco_dht.messages import decode as decode_storage
from peerdisco_election import Group, storage
from peerdisco_election.core import Core
from peerdisco_election.effects import Apply, Effect, Persist, Restore
from peerdisco_election.membership import configuration_of
from peerdisco_election.messages import (
    Configuration,
    Entry,
    EntryKind,
    GroupMessage,
    VoteReply,
    VoteRequest,
)
from peerdisco_election.status import Role
from peerdisco_sim.arena import Arena
from peerdisco_sim.checkers import taps
from peerdisco_sim.checkers.losses import Losses
from peerdisco_sim.checkers.raft_rules import Item, Members, RaftRules
from peerdisco_sim.store import StoreFile

STANDING = (Role.CANDIDATE, Role.LEADER)


@dataclass(slots=True)
class _Life:
    """A member of a group, for as long as its process lives.

    Attributes:
        name: The machine.
        group: The member.
        members: The configuration in force here, before what is being performed.
        led: The last term whose leadership was noticed.
    """

    name: str
    group: Group
    members: Members
    led: int = 0

    @property
    def core(self) -> Core:
        """Its core."""
        return self.group.core


class RaftChecker:
    """R1 to R6, R9 and R10 of the list in `__init__.py`."""

    name = "raft"

    def begin(self, arena: Arena) -> None:
        """See Checker."""
        self._arena = arena
        self.rules = RaftRules(arena.fail)
        self.marks: Counter[str] = Counter()
        self._losses = Losses(arena)
        arena.observe(self._observe)

    def waiting_for(self) -> str:
        """R10: until somebody leads wherever a majority of the voters is in the core."""
        for group, members in self._groups_of_core().items():
            nodes = {member.core.me: member for member in members}
            newest = max(members, key=lambda member: (member.term, member.core.log.committed))
            voters = newest.voters
            up = [voter for voter in voters if voter in nodes]
            if 2 * len(up) <= len(voters):
                continue
            leaders = dict.fromkeys(nodes[node].leader for node in up)
            leader = self._member(next(iter(leaders)) or "", group)
            if len(leaders) != 1 or leader is None or not leader.is_leader:
                names = [self._arena.name_of(each or "nobody") for each in leaders]
                return f"R10: {group} is led by {names}, {len(up)} of {len(voters)} are up"
            if leader.core.log.committed < leader.core.log.last:
                return f"R10: {leader.core.log.last - leader.core.log.committed} of {group} wait"
        return ""

    def at_rest(self) -> None:
        """R10, once more."""
        if wrong := self.waiting_for():
            self._arena.fail("R10 no progress", wrong)

    def _groups_of_core(self) -> dict[str, list[Group]]:
        found: dict[str, list[Group]] = {}
        for name in self._arena.core:
            node = self._arena.node(name)
            for group in node.groups.names() if node is not None else ():
                member = node.groups.get(group) if node is not None else None
                if member is not None:
                    found.setdefault(group, []).append(member)
        return found

    def _member(self, node_id: str, group: str) -> Group | None:
        """A member of a group, in the core or not, if its process runs."""
        name = self._arena.name_of(node_id)
        node = self._arena.node(name) if name in self._arena.cluster.names else None
        return None if node is None else node.groups.get(group)

    # -- listening ----------------------------------------------------------------------------

    def _observe(self, name: str, node: Node) -> None:
        groups = node.groups

        def sent(to: str, group: str, message: GroupMessage) -> None:
            self._sent(groups.me, to, group, message)

        def dissolved(group: str) -> None:
            self.rules.forgotten(group, groups.me)

        taps.after(groups, "_admit", lambda group, *_: self._admitted(name, group))
        taps.before(groups, "post", sent)
        taps.before(groups, "dissolve", dissolved)

    def _admitted(self, name: str, group: Group) -> None:
        """A member was opened; it has applied what it knew to be committed already."""
        core = group.core
        self.marks["raft.reopened"] += core.term > 0
        life = _Life(name, group, _members(core.configuration))
        self.rules.recovered(group.name, core.me, core.term, core.log.committed)
        if core.configuration.voters and self.rules.group(group.name).members is None:
            self.rules.reconfigured(group.name, life.members)
        taps.before(group, "_perform", lambda effects: self._performed(life, effects))

    def _sent(self, me: str, to: str, group: str, message: GroupMessage) -> None:
        if isinstance(message, VoteRequest | VoteReply) and message.pre:
            return
        if isinstance(message, VoteReply) and message.granted:
            self.rules.voted(group, me, message.term, to)
        self.rules.spoke(group, me, message.term)

    def _performed(self, life: _Life, effects: list[Effect]) -> None:
        core, name = life.core, life.group.name
        self.rules.stands(name, core.me, core.term, core.log.committed)
        if core.role.name in STANDING:
            self._stands(life)
        # A configuration in one effect is in force for the next: any of these may have counted.
        counted = [life.members] if life.members.voters else []
        for effect in effects:
            if isinstance(effect, Persist):
                self._persists(life, effect)
            elif isinstance(effect, Apply):
                self._applies(life, effect, counted)
            elif isinstance(effect, Restore):
                self.marks["raft.restored"] += 1
        life.members = _members(core.configuration)

    def _stands(self, life: _Life) -> None:
        core, name = life.core, life.group.name
        self.rules.stood(name, core.term)
        if core.role.name is Role.LEADER and life.led != core.term:
            # Its own vote counts from here on: until then a crash may have taken it back.
            self.rules.voted(name, core.me, core.term, core.me)
            life.led = core.term
            self.marks["raft.leader"] += 1
            self.rules.led(name, core.me, core.term, core.log.last, core.log.term)

    def _persists(self, life: _Life, effect: Persist) -> None:
        core, name = life.core, life.group.name
        snapshot = effect.snapshot
        if effect.erase is not None and effect.entries and snapshot is None:
            self.marks["raft.truncated"] += effect.entries[0].index <= effect.erase[1]
        for entry in effect.entries:
            if snapshot is not None and entry.index == snapshot.index:
                continue  # only marks where the log was cut
            before = core.log.term(entry.index - 1)
            self.rules.wrote(name, core.me, entry.index, _item(entry), before)
        if snapshot is not None:
            self.marks["raft.snapshot"] += 1
            state = _state(name, snapshot.data)
            self.rules.snapshotted(name, core.me, snapshot.index, snapshot.term, state)

    def _applies(self, life: _Life, effect: Apply, counted: list[Members]) -> None:
        name = life.group.name
        for entry in effect.entries:
            if entry.kind is EntryKind.CONFIGURATION:
                counted.append(_members(configuration_of(entry)))
                self.marks["raft.joint"] += bool(counted[-1].outgoing)
            if self.rules.applied(name, life.core.me, entry.index, _item(entry)):
                if counted:
                    holders = self._holders(name, entry, counted)
                    self.rules.committed(name, life.core.me, entry.index, counted, holders)
                if entry.kind is EntryKind.CONFIGURATION:
                    self.rules.reconfigured(name, counted[-1])

    def _holders(self, group: str, entry: Entry, counted: list[Members]) -> list[str]:
        """Which voters have the entry on disk, as they would find it after a power cut.

        A disk that was lost may have had it when that was promised.
        """
        key = storage._log_key(storage.prefix(group), entry.index)
        row = storage._seal(key, entry)
        voters = dict.fromkeys(
            node for members in counted for node in (*members.voters, *members.outgoing)
        )
        return [
            node
            for node in voters
            if node in self._losses.ids or _holds(self._stored(node, key), row, key, entry)
        ]

    def _stored(self, node_id: str, key: bytes) -> bytes | None:
        machine = self._arena.world.nodes.get(self._arena.name_of(node_id))
        store = None if machine is None else machine.devices.get("store log")
        return store.get(key) if isinstance(store, StoreFile) else None


def _holds(stored: bytes | None, row: bytes, key: bytes, entry: Entry) -> bool:
    """Whether a row holds an entry; another version may write it in other bytes."""
    if stored is None or stored == row:
        return stored is not None
    return storage._unseal("", key, stored, Entry) == entry


def _state(group: str, data: bytes) -> object:
    """What a snapshot says: another version may write the same in other bytes.

    Groups of the Raft scenario, which are no product's, say what they say.
    """
    if group.startswith(PREFIX):
        return decode(data, JobSnapshot)
    return decode_storage(data, Layout) if group == LAYOUT else data


def _members(configuration: Configuration) -> Members:
    return Members(configuration.voters, configuration.outgoing)


def _item(entry: Entry) -> Item:
    return Item(entry.term, int(entry.kind), entry.data)
