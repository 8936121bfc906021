"""Who counts for storage: the Raft group that orders the layout, and how nodes hear of it.

The first node of a cluster founds the group alone. Its leader, wherever it is, looks once in a
while at the members and proposes what `peerdisco_dht.plan` says is due: nodes that have lived long
enough hold data, nodes that were silent too long are dropped, and the group itself grows to three
voters. Everybody else learns of a new layout from gossip (its epoch only) and fetches it from
whoever has it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from peerdisco.facts import FACTS_KEY, LAYOUT_KEY, facts_of
from peerdisco.messages import BadMessage, Message, decode, encode
from peerdisco.peers import Peers
from peerdisco_dht import (
    AddNodes,
    Layout,
    LayoutChange,
    LayoutMachine,
    MemberView,
    SetVoters,
    Storage,
    StorageNode,
    UpkeepConfig,
    choose_voters,
    plan,
)
from peerdisco_dht import Command as LayoutCommand
from peerdisco_election import Dropped, Group, Groups, NotLeader, Unknown
from peerdisco_gossip import Member, MemberChanged, Membership, MemberState

logger = logging.getLogger(__name__)

GROUP = "layout"
CALL_TIMEOUT_S = 5.0
PROPOSE_TIMEOUT_S = 10.0
UPKEEP_INTERVAL_S = 0.5
LIVING = (MemberState.ALIVE, MemberState.SUSPECT)


class Verdict(Message, frozen=True, array_like=True):
    """What became of a change that somebody asked for.

    Attributes:
        refused: Why not; empty when it is committed.
        leads: Whether the node that answers leads the group; if not, it did nothing.
    """

    refused: str = ""
    leads: bool = True


class LayoutGroup:
    """This node's part in agreeing on the layout."""

    def __init__(
        self,
        me: StorageNode,
        stores: bool,
        groups: Groups,
        peers: Peers,
        membership: Membership,
        storage: Storage,
        upkeep: UpkeepConfig,
    ) -> None:
        self._me = me
        self._stores = stores
        self._groups = groups
        self._peers = peers
        self._membership = membership
        self._storage = storage
        self._upkeep = upkeep
        self._machine = LayoutMachine(storage.adopt)
        self._since: dict[str, tuple[bool, float]] = {}
        self._heard = asyncio.Event()
        peers.serve("layout/form", self._on_form)
        peers.serve("layout/get", self._on_get)
        peers.serve("layout/change", self._on_change)
        membership.subscribe(self._on_member)
        storage.subscribe(self._on_adopted)
        self._announce(storage.layout)

    async def found(self) -> None:
        """Found the cluster's layout: this node is its first."""
        group = await self._groups.create(GROUP, [self._me.id], self._machine, campaign=True)
        if self._stores:
            await self._propose(group, AddNodes((self._me,)))
        await self._propose(group, SetVoters((self._me.id,)))

    def reopen(self) -> bool:
        """Go on with the group found in the store; False when this node has no part in it."""
        if GROUP not in self._groups.names():
            return False
        self._groups.open(GROUP, self._machine)
        return True

    async def run(self) -> None:
        """Fetch newer layouts, and while this node leads the group, keep the layout up to date."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow())
            tasks.create_task(self._lead())

    async def known(self) -> None:
        """Return as soon as this node has a layout."""
        while self._storage.layout.epoch == 0:
            self._heard.clear()
            await self._heard.wait()

    async def change(self, command: LayoutCommand) -> str:
        """Have a command committed by whoever leads; why it was refused, or empty.

        Raises OSError when nobody who leads can be reached, or does not know whether it happened.
        """
        reasons: list[str] = []
        for voter in dict.fromkeys([self._me.id, *self._storage.layout.voters]):
            try:
                answer = await self._peers.call(
                    voter, "layout/change", encode(command), timeout=PROPOSE_TIMEOUT_S
                )
                verdict = decode(answer, Verdict)
            except (OSError, BadMessage) as error:
                reasons.append(f"{voter}: {error}")
                continue
            if verdict.leads:
                return verdict.refused
        raise ConnectionError(f"nobody leads the layout's group now ({'; '.join(reasons)})")

    async def _on_change(self, _: str, body: bytes) -> bytes:
        group = self._groups.get(GROUP)
        if group is None or not group.is_leader:
            return encode(Verdict(leads=False))
        command: LayoutCommand = decode(body, LayoutCommand)  # type: ignore[arg-type]  # mypy has no type of union types
        try:
            change = await group.propose(encode(command), timeout=PROPOSE_TIMEOUT_S)
        except NotLeader:
            return encode(Verdict(leads=False))
        except (Dropped, Unknown) as error:
            return encode(Verdict(refused=f"it is not certain that it happened: {error}"))
        assert isinstance(change, LayoutChange)
        logger.info("layout_asked epoch=%d command=%s", change.layout.epoch, command)
        return encode(Verdict(refused=change.refused))

    # -- hearing of layouts

    def _on_member(self, change: MemberChanged) -> None:
        if self._epoch_of(change.member) > self._storage.layout.epoch:
            self._heard.set()

    async def _follow(self) -> None:
        while True:
            await self._heard.wait()
            self._heard.clear()
            newer = [
                member
                for member in self._membership.members()
                if member.state in LIVING and self._epoch_of(member) > self._storage.layout.epoch
            ]
            for member in newer:
                if await self._fetch(member.id):
                    break
            else:
                if newer:
                    await asyncio.sleep(UPKEEP_INTERVAL_S)
                    self._heard.set()

    async def _fetch(self, peer: str) -> bool:
        try:
            answer = await self._peers.call(peer, "layout/get", b"", timeout=CALL_TIMEOUT_S)
            self._storage.adopt(decode(answer, Layout))
        except (OSError, BadMessage) as error:
            logger.info("layout_fetch_failed peer=%s error=%s", peer, error)
            return False
        return True

    def _on_adopted(self, layout: Layout) -> None:
        """A newer layout came, from the group, from a peer, or with a call of the storage."""
        self._announce(layout)
        self._heard.set()

    def _announce(self, layout: Layout) -> None:
        self._membership.set_metadata(LAYOUT_KEY, b"%d" % layout.epoch)

    @staticmethod
    def _epoch_of(member: Member) -> int:
        value = member.metadata.get(LAYOUT_KEY, b"0")
        return int(value) if value.isdigit() else 0

    async def _on_get(self, _: str, __: bytes) -> bytes:
        return encode(self._storage.layout)

    async def _on_form(self, _: str, body: bytes) -> bytes:
        """Keep the log too; who votes is learnt from the leader."""
        group = self._groups.get(GROUP)
        era = int(body) if body.isdigit() else 0
        if group is not None and (group.superseded or group.era < era):
            # The group was recovered by force without this node, which begins anew.
            self._machine = LayoutMachine(self._storage.adopt)
        await self._groups.create(GROUP, [], self._machine, era=era)
        return b""

    # -- leading the group

    async def _lead(self) -> None:
        while True:
            await asyncio.sleep(UPKEEP_INTERVAL_S)
            members = self._views(asyncio.get_running_loop().time())
            group = self._groups.get(GROUP)
            if group is None or not group.is_leader:
                continue
            try:
                await self._keep_up(group, members)
            except (NotLeader, Dropped, Unknown, OSError) as error:
                logger.info("layout_upkeep_delayed error=%s", error)

    async def _keep_up(self, group: Group, members: Sequence[MemberView]) -> None:
        now = asyncio.get_running_loop().time()
        layout = self._machine.layout
        handed_over = bool(layout.previous) and await self._storage.handed_over(layout.since)
        command = plan(layout, members, now, self._upkeep, handed_over=handed_over)
        if command is not None:
            await self._propose(group, command)
        voters = choose_voters(group.voters, members, now, self._upkeep)
        if set(voters) != set(group.voters):
            await self._change_voters(group, voters)
        if tuple(sorted(group.voters)) != tuple(sorted(self._machine.layout.voters)):
            await self._propose(group, SetVoters(tuple(sorted(group.voters))))

    async def _change_voters(self, group: Group, voters: Sequence[str]) -> None:
        """Let the newcomers keep the log, then let them vote."""
        for voter in voters:
            if voter not in group.voters:
                era = b"%d" % group.era
                await self._peers.call(voter, "layout/form", era, timeout=CALL_TIMEOUT_S)
        await group.change_voters(voters, timeout=PROPOSE_TIMEOUT_S)
        logger.info("layout_voters voters=%s", ",".join(voters))

    async def _propose(self, group: Group, command: LayoutCommand) -> None:
        change = await group.propose(encode(command), timeout=PROPOSE_TIMEOUT_S)
        assert isinstance(change, LayoutChange)
        if change.refused:
            logger.warning("layout_refused command=%s reason=%s", command, change.refused)
        else:
            kind, nodes = type(command).__name__, len(change.layout.nodes)
            logger.info("layout_changed epoch=%d by=%s nodes=%d", change.layout.epoch, kind, nodes)

    def _views(self, now: float) -> list[MemberView]:
        """The members and the layout's nodes, and how long each was alive or dead in our eyes."""
        views = []
        before, self._since = self._since, {}
        for member in self._membership.members():
            alive = member.state in LIVING
            known = before.get(member.id)
            if known is None or known[0] != alive:
                known = (alive, now)
            self._since[member.id] = known
            facts = facts_of(member.metadata.get(FACTS_KEY))
            node = StorageNode(member.id, facts.zone, facts.capacity)
            views.append(MemberView(node, alive, known[1], stores=facts.stores))
        for node in self._storage.layout.nodes:
            if node.id not in self._since:
                # Not met since this node's own start, or forgotten: silent for as long as we know.
                known = before.get(node.id)
                if known is None or known[0]:
                    known = (False, now)
                self._since[node.id] = known
                views.append(MemberView(node, False, known[1], stores=True))
        return views
