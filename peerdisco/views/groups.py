"""Raft groups for the web room: every node answers for its members, any node sums them up.

A recovery by force is carried out by the node that keeps its copy (`peerdisco_election.recovery`);
here it is refused as long as a majority may still come together, or another survivor has more.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Protocol

import msgspec

from peerdisco.messages import BadMessage, Message, decode, encode
from peerdisco_election import (
    Configuration,
    Dropped,
    Group,
    Groups,
    NotLeader,
    RaftError,
    Role,
    describe_recovery,
    plan_recovery,
)
from peerdisco_election import Recovery as Forced
from peerdisco_webui import errors
from peerdisco_webui.raft_messages import (
    ElectionView,
    GroupDetail,
    GroupMember,
    GroupState,
    GroupView,
    Recovery,
)

logger = logging.getLogger(__name__)

LOOK, RECOVER = "raft/look", "raft/recover"
LOOK_TIMEOUT_S = 3.0
RECOVER_TIMEOUT_S = 20.0


class Rpc(Protocol):
    """Calls between nodes, oneself included."""

    async def call(self, peer: str, method: str, body: bytes, *, timeout: float) -> bytes:
        """One request, one answer; every failure is an OSError."""

    def serve(self, method: str, handler: Callable[[str, bytes], Awaitable[bytes]]) -> None:
        """Answer calls of a method."""


class RecoverReply(Message, frozen=True, array_like=True):
    """What is kept and given up (`peerdisco_election.Recovery`), or why it was refused."""

    refused: str
    era: int = 0
    index: int = 0
    term: int = 0
    committed: int = 0
    lost: tuple[str, ...] = ()


class Look(Message, frozen=True, array_like=True):
    """A member of a group, as its own node sees it. Numbers as in `CoreStatus`."""

    group: str
    era: int
    takes_part: bool
    role: str
    leader: str
    term: int
    voters: tuple[str, ...]
    outgoing: tuple[str, ...]
    learners: tuple[str, ...]
    last: int
    last_term: int
    commit: int
    applied: int
    snapshot: int
    match: dict[str, int]
    election_term: int = 0
    election_cause: str = ""
    election_age_s: float = 0.0
    forced: RecoverReply | None = None


class LookRequest(Message, frozen=True, array_like=True):
    """Asks for the members on a node: of one group, or of all when the name is empty."""

    group: str


class Looks(Message, frozen=True, array_like=True):
    """The answer."""

    looks: tuple[Look, ...]


class RecoverRequest(Message, frozen=True, array_like=True):
    """Asks a node to be the whole of a group, or only what that would mean."""

    group: str
    confirmed: bool


class RaftViews:
    """Implements the web room's port `Raft`.

    Args:
        groups: The groups of this node.
        rpc: Reaches the other nodes.
        alive: Ids of the nodes that are alive or only suspected, this one included.
        name_of: The name, for people, of a node id.
    """

    def __init__(
        self,
        groups: Groups,
        rpc: Rpc,
        alive: Callable[[], Sequence[str]],
        name_of: Callable[[str], str],
    ) -> None:
        self._groups = groups
        self._rpc = rpc
        self._alive = alive
        self._name_of = name_of
        rpc.serve(LOOK, self._serve_look)
        rpc.serve(RECOVER, self._serve_recover)

    def stuck(self) -> tuple[str, ...]:
        """Groups of this node that have lost their majority, by what this node knows alone."""
        alive = tuple(self._alive())
        found = [self._groups.get(name) for name in self._groups.names()]
        led_by_nobody = [one.status() for one in found if one is not None and one.leader is None]
        return tuple(
            one.name
            for one in led_by_nobody
            if not (one.removed or one.superseded) and _silent(one.core.configuration, alive)[1]
        )

    async def list(self) -> Sequence[GroupView]:
        """See Raft."""
        alive = tuple(self._alive())
        by_group: dict[str, dict[str, Look]] = {}
        for node, looks in (await self._ask("", alive)).items():
            for one in looks:
                by_group.setdefault(one.group, {})[node] = one
        return [self._facts(name, by_group[name], alive) for name in sorted(by_group)]

    async def show(self, name: str) -> GroupDetail:
        """See Raft."""
        alive = tuple(self._alive())
        looks = await self._looks(name, alive)
        newest = _newest(looks)
        nodes = dict.fromkeys((*newest.voters, *newest.outgoing, *newest.learners, *looks))
        leader = next((one for one in looks.values() if _leads(one, newest)), None)
        forced = next((one.forced for one in looks.values() if _knows_era(one, newest)), None)
        return GroupDetail(
            **msgspec.structs.asdict(self._facts(name, looks, alive)),
            members=tuple(self._member(node, looks.get(node), newest, leader) for node in nodes),
            election=self._election(looks),
            era=newest.era,
            recovery="" if forced is None else self._consequence(forced),
        )

    async def recover(self, name: str, keep: str, *, confirmed: bool) -> Recovery:
        """See Raft."""
        alive = tuple(self._alive())
        looks = await self._looks(name, alive)
        kept = self._find(keep, looks)
        self._check(name, looks, kept, alive)
        request = encode(RecoverRequest(name, confirmed))
        answer = await self._rpc.call(kept, RECOVER, request, timeout=RECOVER_TIMEOUT_S)
        with _understood():
            reply = decode(answer, RecoverReply)
        if reply.refused:
            raise errors.Conflict(reply.refused)
        return Recovery(
            name=name,
            kept=self._name_of(kept),
            consequence=self._consequence(reply),
            done=confirmed,
        )

    def _consequence(self, reply: RecoverReply) -> str:
        found = Forced(reply.era, reply.index, reply.term, reply.committed, reply.lost)
        return describe_recovery(found, self._name_of)

    # What other nodes ask.

    async def _serve_look(self, _peer: str, body: bytes) -> bytes:
        wanted = decode(body, LookRequest).group
        names = [wanted] if wanted else self._groups.names()
        found = [group for name in names if (group := self._groups.get(name)) is not None]
        return encode(Looks(tuple(map(look, found))))

    async def _serve_recover(self, _peer: str, body: bytes) -> bytes:
        request = decode(body, RecoverRequest)
        group = self._groups.get(request.group)
        if group is None:
            return encode(RecoverReply(f"this node has no group {request.group}"))
        try:
            if request.confirmed:
                done = await self._groups.recover(request.group, timeout=RECOVER_TIMEOUT_S / 2)
            else:
                done = plan_recovery(group.core, group.era)
        except (Dropped, NotLeader) as error:
            return encode(RecoverReply(str(error)))
        except RaftError as error:
            return encode(RecoverReply(f"it was begun, but is not known to be done: {error}"))
        return encode(_reply(done))

    # Putting answers together.

    async def _ask(self, name: str, alive: Sequence[str]) -> Mapping[str, Sequence[Look]]:
        """What every node that answers says, in the order of `alive`."""
        request = encode(LookRequest(name))
        answers: dict[str, Sequence[Look]] = {}

        async def ask(node: str) -> None:
            try:
                answer = await self._rpc.call(node, LOOK, request, timeout=LOOK_TIMEOUT_S)
                answers[node] = decode(answer, Looks).looks
            except (OSError, BadMessage) as error:
                logger.info("event=look_failed node=%s error=%s", node, error)

        async with asyncio.TaskGroup() as tasks:
            for node in alive:
                tasks.create_task(ask(node))
        return {node: answers[node] for node in alive if node in answers}

    async def _looks(self, name: str, alive: Sequence[str]) -> dict[str, Look]:
        answers = await self._ask(name, alive)
        looks = {node: found[0] for node, found in answers.items() if found}
        if not looks:
            raise errors.NotFound(f"no node that answers is a member of a group {name}")
        return looks

    def _facts(self, name: str, looks: Mapping[str, Look], alive: Sequence[str]) -> GroupView:
        newest = _newest(looks)
        leader = next((node for node, one in looks.items() if _leads(one, newest)), "")
        silent, stuck = _silent(newest, alive)
        state, detail = GroupState.LED, ""
        if not leader:
            state = GroupState.STUCK if stuck else GroupState.ELECTING
        if silent:
            names = ", ".join(map(self._name_of, silent))
            detail = f"{len(silent)} of {len(newest.voters)} voters do not answer: {names}"
        if state is GroupState.STUCK:
            detail += (
                "; nothing is agreed on until enough of them are back. Only if they are lost for "
                f"good: peerdisco raft recover {name} --keep NODE"
            )
        return GroupView(
            name=name,
            state=state,
            detail=detail,
            leader=self._name_of(leader) if leader else "",
            term=newest.term,
            voters=tuple(map(self._name_of, newest.voters)),
        )

    def _member(
        self, node: str, seen: Look | None, newest: Look, leader: Look | None
    ) -> GroupMember:
        part = "none"
        if node in newest.voters:
            part = "voter"
        elif node in newest.outgoing:
            part = "leaving voter"
        elif node in newest.learners:
            part = "learner"
        match = leader.match.get(node, -1) if leader is not None else -1
        name = self._name_of(node)
        if seen is None:
            return GroupMember(node=name, id=node, part=part, role="silent", match=match)
        return GroupMember(
            node=name,
            id=node,
            part=part,
            role=seen.role if seen.takes_part else "given up",
            term=seen.term,
            last=seen.last,
            commit=seen.commit,
            applied=seen.applied,
            snapshot=seen.snapshot,
            match=match,
        )

    def _election(self, looks: Mapping[str, Look]) -> ElectionView | None:
        stood = [(one.election_term, node) for node, one in looks.items() if one.election_term]
        if not stood:
            return None
        node = max(stood)[1]
        one = looks[node]
        return ElectionView(
            node=self._name_of(node),
            term=one.election_term,
            cause=one.election_cause,
            seconds_ago=one.election_age_s,
        )

    def _find(self, keep: str, looks: Mapping[str, Look]) -> str:
        found = [node for node in looks if keep in (node, self._name_of(node))]
        if len(found) == 1:
            return found[0]
        members = ", ".join(f"{self._name_of(node)} ({node})" for node in looks)
        problem = "are several members" if found else "is no member that answers"
        raise errors.BadRequest(f"{keep} {problem}; these answer: {members}")

    def _check(self, name: str, looks: Mapping[str, Look], kept: str, alive: Sequence[str]) -> None:
        newest = _newest(looks)
        leader = next((node for node, one in looks.items() if _leads(one, newest)), None)
        if leader is not None:
            raise errors.Conflict(f"{name} is led by {self._name_of(leader)}: it needs no recovery")
        if not _silent(newest, alive)[1]:
            raise errors.Conflict(f"a majority of {name} is alive: it will elect a leader itself")
        mine = looks[kept]
        for node, one in looks.items():
            if one.takes_part and (one.last_term, one.last) > (mine.last_term, mine.last):
                raise errors.Conflict(f"{self._name_of(node)} has more of {name}: keep that one")


def look(group: Group) -> Look:
    """A member of a group on this node."""
    status = group.status()
    core, members = status.core, status.core.configuration
    stood = core.election
    return Look(
        group=status.name,
        era=status.era,
        takes_part=not (status.removed or status.superseded),
        role=core.role.value,
        leader=core.leader or "",
        term=core.term,
        voters=members.voters,
        outgoing=members.outgoing,
        learners=members.learners,
        last=core.last,
        last_term=group.core.log.last_term,
        commit=core.commit,
        applied=status.applied,
        snapshot=core.snapshot,
        match=dict(core.match),
        election_term=stood.term if stood else 0,
        election_cause=stood.cause.value if stood else "",
        election_age_s=asyncio.get_running_loop().time() - stood.at if stood else 0.0,
        forced=_reply(status.recovery) if status.recovery else None,
    )


def _newest(looks: Mapping[str, Look]) -> Look:
    """The member that knows best who belongs to the group."""
    return max(looks.values(), key=lambda one: (one.era, one.takes_part, one.commit, one.term))


def _leads(one: Look, newest: Look) -> bool:
    return one.era == newest.era and one.takes_part and one.role == Role.LEADER.value


def _knows_era(one: Look, newest: Look) -> bool:
    """Whether a member was kept in the recovery that began the present era."""
    return one.forced is not None and one.forced.era == newest.era


def _reply(done: Forced) -> RecoverReply:
    return RecoverReply("", done.era, done.index, done.term, done.committed, done.lost)


def _silent(one: Look | Configuration, alive: Sequence[str]) -> tuple[list[str], bool]:
    """The voters that are not alive, and whether too few are."""
    silent = [voter for voter in one.voters if voter not in alive]
    stuck = any(
        sum(voter in alive for voter in half) <= len(half) // 2
        for half in (one.voters, one.outgoing)
        if half
    )
    return silent, stuck


@contextlib.contextmanager
def _understood() -> Iterator[None]:
    try:
        yield
    except BadMessage as error:
        raise errors.Unavailable(f"the node's answer is not understood: {error}") from None
