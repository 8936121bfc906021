"""Raft groups for people: real groups in one process, seen and recovered through any node."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable

import pytest

from peerdisco.views.groups import RaftViews
from peerdisco_election import Group
from peerdisco_webui.errors import BadRequest, Conflict, NotFound
from peerdisco_webui.raft_messages import (
    GroupState,
)
from tests.election.nodes import BRISK, Net

Handler = Callable[[str, bytes], Awaitable[bytes]]


class Offices:
    """A `RaftViews` for each node of a net, and calls between them."""

    def __init__(self) -> None:
        self.net = Net(dataclasses.replace(BRISK, election_timeout=0.3))
        self.handlers: dict[tuple[str, str], Handler] = {}

    def at(self, node: str) -> RaftViews:
        return RaftViews(self.net.nodes[node], _Rpc(self, node), self.alive, str.upper)

    def alive(self) -> list[str]:
        return sorted(self.net.nodes)


class _Rpc:
    def __init__(self, offices: Offices, me: str) -> None:
        self._offices = offices
        self._me = me

    async def call(self, peer: str, method: str, body: bytes, *, timeout: float) -> bytes:
        if peer not in self._offices.net.nodes:
            raise ConnectionError(peer)
        async with asyncio.timeout(timeout):
            return await self._offices.handlers[peer, method](self._me, body)

    def serve(self, method: str, handler: Handler) -> None:
        self._offices.handlers[self._me, method] = handler


async def test_groups_are_listed_and_shown_through_any_node() -> None:
    """Members, leader, matches, and the last election with its cause."""
    offices = Offices()
    async with offices.net.running("abcd"):
        groups = await offices.net.form("abc", "job/x")
        await groups["c"].propose(b"x", timeout=9)
        views = {node: offices.at(node) for node in "abcd"}
        (listed,) = await views["d"].list()
        assert ("job/x", GroupState.LED, "C", 1) == (
            listed.name,
            listed.state,
            listed.leader,
            listed.term,
        )
        assert ("A", "B", "C") == listed.voters
        shown = await views["a"].show("job/x")
        assert ["follower", "follower", "leader"] == [one.role for one in shown.members]
        assert ["voter"] * 3 == [one.part for one in shown.members]
        assert shown.members[2].match == 2 == shown.members[2].last
        assert shown.election is not None
        assert ("C", 1, "created") == (
            shown.election.node,
            shown.election.term,
            shown.election.cause,
        )
        with pytest.raises(NotFound):
            await views["a"].show("unheard of")


async def test_a_group_without_a_majority_says_so_and_is_recovered_when_that_is_confirmed() -> None:
    """Not before, not by a member that has less, and not while it is well."""
    offices = Offices()
    async with offices.net.running("abc"):
        groups = await offices.net.form("abc", "job/x")
        await groups["c"].propose(b"x", timeout=9)
        await offices.net.until(lambda: groups["a"].status().core.commit == 2)
        views = {node: offices.at(node) for node in "abc"}
        with pytest.raises(Conflict, match="is led by C"):
            await views["a"].recover("job/x", "A", confirmed=True)
        offices.net.kill("c")
        offices.net.kill("b")
        await offices.net.until(lambda: groups["a"].leader is None)
        assert ("job/x",) == views["a"].stuck()
        (listed,) = await views["a"].list()
        assert GroupState.STUCK is listed.state
        assert "2 of 3 voters do not answer: B, C" in listed.detail
        shown = await views["a"].show("job/x")
        assert ["silent", "silent"] == [one.role for one in shown.members[1:]]
        with pytest.raises(BadRequest, match="is no member"):
            await views["a"].recover("job/x", "B", confirmed=True)
        plan = await views["a"].recover("job/x", "A", confirmed=False)
        assert not plan.done
        assert "lost is whatever only B, C had after it" in plan.consequence
        assert groups["a"].leader is None
        done = await views["a"].recover("job/x", "A", confirmed=True)
        assert done.done
        assert 2 == await groups["a"].propose(b"y", timeout=9)
        assert () == views["a"].stuck()
        (listed,) = await views["a"].list()
        assert (GroupState.LED, ("A",)) == (listed.state, listed.voters)
        shown = await views["a"].show("job/x")
        assert (1, plan.consequence) == (shown.era, shown.recovery)


async def test_the_survivor_with_more_must_be_kept() -> None:
    """Entries that one survivor has are not thrown away for another that lacks them."""
    offices = Offices()
    net = offices.net
    async with net.running("abcde"):
        groups: dict[str, Group] = await net.form("abcde", "job/x")
        await groups["e"].propose(b"x", timeout=9)
        await net.until(lambda: all(one.status().core.commit == 2 for one in groups.values()))
        net.blocked["e", "a"] = None
        await groups["e"].propose(b"y", timeout=9)
        await net.until(lambda: groups["b"].status().core.last == 3)
        for node in "cde":
            net.kill(node)
        await net.until(lambda: groups["a"].leader is None and groups["b"].leader is None)
        views = {node: offices.at(node) for node in "ab"}
        with pytest.raises(Conflict, match="B has more"):
            await views["a"].recover("job/x", "A", confirmed=True)
        await views["a"].recover("job/x", "B", confirmed=True)
        assert 3 == await groups["b"].propose(b"z", timeout=9)
